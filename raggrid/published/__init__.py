"""Imported tables of results, and the paper's own."""
