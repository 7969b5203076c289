"""The queue: which job runs next, and on which GPUs."""
