"""Metrics, and the answering of a split by a pipeline."""
