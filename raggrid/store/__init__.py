"""Run directories: tables, sessions, retention."""
