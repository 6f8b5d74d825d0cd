"""A small fictional world: corpus, questions, labels, made by code."""

from raggrid.demo.world import make_world, write_world

__all__ = ["make_world", "write_world"]
