"""Versions of Keras, how exactly each is followed, and all uses of their private parts."""
