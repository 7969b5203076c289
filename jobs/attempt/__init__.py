"""One attempt of a job, seen from the trainer: journal, checkpoints, stopping. No Keras."""
