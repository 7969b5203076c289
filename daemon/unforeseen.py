"""An error of the system that no part has foreseen, as a sentence: what, where, what to do."""

import errno
import os
from pathlib import Path
from typing import Final

from rekindle.state import access
from rekindle.state.errors import RekindleError

_RIGHTS: Final = frozenset({errno.EACCES, errno.EPERM})
_HINTS: Final = {
    errno.EACCES: "Give this user the right, or run it as another one.",
    errno.EPERM: "Give this user the right, or run it as another one.",
    errno.ENOSPC: "Make room on that disk; of a home, `rekindle prune` shows what may go.",
    errno.EDQUOT: "Make room on that disk; of a home, `rekindle prune` shows what may go.",
    errno.EROFS: "That disk can only be read; after a fault of the disk the kernel's log says why.",
    errno.EIO: "The disk fails: the kernel's log (`dmesg`) says more.",
}


class SystemRefused(RekindleError):
    """The system refused a file or a call; exit code 1, so that a service is started again."""

    exit_code = 1


def explain(error: OSError, home: Path | None) -> RekindleError:
    """The error to tell a person.

    Args:
        home: where a missing right means that the home cannot be used.

    Returns:
        :class:`rekindle.state.errors.HomeClosed` for a missing right within ``home``, else
        :class:`SystemRefused`, with the line of the code, since only that tells where to look.
    """
    names = [
        os.path.abspath(os.fsdecode(name))
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes | os.PathLike)
    ]
    if error.errno in _RIGHTS and home is not None:
        real = os.path.realpath(home)
        for name in names:
            if Path(os.path.realpath(name)).is_relative_to(real):
                return access.closed(error, name, home)
    hint = _HINTS.get(error.errno or 0, "Mend what it says, then call it again.")
    return SystemRefused(
        f"The system refused: {error.strerror or error or type(error).__name__}.",
        where=" -> ".join(names) or None,
        hint=f"{hint} (met in {_place(error)})",
    )


def _place(error: BaseException) -> str:
    """The innermost line of our own code on the way to the error."""
    found, at = "the command line", error.__traceback__
    while at is not None:
        module = str(at.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("rekindle."):
            found = f"{module}, line {at.tb_lineno}"
        at = at.tb_next
    return found
