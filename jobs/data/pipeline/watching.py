"""Watch the pipelines of this process from the import of Keras on."""

from rekindle.jobs.data.pipeline import caches, graph, held, shuffles

_watching: list[bool] = []


def watch() -> None:
    """Register datasets, shuffles, caches and iterators as the script makes them; once."""
    if _watching:
        return
    _watching.append(True)
    graph.watch()
    shuffles.watch()
    held.watch()  # within the next: that reads from caches before an iterator begins
    caches.watch()
