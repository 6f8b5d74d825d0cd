"""What scores by question say: simultaneous intervals, a decision with a stated loss, and what more data would add.

Pure numpy: no run directory, no sentence. In the order of use: `common_data` (what all lines share), `clusters` (which
questions belong together), `selection_bias` (scores freed of the choice among finalists), `evidence` (the paired
bootstrap over clusters and the seed level), `simultaneous` (intervals and verdicts), `decision` (the line to take),
`sample_size` and `information` (how many more questions or seeds, and whether they are worth their cost).
"""
