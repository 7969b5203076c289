"""Check before the night whether a host and a home have what the queued jobs need.

Each check reports what it found, with a hint if something will fail. Nothing is changed, but one
file is written and removed again, to measure the speed of the disk.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rekindle.daemon import config, daemon_status, extras
from rekindle.daemon.checks import folders, tries
from rekindle.daemon.checks.finding import Finding, Waiting, named
from rekindle.daemon.checks.interpreters import Limits, Report
from rekindle.daemon.client import terminal
from rekindle.daemon.doctor import host, jobs, remote, units
from rekindle.daemon.notify import targets
from rekindle.daemon.notify.outbox import Outbox
from rekindle.jobs import provenance
from rekindle.jobs.job import Job
from rekindle.state import access
from rekindle.state.counted import counted
from rekindle.state.errors import RekindleError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home

IMPORT_S: Final = 300.0
"""Seconds for importing Keras in all interpreters together."""
_TRIES: Final = "tries"


@dataclass(slots=True)
class Night:
    """Hold what the checks before have found, for those after them.

    Attributes:
        waiting: the jobs and specs that will run.
        rows: the jobs that have not ended.
    """

    waiting: list[Waiting] = field(default_factory=list)
    rows: list[JobRow] = field(default_factory=list)


def examine(
    home: Home, *, imports: bool = True, timeout: float = IMPORT_S, report: Report = lambda _: None
) -> Iterator[Finding]:
    """Yield all findings, one check after the other.

    Args:
        imports: import Keras as each waiting job would; takes seconds.
        timeout: seconds for all of these imports together.
        report: called with the name of each check that begins, and of its parts.
    """
    if not access.exists(home.inbox, home.root):
        yield Finding(
            "error",
            "home",
            f"Not a home: {home.root} has no inbox.",
            "Start the daemon once (`rekindle run`), or name the home with --home.",
        )
        return
    night = Night()
    waiting = night.waiting
    unit = functools.cache(units.ask)
    now = time.time()
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("home", lambda: _permissions(home)),
        ("configuration", lambda: _configuration(home)),
        ("ledger", lambda: _ledger(home, night)),
        ("inbox", lambda: _inbox(home, night)),
        ("daemon", lambda: _daemon(home)),
        ("queue", lambda: _queue(home, night)),
        ("inbox", lambda: jobs.stuck(home, daemon_status.find(home) is not None, now)),
        ("spec", lambda: jobs.refused(home, now)),
        ("disk", lambda: host.space(home, waiting)),
        ("disk speed", lambda: host.speed(home, waiting)),
        ("GPUs", lambda: host.gpus(home, waiting)),
        ("GPUs", lambda: host.gpu_faults(home)),
        ("memory", lambda: host.memory(waiting)),
        ("interpreter", lambda: _tries(home, night, unit(), imports, timeout, report)),
        ("clock", host.clock),
        ("inotify", host.inotify),
        ("systemd", lambda: _systemd(waiting, unit())),
        ("git", _git),
    ]
    for name, check in checks:
        report(name)
        try:
            yield from check()
        except RekindleError as error:
            yield Finding("error", name, error.what, error.hint)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            yield Finding(
                "warning",
                name,
                f"The check failed: {error}.",
                "Run the doctor as the user that owns the home.",
            )


def _permissions(home: Home) -> Iterator[Finding]:
    owner = home.root.stat().st_uid
    for path, what in (
        (home.ledger, "ledger"),
        (home.runs, "run directories"),
        (home.claimed, "claimed specs"),
        (home.sources, "snapshots"),
    ):
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode
            if mode & 0o022:
                yield Finding(
                    "error",
                    "permissions",
                    f"Users other than the owner may write the {what} ({path}).",
                    f"chmod go-w {path}",
                )
    for file in home.runs.glob("*/job.json"):
        if file.stat().st_mode & 0o077:
            yield Finding(
                "error",
                "permissions",
                f"Other users may read {file}; it can hold secrets of `env`.",
                f"chmod 600 {file}",
            )
    info = home.inbox.stat()
    group = bool(info.st_mode & stat.S_IWGRP)
    if info.st_mode & stat.S_IWOTH:
        yield Finding(
            "error",
            "permissions",
            "Every user may drop specs, and a spec runs code as the daemon's user.",
            f"chmod 2770 {home.inbox}, and add the permitted users to its group.",
        )
    elif not os.access(home.inbox, os.W_OK):
        yield Finding(
            "error",
            "permissions",
            f"The current user cannot drop specs into {home.inbox}.",
            "Ask its owner to add you to the folder's group, then log in again.",
        )
    elif not group and owner != os.getuid():
        yield Finding(
            "warning",
            "permissions",
            "Only the daemon's user can drop specs.",
            f"chmod 2770 {home.inbox} lets its group do it.",
        )
    else:
        yield Finding(
            "ok",
            "permissions",
            "The inbox is writable by "
            + ("its group" if group else "you")
            + ", everything else by its owner only.",
        )


def _configuration(home: Home) -> Iterator[Finding]:
    try:
        read = config.read(home)
    except RekindleError as error:
        yield Finding("error", "configuration", f"{error.what} ({error.where})", error.hint)
        return
    origin = "rekindle.toml is valid" if home.config.exists() else "The defaults apply"
    limits = (
        "no limit on age or size"
        if read.retention == config.Retention()
        else "retention has limits"
    )
    yield Finding("ok", "configuration", f"{origin}: {limits}.")
    yield from _notifications(home, read.notify)


def _notifications(home: Home, settings: config.Notify) -> Iterator[Finding]:
    """Find targets that cannot be reached as they are configured; nothing is sent."""
    if not settings:
        return
    try:
        found = targets.of(settings)
    except targets.Unreadable as error:
        hint = "Let the daemon's user read `urls_file`, or correct its name."
        yield Finding("error", "notifications", f"The URLs cannot be read: {error}.", hint)
        return
    if any(one.url for one in found) and importlib.util.find_spec("apprise") is None:
        missing = extras.missing("Notifications by URL", "apprise", "notify")
        yield Finding("error", "notifications", missing.what, missing.hint)
        return
    if settings.urls_file is not None and Path(settings.urls_file).stat().st_mode & 0o077:
        what = f"Other users may read {settings.urls_file}, whose URLs may hold passwords."
        yield Finding("warning", "notifications", what, f"chmod 600 {settings.urls_file}")
    # the folder of the home is closed to others where nobody has opened it
    if settings.urls and home.root.stat().st_mode & home.config.stat().st_mode & stat.S_IROTH:
        what = f"Other users may read {home.config}, whose URLs may hold passwords."
        yield Finding("warning", "notifications", what, f"chmod o= {home.config}")
    # of the service's home only its user may read what waits
    undelivered = Outbox.read(home.notify, 0).messages if os.access(home.notify, os.R_OK) else []
    failed = [one for one in undelivered if one.error]
    if failed:
        what = f"{counted(len(failed), 'message')} not delivered yet: {failed[0].error}"
        yield Finding("warning", "notifications", what, "`rekindle notify` sends a test.")
        return
    names = ", ".join(one.shown for one in found) or "the dead-man URL only"
    what = f"Notifications go to {names}."
    yield Finding("ok", "notifications", what, "")


def _ledger(home: Home, night: Night) -> Iterator[Finding]:
    if not home.ledger.exists():
        if any(home.runs.iterdir()):
            yield Finding(
                "error",
                "ledger",
                "The ledger is gone, but there are run directories.",
                "Stop the daemon, then `rekindle verify --rebuild` restores the ledger from them.",
            )
        else:
            yield Finding("ok", "ledger", "No job was ever run here.")
        return
    try:
        book = Ledger.open(home.ledger, readonly=True)
        try:
            faults = book.check()
            rows = book.jobs(states=set(JobState) - TERMINAL)
            accepted = [(row, _accepted(home, row, book)) for row in rows]
            newest = book.events(newest=1)
        finally:
            book.close()
    except RekindleError as error:
        yield Finding("error", "ledger", error.what, error.hint)
        return
    if faults:
        yield Finding(
            "error",
            "ledger",
            f"The ledger is damaged: {faults[0]}.",
            "Stop the daemon, then `rekindle verify --rebuild`.",
        )
        return
    if newest and newest[0].at > time.time() + 60:
        yield Finding(
            "error",
            "clock",
            f"The last event has a time in the future: {terminal.when(newest[0].at)}.",
            "The clock was set back; correct it: `timedatectl set-ntp true`.",
        )
    night.rows.extend(rows)
    for row, job in accepted:
        if job is None:
            yield Finding(
                "error",
                "jobs",
                f"The accepted spec of {row.id} cannot be read.",
                f"`rekindle show {row.id}` says why.",
            )
        else:
            night.waiting.append(Waiting(row.id, job, row.state))
    left = f"{counted(len(rows), 'job')} {'has' if len(rows) == 1 else 'have'} not ended"
    yield Finding("ok", "ledger", f"The ledger is sound; {left}.")


def _accepted(home: Home, row: JobRow, book: Ledger) -> Job | None:
    """Read the accepted spec; from the ledger, without secrets, where the file is not ours."""
    with contextlib.suppress(OSError, RekindleError):
        return Job.read(home.run(row.id).job_file)
    with contextlib.suppress(RekindleError):
        return Job.from_json(book.spec_text(row.id))
    return None


def _inbox(home: Home, night: Night) -> Iterator[Finding]:
    found, wrong = tries.of_inbox(home)
    night.waiting.extend(found)
    yield from wrong


def _queue(home: Home, night: Night) -> Iterator[Finding]:
    yield from jobs.paused(home, night.waiting)
    yield from jobs.held(night.rows)
    with contextlib.ExitStack() as closing:
        book = None
        with contextlib.suppress(RekindleError):  # reported by the check of the ledger
            book = Ledger.open(home.ledger, readonly=True)
            closing.callback(book.close)
        yield from jobs.dependent(book, night.rows, night.waiting)
        if book is not None:
            yield from jobs.short_of_time(book, night.rows, night.waiting)


def _daemon(home: Home) -> Iterator[Finding]:
    found = daemon_status.find(home)
    if found is None:
        yield Finding(
            "error",
            "daemon",
            "No daemon serves this home.",
            "`systemctl start rekindle` (if installed), or `rekindle run`.",
        )
        return
    ours = provenance.version("rekindle")
    if ours is not None and found.version not in (ours, "0"):
        yield Finding(
            "warning",
            "daemon",
            f"The daemon has version {found.version}, this command {ours}.",
            "Restart it; trainings continue meanwhile.",
        )
    yield Finding(
        "ok", "daemon", f"The daemon runs since {terminal.when(found.started)}, pid {found.pid}."
    )


def _tries(
    home: Home,
    night: Night,
    unit: dict[str, str] | None,
    imports: bool,
    timeout: float,
    report: Report,
) -> Iterator[Finding]:
    """Try interpreters and folders: in the daemon, or here where there is none to ask."""
    waiting = tries.to_run(night.waiting)
    if not waiting:
        return
    why = "No daemon runs"
    if daemon_status.find(home) is not None:
        answer = _ask(home, imports, timeout, report)
        if not answer.problem:
            for finding in answer.findings:
                yield units.in_sandbox(
                    finding,
                    unit,
                    answer.pid,
                    answer.user,
                    writable_here=not folders.is_read_only(finding.path),
                )
            yield Finding(
                "ok",
                _TRIES,
                f"Interpreters and folders were tried by the daemon, as user {answer.user}.",
            )
            return
        why = f"The daemon was not asked ({answer.problem.rstrip('.')})"
    limits = Limits.within(timeout)
    own, closed = tries.readable(home, waiting)
    yield from tries.run(home, own, imports=imports, limits=limits, report=report)
    if closed:
        yield Finding(
            "warning",
            _TRIES,
            f"{named(closed)} cannot be tried by user {folders.user()}: job.json is not readable.",
            "Run the doctor as the user that owns the home.",
        )
    yield Finding(
        "warning",
        _TRIES,
        f"{why}: interpreters and folders were tried as user {folders.user()} in this shell; a "
        "service may see less.",
        "Start the daemon and run the doctor again, as a user who may write the inbox.",
    )


def _ask(home: Home, imports: bool, timeout: float, report: Report) -> remote.Answer:
    try:
        book = Ledger.open(home.ledger, readonly=True)
    except RekindleError as error:
        return remote.Answer(problem=error.what)
    try:
        return remote.check(home, book, imports=imports, timeout=timeout, report=report)
    finally:
        book.close()


def _systemd(waiting: list[Waiting], unit: dict[str, str] | None) -> Iterator[Finding]:
    grace = max((one.job.limits.stop_grace for one in waiting), default=0.0)
    for severity, what, hint in units.judge(unit, grace):
        yield Finding(severity, "systemd", what, hint)


def _git() -> Iterator[Finding]:
    if shutil.which("git") is None:
        yield Finding(
            "warning",
            "git",
            "git is not installed: code snapshots are chosen by file name in the script's folder, "
            "without a commit.",
            "Install git.",
        )
