"""Resumable ``Model.fit`` and loops: each is a stage, resumed from its checkpoint."""
