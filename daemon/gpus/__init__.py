"""The GPUs of the host: what the driver says of them, their faults, and which can be allocated."""
