"""What an attempt came to, and what is done with its job."""
