"""The parts of a training state: taken out of the process, and put back into it."""
