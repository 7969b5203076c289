"""Claim complete files by a rename out of the inbox."""

import hashlib
import math
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rekindle.daemon import errors
from rekindle.daemon.spec import parse
from rekindle.jobs.job import Job
from rekindle.state import accounts
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_NAME_MOST: Final = 255
"""Bytes that a file name can have. Source: NAME_MAX in limits.h."""
_SUFFIX_MOST: Final = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """Describe a file that was moved out of the inbox; ``dropped`` is unix time, if known."""

    path: Path
    token: str
    name: str
    dropped: float = math.inf


@dataclass(frozen=True, slots=True)
class Parsed:
    """Hold the content of a claimed file with a valid spec, and its jobs: several of a grid."""

    claim: Claim
    jobs: tuple[Job, ...]
    data: bytes

    @property
    def job(self) -> Job:
        """The first of its jobs, from which the others differ in their parameters only."""
        return self.jobs[0]

    def replaced(self, **changes: Any) -> "Parsed":
        """Return the same with some fields of all jobs changed."""
        return replace(self, jobs=tuple(job.replace(**changes) for job in self.jobs))


class Claims:
    """Claim the files of one inbox."""

    def __init__(self, home: Home, crash_point: Callable[[str], None]) -> None:
        self._home = home
        self._crash_point = crash_point

    def take(self, path: Path, info: os.stat_result) -> Claim:
        """Claim a complete file.

        Raises:
            OSError: it cannot be claimed.
        """
        token = f"{time.time_ns():x}-{info.st_ino:x}"
        room = _NAME_MOST - len(token) - 2
        claimed = self._home.claimed / f"{token}--{shortened(path.name, room)}"
        self._crash_point("before_claim")
        os.rename(path, claimed)
        self._crash_point("claimed")
        return Claim(claimed, token, path.name, max(info.st_mtime, info.st_ctime))

    def unfinished(self, ledger: Ledger) -> tuple[list[Claim], list[tuple[Claim, str]]]:
        """Find the claims that are not jobs yet, and those that are, with the job's id."""
        waiting, accepted = [], []
        for claimed in sorted(self._home.claimed.iterdir()):
            token, _, name = claimed.name.partition("--")
            claim, job = Claim(claimed, token, name), ledger.find_claim(token)
            if job is None:
                waiting.append(claim)
            else:
                accepted.append((claim, job))
        return waiting, accepted

    def parse(self, claim: Claim) -> Parsed:
        """Read a claimed file.

        Raises:
            SpecError: the spec is invalid or cannot be read.
            OSError: the file was removed, or the host lacks memory or file descriptors now.
        """
        try:
            # the owner as the kernel says it: `claimed/` is closed to other users
            info = claim.path.lstat()
            problem = _unusable(claim.name, info)
            if problem is not None:
                raise problem
            data = read(claim.path)
            jobs = parse.parse_all(data, claim.name, self._home.inbox)
            user = accounts.user_name(info.st_uid)
            return Parsed(claim, tuple(jobs), data).replaced(uid=info.st_uid, user=user)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or errors.is_scarce(error):
                raise
            raise SpecError(
                f"It cannot be read: {error.strerror}.",
                where=claim.name,
                hint="Correct that, then submit it again.",
            ) from error


def shortened(name: str, most: int) -> str:
    """Shorten a file name to a number of bytes: a digest replaces the end of a longer stem."""
    raw = os.fsencode(name)
    if len(raw) <= most:
        return name
    stem, suffix = os.path.splitext(name)
    if stem.endswith(".request"):
        suffix = f".request{suffix}"
    if len(os.fsencode(suffix)) > _SUFFIX_MOST:
        suffix = ""
    tail = f"-{hashlib.sha256(raw).hexdigest()[:8]}{suffix}"
    head = raw[: most - len(os.fsencode(tail))].decode(errors="ignore")
    return f"{head}{tail}"


def _unusable(name: str, info: os.stat_result) -> SpecError | None:
    """Describe what is wrong with a file before any of it is read; None if nothing is."""
    if stat.S_ISLNK(info.st_mode):
        what, hint = "The file is a symbolic link.", "Copy the file itself into the inbox."
    elif not stat.S_ISREG(info.st_mode):
        what, hint = "It is not a regular file.", "Drop spec files only."
    elif info.st_nlink > 1:
        what, hint = (
            "The file has a second name (a hard link).",
            "Copy it into the inbox, so that nobody changes it afterwards.",
        )
    elif info.st_size > parse.MAX_BYTES:
        what, hint = (
            f"The file has {info.st_size} bytes.",
            "A spec has at most 1 MiB; put data into separate files.",
        )
    elif not name.endswith(parse.SUFFIXES):
        what, hint = (
            "The file's extension is not that of a spec.",
            f"Name it *{', *'.join(parse.SUFFIXES)}.",
        )
    else:
        return None
    return SpecError(what, where=name, hint=hint)


def read(path: Path) -> bytes:
    """Read a spec, up to one byte more than it may have.

    Raises:
        SpecError: it is not a regular file, or cannot be read.
        OSError: it was removed.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise SpecError(
            "The file cannot be read by the daemon.",
            where=path.name,
            hint="Let its group read it: chmod g+r.",
        ) from error
    with os.fdopen(fd, "rb") as file:
        problem = _unusable(path.name, os.fstat(file.fileno()))
        if problem is not None:
            raise problem
        return file.read(parse.MAX_BYTES + 1)
