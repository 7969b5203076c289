"""Iterators over the data of a ``fit`` of legacy Keras."""
