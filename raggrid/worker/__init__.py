"""Does one task in a process: loads, trains, answers, measures. Knows torch, not Ray."""
