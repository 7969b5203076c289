"""The keeper: the small parent process of one attempt. Standard library only."""
