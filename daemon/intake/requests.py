"""Write and read requests: small JSON files, so that every verb works while the daemon is down.

``<time_ns>-<pid>.request.json`` holds ``{"format": 1, "verb": ..., "job": ..., ...}``.
"""

import json
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rekindle.state import accounts, durable
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home

FORMAT: Final = 1
SUFFIX: Final = ".request.json"
VERBS: Final = (
    "stop",
    "release",
    "cancel",
    "retry",
    "extend",
    "fork",
    "priority",
    "import",
    "prune",
)
"""Verbs about one job."""
QUEUE_VERBS: Final = ("pause", "resume", "check")
"""Verbs about the whole queue; their requests name no job."""
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """Describe a request to the daemon about a job or the whole queue.

    Attributes:
        file: its file in the inbox, which is removed once it was carried out.
        job: None if the verb is about the whole queue.
        fields: further values of the verb, e.g. ``from_scratch`` of ``retry``.
        uid: owner of the file, as the kernel says; None if it was not read from one.
        at: unix time at which the file was written.
    """

    file: Path
    verb: str
    job: str | None
    fields: dict[str, Any] = field(default_factory=dict)
    uid: int | None = None
    at: float = 0.0

    @property
    def user(self) -> str:
        """The name of the user who asks; empty if unknown."""
        return "" if self.uid is None else accounts.user_name(self.uid)


def claim_of(request: str) -> str:
    """Return the claim of the job that a request makes, by the name of its file."""
    return f"request-{request}"


def write(home: Home, verb: str, job: str | None, **fields: Any) -> Path:
    """Write a request into the inbox; requests are carried out in the order of arrival.

    Args:
        job: a job's id, None for a verb about the whole queue.

    Raises:
        UsageError: the verb is unknown, or this user cannot write the inbox.
    """
    known = QUEUE_VERBS if job is None else VERBS
    if verb not in known:
        raise UsageError(f"Unknown request: {verb!r}.", hint=f"Known: {', '.join(known)}.")
    path = home.inbox / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
    named = {} if job is None else {"job": job}
    data = json.dumps({"format": FORMAT, "verb": verb, **named, **fields}) + "\n"
    try:
        durable.write_bytes(path, data.encode(), 0o640, shared=True)
    except OSError as error:
        raise UsageError(
            f"The request cannot be written: {error.strerror}.",
            where=home.inbox,
            hint="Is this the right home (--home), and are you in the group of its inbox?",
        ) from error
    return path


def is_whole(path: Path) -> bool:
    """Return whether a file is no longer being written: no part of a JSON object is one itself.

    Raises:
        FileNotFoundError: it was removed.
    """
    try:
        read(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        return False
    return True


def read(path: Path) -> Request:
    """Read a request.

    Raises:
        ValueError: it is not a request that this version can read; the text says why.
        OSError: the file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("a request must be a regular file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(_MAX_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"a request has at most {_MAX_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a request must be JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError("a request must be a JSON object")
    if value.get("format") != FORMAT:
        raise ValueError(f"the format must be {FORMAT}, not {value.get('format')!r}")
    verb, job = value.get("verb"), value.get("job")
    if verb not in (*VERBS, *QUEUE_VERBS):
        raise ValueError(
            f"the verb must be one of {', '.join((*VERBS, *QUEUE_VERBS))}, not {verb!r}"
        )
    if verb in QUEUE_VERBS and job is not None:
        raise ValueError(f"{verb} is about the whole queue, and names no job")
    if verb in VERBS and not isinstance(job, str):
        raise ValueError("the job must be a job id")
    rest = {key: item for key, item in value.items() if key not in ("format", "verb", "job")}
    return Request(path, verb, job, rest, info.st_uid, info.st_mtime)
