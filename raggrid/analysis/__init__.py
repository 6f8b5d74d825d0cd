"""What was found: results, statistics, verdicts, the recommendation, the frontier. Knows no torch."""
