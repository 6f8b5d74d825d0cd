"""The training phases: losses, batches, the loop, its audit, checkpoints."""
