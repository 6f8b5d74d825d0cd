"""What writes answers: the interface, and the engines beside the default one, which is the generator itself."""
