"""The data of a training: batches whose position can be found again."""
