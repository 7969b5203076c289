"""Hand a snapshot from the trainer to its keeper, which writes the checkpoint."""
