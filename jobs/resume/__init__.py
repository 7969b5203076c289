"""Resumable ``Model.fit`` and loops: one stage after the other, from its checkpoint."""
