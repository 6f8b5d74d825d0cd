"""YAML -> a checked search space: settings, bounds, learning rates."""
