"""Errors that rekindle raises on purpose: what happened, where, and what to do.

The base class lives in the lowest layer, so that each module can define its own errors
without importing a layer above it.
"""

import os
from typing import ClassVar


class RekindleError(Exception):
    """Base of all errors of rekindle.

    Args:
        what: what happened, one sentence.
        where: the file, key or object concerned, if there is one.
        hint: what the reader can do about it; never empty.
    """

    exit_code: ClassVar[int] = 4

    def __init__(
        self, what: str, *, where: str | os.PathLike[str] | None = None, hint: str
    ) -> None:
        self.what = what
        self.where = None if where is None else os.fspath(where)
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class UsageError(RekindleError):
    """The command line is invalid."""

    exit_code = 2


class Refused(RekindleError):
    """The daemon rejected a spec or a request; it is in ``rejected/`` with the reason."""

    exit_code = 2


class NotDone(RekindleError):
    """The daemon did not do what was asked: the state of the job does not allow it."""

    exit_code = 1


class NotFound(RekindleError):
    """A job, attempt or file that was named does not exist."""

    exit_code = 3


class HomeUnusable(RekindleError):
    """The home cannot be read or written, or has a newer format."""


class HomeClosed(HomeUnusable):
    """The current user lacks permission; the hint says how to get it."""


class ConfigError(RekindleError):
    """``rekindle.toml`` is invalid; restarting will not help (exit code 2)."""

    exit_code = 2


class LedgerCorrupt(HomeUnusable):
    """``ledger.db`` is damaged; it is never replaced silently."""


class LedgerTooNew(HomeUnusable):
    """``ledger.db`` was written by a newer version of rekindle."""


class LockHeld(HomeUnusable):
    """Another live process holds the lock of a home or of a run directory."""


class SpecError(RekindleError):
    """A job spec that cannot be accepted.

    Args:
        key: the dotted key concerned, e.g. ``"checkpoint.keep"``, if there is one.
        line: its 1-based line in the file, where known.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | os.PathLike[str] | None = None,
        hint: str,
        key: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.key = key
        self.line = line


class CheckpointsUnreadable(RekindleError):
    """Checkpoints exist and none is good: the user must request a start from scratch."""

    exit_code = 1


class StateMismatch(RekindleError):
    """A checkpoint does not match the model, optimizer or data of this attempt."""

    exit_code = 1


class SourceMissing(RekindleError):
    """The snapshot of a job's code is missing; the user must choose other code."""

    exit_code = 1


class GpuMissing(RekindleError):
    """The spec asks for a GPU and the training would run on the CPU: no training starts."""

    exit_code = 1


class HookFailed(RekindleError):
    """Keras cannot be hooked, so nothing would be saved: no training starts."""

    exit_code = 1


class LeftBehind(RekindleError):
    """A file or folder of an earlier attempt makes the script fail; a person must move it."""

    exit_code = 1


class OutputMoved(RekindleError):
    """The script looks for a file of an earlier attempt under another name."""

    exit_code = 1
