"""Formats that data comes in: each one's rows as rows of raggrid's own form, one at a time."""
