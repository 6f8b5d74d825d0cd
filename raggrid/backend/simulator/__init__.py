"""Runs a study on recorded curves and a virtual clock."""
