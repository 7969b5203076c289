"""Hidden state of ``tf.data`` pipelines: shuffles, caches, and variables of their functions."""
