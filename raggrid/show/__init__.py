"""How a study and its results look on a terminal."""
