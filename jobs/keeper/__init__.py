"""The keeper: the small parent process of one attempt; standard library only."""
