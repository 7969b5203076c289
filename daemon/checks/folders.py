"""Try the folders of waiting jobs as this process may use them. Nothing is written.

In a service the file permissions are not all: systemd may hide a folder or make it read-only.
"""

import errno
import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rekindle.daemon.checks import script_text
from rekindle.daemon.checks.finding import ERROR, WARNING, Finding, Waiting, named
from rekindle.jobs.job import Job
from rekindle.state import accounts

CHECK: Final = "folder"
_RESULT: Final = r"out(?:put)?s?|save[dr]?|logs?|results?|exports?|tensorboard|artifacts?"
_EITHER: Final = r"ckpt|checkpoints?|models?|weights|runs?|work|scratch|tmp"
_PLACE: Final = r"dir|directory|path|folder|file|to|root"
_OPTION: Final = re.compile(
    rf"--?(?:(?P<result>{_RESULT})|{_EITHER})(?P<place>[-_](?:{_PLACE}))?", re.IGNORECASE
)
_VARIABLE: Final = re.compile(
    rf"(?:\w+_)?(?:(?P<result>{_RESULT})|{_EITHER})(?P<place>_(?:{_PLACE}))", re.IGNORECASE
)


class Output(NamedTuple):
    """Name a path that a job will write; without ``sure`` it may as well read there."""

    path: str
    sure: bool


def check(waiting: Sequence[Waiting]) -> Iterator[Finding]:
    """Yield a finding for each folder that a job needs and this process cannot use."""
    found: dict[Finding, list[Waiting]] = {}
    for one in waiting:
        for finding in _of(one.job):
            found.setdefault(finding, []).append(one)
    for finding, jobs in found.items():
        yield Finding(
            finding.severity, CHECK, f"{named(jobs)}: {finding.what}", finding.hint, finding.path
        )


def outputs(job: Job) -> list[Output]:
    """List the output folders and files that arguments and variables of a job name."""
    found: dict[str, bool] = {}
    words = [*(job.command or [])[1:], *job.args]
    options = [
        (_OPTION.fullmatch(option), value if equals else following)
        for word, following in zip(words, [*words[1:], ""], strict=False)
        for option, equals, value in [word.partition("=")]
    ]
    variables = [(_VARIABLE.fullmatch(key), value) for key, value in job.env.items()]
    for match, value in options + variables:
        if match is not None and _is_path(value, named=bool(match["place"])):
            path = os.path.join(job.workdir, os.path.expanduser(value))
            found[path] = found.get(path, False) or match["result"] is not None
    return [Output(*one) for one in found.items()]


def _is_path(text: str, *, named: bool) -> bool:
    if not text or text.startswith("-") or "://" in text or text.isdecimal():
        return False
    return named or "/" in text


def _of(job: Job) -> Iterator[Finding]:
    try:
        os.stat(job.workdir)
    except OSError as error:
        if error.errno == errno.ENOENT:
            what = f"the workdir does not exist: {job.workdir}."
            hint = f"Mount it, or create it: mkdir -p {job.workdir}"
        else:
            what = f"user {user()} cannot reach the workdir {job.workdir} ({error.strerror})."
            hint = _let_in(os.path.dirname(job.workdir), "x")
        yield Finding(ERROR, CHECK, what, hint, job.workdir)
        return
    if not os.path.isdir(job.workdir) or not os.access(job.workdir, os.X_OK):
        what = f"user {user()} cannot enter the workdir {job.workdir}."
        yield Finding(ERROR, CHECK, what, _let_in(job.workdir, "x"), job.workdir)
        return
    # without the script a snapshot of it runs
    if job.source is None and job.script is not None and not os.access(job.script, os.R_OK):
        missing = not os.path.lexists(job.script)
        what = (
            f"the script does not exist: {job.script}."
            if missing
            else f"user {user()} cannot read the script {job.script}."
        )
        hint = "Restore it, or cancel the job." if missing else _let_in(job.script, "r")
        yield Finding(ERROR, CHECK, what, hint, job.script)
    yield from _writing(job)


def _writing(job: Job) -> Iterator[Finding]:
    writes = script_text.of(job).writes
    places = [("workdir", job.workdir, ERROR if writes else WARNING)]
    places += [
        ("output path", output.path, ERROR if output.sure else WARNING)
        for output in outputs(job)
        if output.sure or not os.path.isfile(output.path)  # else most likely an input
    ]
    for what, path, severity in places:
        place = _nearest(path)
        why = unwritable(place)
        if why:
            text = f"the {what} {path} cannot be written: {why}."
            yield Finding(severity, CHECK, text, _let_in(place, "rwx"), place)


def unwritable(place: str) -> str:
    """Say why this process cannot create files in a folder, or write a file; empty if it can."""
    if is_read_only(place):
        return "read-only file system"
    mode = os.W_OK | os.X_OK if os.path.isdir(place) else os.W_OK
    if os.access(place, mode):
        return ""
    return f"user {user()} has no permission on {place}"


def is_read_only(place: str) -> bool:
    """Return whether a path is on a file system that this process sees as read-only."""
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _nearest(path: str) -> str:
    """Find the nearest path upwards that exists: a script makes the folders below it."""
    path = os.path.normpath(path)
    while not os.path.exists(path) and path not in ("", "/"):
        path = os.path.dirname(path)
    return path or "/"


def _let_in(path: str, mode: str) -> str:
    return f"As the owner of {path}: setfacl -m u:{user()}:{mode} {path}"


@functools.cache
def user() -> str:
    """Name the user of this process."""
    return accounts.user_name(os.geteuid())
