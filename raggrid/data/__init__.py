"""Corpora and questions in, checked records out."""
