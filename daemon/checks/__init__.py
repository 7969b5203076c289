"""Try interpreters and folders as an attempt would find them."""
