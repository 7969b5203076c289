"""One attempt of a job inside the trainer: journal, checkpoints, shutdown. No Keras."""
