"""Content of a run directory: journal, checkpoints and their tensors."""
