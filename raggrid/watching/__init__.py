"""A study as its records show it, from any terminal or machine: what runs, what was spent, what is left."""
