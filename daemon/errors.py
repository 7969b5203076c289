"""Classify errors as transient or permanent, and describe them to a person.

What fails with a transient error is kept and retried; anything else is refused with its reason,
so that one person's folder or request never delays those of others.
"""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from rekindle.state import access
from rekindle.state.errors import HomeUnusable, RekindleError

_SCARCE: Final = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN})
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EBUSY})
_LEDGER: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
_PERMISSION: Final = frozenset({errno.EACCES, errno.EPERM})
_MOVED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE})
_HINTS: Final = {
    errno.EACCES: "Give this user the permission, or run it as another user.",
    errno.EPERM: "Give this user the permission, or run it as another user.",
    errno.ENOSPC: "Free space on that disk; in a home, `rekindle prune` shows what can be removed.",
    errno.EDQUOT: "Free space on that disk; in a home, `rekindle prune` shows what can be removed.",
    errno.EROFS: "That disk is read-only; after a disk fault the kernel's log (`dmesg`) says why.",
    errno.EIO: "The disk has a fault: the kernel's log (`dmesg`) has the details.",
}


class SystemRefused(RekindleError):
    """The system refused a file or a call; exit code 1, so that a service is restarted."""

    exit_code = 1


class Unexpected(RekindleError):
    """An error that rekindle does not expect; exit code 1, as that of a traceback."""

    exit_code = 1


def is_scarce(error: BaseException) -> bool:
    """Return whether the process or the host lacks memory or file descriptors now."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SCARCE)


def is_of_ledger(error: BaseException) -> bool:
    """Return whether the ledger cannot be used now, so that no other work can be done either."""
    cause = error.__cause__ if isinstance(error, HomeUnusable) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return isinstance(cause, sqlite3.Error) and code is not None and code & 0xFF in _LEDGER


def is_transient(error: BaseException) -> bool:
    """Return whether the home's disk, its ledger or the host is at fault, not the request."""
    return (
        is_scarce(error)
        or is_of_ledger(error)
        or (isinstance(error, OSError) and error.errno in _DISK)
    )


def describe(error: Exception) -> tuple[str, str]:
    """Describe a permanent error as a sentence and a hint."""
    if isinstance(error, RekindleError):
        return error.what, error.hint
    if isinstance(error, OSError) and error.errno is not None:
        place = f": {os.fsdecode(error.filename)}" if error.filename is not None else ""
        if error.errno in _PERMISSION:
            hint = "Give the daemon's user permission, then try again."
        elif error.errno in _MOVED:
            hint = (
                "A file of the home was moved or removed (`rekindle verify` names it): restore "
                "it and try again, or submit the job again."
            )
        else:
            hint = "Correct it, then try again."
        return f"{error.strerror or os.strerror(error.errno)}{place}.", hint
    return (
        f"{error}."
        if isinstance(error, ValueError | LookupError)
        else f"{type(error).__name__}: {error}.",
        "The daemon's log has the details; correct it, then try again.",
    )


def explain(error: OSError, home: Path | None) -> RekindleError:
    """Turn an unexpected error of the system into one with what, where and a hint.

    Args:
        home: the home in which a missing permission means that it cannot be used.

    Returns:
        :class:`rekindle.state.errors.HomeClosed` for a missing permission within ``home``, else
        :class:`SystemRefused` with the line of code that raised it.
    """
    names = [
        os.path.abspath(os.fsdecode(name))
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes | os.PathLike)
    ]
    if error.errno in _PERMISSION and home is not None:
        real = os.path.realpath(home)
        for name in names:
            if Path(os.path.realpath(name)).is_relative_to(real):
                return access.closed(error, name, home)
    hint = _HINTS.get(error.errno or 0, "Correct what it names, then run the command again.")
    return SystemRefused(
        f"The system refused: {error.strerror or error or type(error).__name__}.",
        where=" -> ".join(names) or None,
        hint=f"{hint} (raised in {_innermost_line(error)})",
    )


def unexpected(error: Exception) -> RekindleError:
    """Turn an error that is a bug into one with what, where and a hint."""
    return Unexpected(
        f"{type(error).__name__}: {error}",
        where=_innermost_line(error),
        hint="This is a bug in rekindle: report it with this output.",
    )


def _innermost_line(error: BaseException) -> str:
    """Find the innermost line of our own code in the traceback."""
    found, at = "the command line", error.__traceback__
    while at is not None:
        module = str(at.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("rekindle."):
            found = f"{module}, line {at.tb_lineno}"
        at = at.tb_next
    return found
