"""Locate the exception that ended a script, and classify it as transient or permanent."""

import re
from types import TracebackType
from typing import Final

from rekindle.jobs import code_origin

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
        if code_origin.is_own(file):
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
