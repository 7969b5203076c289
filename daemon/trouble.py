"""Whether what failed may go well later by itself, or a person has to be told now.

What passes is kept and tried again; all else is refused with its reason, so that one person's
folder or request never holds up those of the others.
"""

import errno
import os
import sqlite3
from typing import Final

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


def scarce(error: BaseException) -> bool:
    """The process or the machine lacks something for the moment, whatever was looked at."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SCARCE)


def with_ledger(error: BaseException) -> bool:
    """The ledger cannot be written or read now: then nothing else can be carried out either."""
    cause = error.__cause__ if isinstance(error, HomeUnusable) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return isinstance(cause, sqlite3.Error) and code is not None and code & 0xFF in _LEDGER


def passes(error: BaseException) -> bool:
    """It is the home's disk, its ledger or the machine, and not what was asked for."""
    return (
        scarce(error) or with_ledger(error) or (isinstance(error, OSError) and error.errno in _DISK)
    )


def told(error: Exception) -> tuple[str, str]:
    """What happened, as a sentence, and a hint, for an error that does not pass by itself."""
    if isinstance(error, RekindleError):
        return error.what, error.hint
    if isinstance(error, OSError) and error.errno is not None:
        place = f": {os.fsdecode(error.filename)}" if error.filename is not None else ""
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = "Give the daemon's user the right to it, and ask once more."
        elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE):
            hint = (
                "Something of the home was moved or removed (`rekindle verify` names it): put "
                "it back and ask once more, or submit the job again."
            )
        else:
            hint = "Mend it, and ask once more."
        return f"{error.strerror or os.strerror(error.errno)}{place}.", hint
    return (
        f"{error}."
        if isinstance(error, ValueError | LookupError)
        else f"{type(error).__name__}: {error}.",
        "`rekindle show` tells more; write it once more when it is mended.",
    )
