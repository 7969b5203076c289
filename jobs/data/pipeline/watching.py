"""Watch the pipelines of this process from the import of Keras on."""

from rekindle.jobs.data.pipeline import caches, graph, shuffles

_watching: list[bool] = []


def watch() -> None:
    """Register datasets, shuffles and caches in the order of their creation; once."""
    if _watching:
        return
    _watching.append(True)
    graph.watch()
    shuffles.watch()
    caches.watch()
