"""Name what an earlier attempt left behind, where the script fails because of it.

A killed process leaves folders that ``os.mkdir`` does not make twice, files that mode "x" refuses,
lock files, and half written files. A retry cannot help: each would fail in the same way.
"""

import errno
import os
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any, Final

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files.moved import EARLIER, FREEZE, short
from rekindle.jobs.files.put_back import SLACK_S, attempt_times
from rekindle.jobs.files.written import WRITTEN
from rekindle.state.errors import LeftBehind, OutputMoved, RekindleError
from rekindle.state.run import summary

_EXISTS: Final = {errno.EEXIST, errno.ENOTEMPTY}
_ALREADY: Final = re.compile(r"already exists|AlreadyExists|File exists", re.IGNORECASE)
_MISSING: Final = re.compile(
    r"No such file|not found|does not exist|doesn't exist|unable to open", re.IGNORECASE
)
_TORN: Final = re.compile(
    r"EOFError|BadZipFile|JSONDecodeError|UnpicklingError|EmptyDataError|truncated|"
    r"Ran out of input|file signature not found|not a zip file|Unexpected end|data loss|DataLoss|"
    r"No data left in file|malformed|bad object header|Bad CRC",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r"'([^'\n]{1,500})'|\"([^\"\n]{1,500})\"|`([^`\n]{1,500})`")
_WORD: Final = re.compile(r"[^\s'\"`()\[\]{},;]+")
_TORN_S: Final = 5.0
"""Seconds before the end of an attempt in which it was writing a file that is torn now."""


def explain(error: BaseException, session: Session, at: str) -> RekindleError | None:
    """Find the path of an earlier attempt that made the script fail; None if there is none.

    Args:
        at: ``FILE:LINE`` of the script where it failed.
    """
    if session.attempt < 2 or not isinstance(error, Exception):
        return None
    read = WRITTEN.last_read  # before the search reads files itself
    try:
        return _Search(session, at, read).explain(error)
    except OSError:
        return None


class _Search:
    def __init__(self, session: Session, at: str, read: str | None) -> None:
        self._session = session
        self._read = read
        self._at = f", at {at}" if at else ""
        times = attempt_times(summary.read(session.run).entries)
        self._earlier = times[: max(len(times) - 1, 0)]
        # a file that this attempt has made itself was not left by another
        self._began = times[-1][0] + SLACK_S if times else 0.0

    def explain(self, error: Exception) -> RekindleError | None:
        for one in _chain(error):
            text = f"{type(one).__name__}: {one}"
            number = one.errno if isinstance(one, OSError) else None
            if number in _EXISTS or _ALREADY.search(text):
                for path in self._paths(one):
                    if self._is_left(path):
                        return self._left(path, text)
            elif number == errno.ENOENT or _MISSING.search(text):
                for path in self._paths(one):
                    if not os.path.lexists(path) and (old := EARLIER.of(path)) is not None:
                        return self._moved(path, old, text)
            torn = _TORN.search(text) or number == errno.EINVAL
            if torn and self._read is not None and self._is_torn(self._read):
                return self._torn(self._read, text)
        return None

    def _left(self, path: str, text: str) -> LeftBehind:
        return LeftBehind(
            f"The script failed because {self._short(path)} of an earlier attempt "
            f"exists{self._at}: {_line(text, path)}.",
            hint=f"{self._away(path)} To survive a relaunch, let the script accept what exists "
            '(exist_ok=True, mode "w").',
        )

    def _torn(self, path: str, text: str) -> LeftBehind:
        return LeftBehind(
            f"The script failed reading {self._short(path)}, which was being written when an "
            f"earlier attempt was ended{self._at}: {_line(text, path)}.",
            hint=f"{self._away(path)} To survive a relaunch, write such files under another name "
            "and rename them (os.replace).",
        )

    def _moved(self, path: str, old: str, text: str) -> OutputMoved:
        return OutputMoved(
            f"The script did not find {self._short(path)}{self._at}: an earlier attempt wrote "
            f"{self._short(old)}. {_line(text, path)}.",
            hint=f"In the next spec: {FREEZE} For this job: write the earlier name into the "
            f"script, then `rekindle release {self._session.job.id} --new-code`.",
        )

    def _away(self, path: str) -> str:
        aside = path
        for number in range(self._session.attempt - 1, 10_000):
            aside = f"{path}.attempt-{number}"
            if not os.path.lexists(aside):
                break
        return (
            f"`mv {shlex.quote(path)} {shlex.quote(aside)}`, then "
            f"`rekindle release {self._session.job.id}`."
        )

    def _paths(self, error: Exception) -> Iterator[str]:
        """Yield the paths that an exception names, and a database that was opened last."""
        named: list[Any] = []
        if isinstance(error, OSError):
            named += [error.filename2, error.filename]
        text = str(error)
        named += [next(filter(None, found.groups())) for found in _QUOTED.finditer(text)]
        named += [text[text.find("'") + 1 : text.rfind("'")]]  # of a name with a quote in it
        named += [found[0].rstrip(".:") for found in _WORD.finditer(text)]
        named += [WRITTEN.last_database]
        for one in named:
            if isinstance(one, str | bytes | os.PathLike):
                path = os.fsdecode(one)
                if path and "\0" not in path:
                    yield os.path.abspath(path)

    def _is_left(self, path: str) -> bool:
        """Return whether a path was made, or last changed, by an earlier attempt of this job."""
        return self._within(path, lambda since, until, at: since <= at <= until)

    def _is_torn(self, path: str) -> bool:
        """Return whether an earlier attempt was ended just after it had changed a file."""
        return self._within(path, lambda since, until, at: until - _TORN_S <= at <= until)

    def _within(self, path: str, fits: Callable[[float, float, float], bool]) -> bool:
        if os.path.join(self._session.job.workdir, "").startswith(os.path.join(path, "")):
            return False  # a dot in the message
        try:
            at = os.lstat(path).st_mtime
        except OSError:
            return False
        return at < self._began and any(fits(since, until, at) for since, until in self._earlier)

    def _short(self, path: str) -> str:
        return short(path, self._session.job.workdir)


def _chain(error: Exception) -> Iterator[Exception]:
    """Yield an exception and those that it was raised from."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while isinstance(one, Exception) and one not in seen and len(seen) < 20:
        seen.append(one)
        yield one
        one = one.__cause__ or one.__context__


def _line(text: str, path: str) -> str:
    """Return the line of a message that names a path, else its first."""
    lines = text.splitlines() or [""]
    named = next((line for line in lines if os.path.basename(path) in line), lines[0])
    return named.strip()[:300].rstrip(".: ")
