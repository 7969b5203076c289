"""What lies in a run directory: journal, checkpoints and their tensors."""
