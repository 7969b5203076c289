"""Parts of Keras 3 that differ between its backends, under the same names in each module."""
