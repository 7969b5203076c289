"""Weights: which values they may hold, how odd types are stored, and their automatic names."""
