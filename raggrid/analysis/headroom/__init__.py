"""What could still be won, and by tuning which side: points lost in retrieval, in reading, and to the answer's format.

`decomposition` has the numbers, a pure function of measured lines; `headroom_sentences` says them;
`recorded_headroom` reads the lines of studies, also before anything is trained.
"""
