"""Runs a study: on Ray, or on recorded curves."""
