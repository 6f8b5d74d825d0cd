"""Decides what runs next: state, rounds, answering, budget, controller. Knows neither Ray nor torch."""
