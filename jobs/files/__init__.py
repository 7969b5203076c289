"""Files that the script writes: kept with checkpoints, and put back in a relaunch."""
