"""Name files that a script appends to outside of its trainings, in one attempt after another.

A relaunch runs the script from its beginning, and what that appends stands in the file already. A
file that an attempt reads or empties first is left out: the script knows then what is there.
"""

import os
import sys
import tempfile
from typing import Any, Final

from rekindle.jobs import code_origin
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files.moved import short
from rekindle.state.run import entries, summary

_MOST: Final = 1000
_DEEPEST: Final = 16
_PASSED: Final = frozenset(
    {"pathlib", "io", "codecs", "gzip", "bz2", "lzma", "pandas", "numpy", "csv", "json", "joblib"}
)
"""Modules that open files for their caller; the file of a logger is one for all attempts."""


class Appended:
    """Note the files that one attempt appends to, and name those that earlier ones did.

    Args:
        session: of the attempt.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._earlier = {
            str(entry["file"])
            for entry in entries.appended.among(summary.read(session.run).entries)
            if entry["attempt"] != session.attempt
        }
        self._done: set[str] = set()
        self._is_busy = False

    def opened(self, path: str, flags: int) -> None:
        """Look at a file that is about to be opened outside of stages; called by an audit hook.

        Args:
            path: absolute.
            flags: of ``os.open``.
        """
        appends = bool(flags & os.O_APPEND) and flags & os.O_ACCMODE == os.O_WRONLY
        name = short(path, self._session.job.workdir)
        if self._is_busy or name in self._done or len(self._done) >= _MOST:
            return
        if is_of_tempfile(name, path):
            return
        if not appends:
            if name in self._earlier:
                self._done.add(name)
        elif _is_opened_by_the_script(sys._getframe(1)):
            self._done.add(name)
            self._is_busy = True
            try:
                self._note(name, path)
            finally:
                self._is_busy = False

    def _note(self, name: str, path: str) -> None:
        if name not in self._earlier:
            self._session.note(entries.appended(file=name))
        elif os.path.exists(path) and os.path.getsize(path):
            self._session.warn(
                f"The script appends to {name} once more: it has what an earlier attempt appended "
                "outside of a training, and a relaunch runs the script from its beginning.",
                'Open it with "w" at the beginning of the script, or append to it in a callback, '
                "whose files are restored.",
            )


def is_of_tempfile(name: str, path: str) -> bool:
    """Return whether a path outside of the job's folder is one of ``tempfile``.

    That module is not asked, as it opens files itself to find its folder.

    Args:
        name: the path relative to the job's folder; the same for one outside of it.
        path: absolute.
    """
    folder = tempfile.tempdir or os.environ.get("TMPDIR") or os.path.join(os.sep, "tmp")
    return name == path and path.startswith(os.path.join(os.fsdecode(folder), "tmp"))


def _is_opened_by_the_script(frame: Any) -> bool:
    """Return whether the job's own code opens a file, itself or through a module for files."""
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        file = frame.f_code.co_filename
        if code_origin.is_own(file) or file == "<string>":
            return True
        if code_origin.is_library(file) or file.startswith("<frozen"):
            module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if module not in _PASSED:
                return False
        frame = frame.f_back
    return False
