"""One job: its spec, its keeper and its trainer; and ``resumable``, for loops of your own.

``from rekindle.jobs import resumable`` works in every script that rekindle runs, and in any
other where rekindle is installed.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rekindle.jobs.resume.loop import Loop as Loop
    from rekindle.jobs.resume.loop import resumable as resumable

__all__ = ["Loop", "resumable"]


def __getattr__(name: str) -> Any:
    # keeper and daemon import this package, too, and must stay without Keras
    if name in __all__:
        from rekindle.jobs.resume import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
