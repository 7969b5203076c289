"""One job: its spec, its keeper and its trainer; and ``resumable``, for hand-written loops.

``from rekindle.jobs import resumable`` works in every script that rekindle runs, and in any
other interpreter where rekindle is installed.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rekindle.jobs.data.sampler import ResumableSampler as ResumableSampler
    from rekindle.jobs.resume.loop import Loop as Loop
    from rekindle.jobs.resume.loop import resumable as resumable

__all__ = ["Loop", "ResumableSampler", "resumable"]


def __getattr__(name: str) -> Any:
    # late: keeper and daemon import this package as well and must not load Keras
    if name == "ResumableSampler":
        from rekindle.jobs.data import sampler

        return sampler.ResumableSampler
    if name in __all__:
        from rekindle.jobs.resume import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
