"""Every error that rekindle raises on purpose: what happened, where, and what to do.

The base class lives here, below everything else, so that each part can raise its own
errors without importing a part above it.
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
    """The command was called in a way that cannot mean anything."""

    exit_code = 2


class Refused(RekindleError):
    """The daemon did not take what was handed in; it lies in ``rejected/`` with the reason."""

    exit_code = 2


class NotFound(RekindleError):
    """A job, attempt or file that was named does not exist."""

    exit_code = 3


class HomeUnusable(RekindleError):
    """The home cannot be read or written, or is of a newer format."""


class HomeClosed(HomeUnusable):
    """This user has not the right; the hint says how to come by it."""


class ConfigError(RekindleError):
    """``rekindle.toml`` cannot be meant; starting again does not help (exit code 2)."""

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
    """Checkpoints exist and none of them is good: starting from scratch must be asked for."""

    exit_code = 1


class StateMismatch(RekindleError):
    """A checkpoint does not fit the model, optimizer or data of this attempt."""

    exit_code = 1


class SourceMissing(RekindleError):
    """The snapshot of a job's code is gone; running other code instead must be asked for."""

    exit_code = 1


class HookFailed(RekindleError):
    """Keras' training loop cannot be hooked: nothing would be saved, so nothing is trained."""

    exit_code = 1
