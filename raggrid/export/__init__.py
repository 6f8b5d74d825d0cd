"""The way out: a trained pipeline as a folder that stock libraries load, checked against its recorded answers."""
