"""Where an exception that ended a script came from, and whether another try is worth it."""

import re
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Final

_OURS: Final = tuple(
    str(Path(__file__).resolve().parent.parent.with_name(name)) + "/" for name in ("jobs", "state")
)
_LIBRARY: Final = (sysconfig.get_paths()["stdlib"] + "/", "/site-packages/", "/dist-packages/")
_PASSING: Final = re.compile(
    r"Connect|Time(d)?Out|Unavailable|Network|DeadlineExceeded", re.IGNORECASE
)
_LASTING: Final = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ValueError,
)


def place(error: BaseException) -> str:
    """Find ``FILE:LINE`` of the innermost frame of the script's own code; empty for none."""
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


def may_pass(error: BaseException) -> bool:
    """Tell whether an exception is of a kind that goes away by itself: a network, a server.

    It decides nothing but whether the script is tried again before a person is asked.
    """
    if isinstance(error, OSError):
        return not isinstance(error, _LASTING)
    return any(_PASSING.search(kind.__name__) for kind in type(error).__mro__)
