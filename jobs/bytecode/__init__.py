"""Read the bytecode of the job's own functions: what they name, set and read again."""
