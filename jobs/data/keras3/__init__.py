"""Iterators over the data of a ``fit`` of Keras 3."""
