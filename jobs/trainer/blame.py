"""Locate the exception that ended a script, and classify it as transient or permanent."""

import re
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Final

_OURS: Final = tuple(
    str(Path(__file__).resolve().parent.parent.with_name(name)) + "/" for name in ("jobs", "state")
)
_LIBRARY: Final = (sysconfig.get_paths()["stdlib"] + "/", "/site-packages/", "/dist-packages/")
_TRANSIENT: Final = re.compile(
    r"Connect|Time(d)?Out|Unavailable|Network|DeadlineExceeded", re.IGNORECASE
)
_PERMANENT: Final = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ValueError,
)


def place(error: BaseException) -> str:
    """Find ``FILE:LINE`` of the innermost frame of the script's own code; empty if it has none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    found = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith((*_OURS, "<")) or any(part in file for part in _LIBRARY)):
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def is_transient(error: BaseException) -> bool:
    """Check that an exception has a transient type, e.g. an error of a network or a server.

    It only decides whether the script is retried before the job is held.
    """
    if isinstance(error, OSError):
        return not isinstance(error, _PERMANENT)
    return any(_TRANSIENT.search(kind.__name__) for kind in type(error).__mro__)
