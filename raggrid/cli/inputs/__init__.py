"""The verbs that bring data and a first space in: data, init."""
