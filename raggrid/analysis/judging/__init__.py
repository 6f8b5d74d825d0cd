"""From measured lines to a judgement: what the user can have, on which data, how it compares, what to take.

In the order of use: `reach` (which lines the case allows), `fair_scores` (winners freed of the choice among finalists),
`question_clusters` (which questions belong together), `judgement` (one family of intervals and the decision),
`deployment` (the trained pipeline to take now), `next_steps` (what more data would settle, and its cost),
`point_price` (what a further point costs, and what it is worth).
"""
