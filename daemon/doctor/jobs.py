"""Check what keeps accepted jobs and dropped specs from running, whatever the host can do."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rekindle.daemon import queue_file
from rekindle.daemon.checks import tries
from rekindle.daemon.checks.finding import ERROR, WARNING, Finding, Waiting
from rekindle.daemon.client import terminal
from rekindle.daemon.intake import arrivals
from rekindle.daemon.queueing import dependencies
from rekindle.daemon.queueing.dependencies import Need
from rekindle.daemon.spec import parse
from rekindle.state.counted import counted
from rekindle.state.errors import RekindleError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import WAITS, JobState
from rekindle.state.paths import Home

_LISTED: Final = 5
_RECENT_S: Final = 7 * 86400.0
_TAKEN_S: Final = 30.0


def paused(home: Home, waiting: Sequence[Waiting]) -> Iterator[Finding]:
    """Find a paused queue: an error where a job waits for it."""
    try:
        decided = queue_file.read(home)
    except RekindleError as error:
        yield Finding(ERROR, "queue", error.what, error.hint)
        return
    if not decided.paused:
        return
    since = f" since {terminal.when(decided.since)}" if decided.since else ""
    blocked = tries.to_run(waiting)
    for_whom = f"; {counted(len(blocked), 'job')} will not run" if blocked else ""
    yield Finding(
        ERROR if blocked else WARNING,
        "queue",
        f"The queue is paused{since}{for_whom}.",
        "`rekindle resume` lets it run.",
    )


def held(rows: Iterable[JobRow]) -> Iterator[Finding]:
    """Report the held jobs, the first with their reasons."""
    found = [row for row in rows if row.state == JobState.HELD]
    if not found:
        return
    shown = "; ".join(f"{row.id}: {row.reason.rstrip('.')}" for row in found[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    is_held = "is held and will not run" if len(found) == 1 else "are held and will not run"
    yield Finding(
        WARNING,
        "jobs",
        f"{counted(len(found), 'job')} {is_held}: {shown}{more}.",
        "`rekindle ls --state held` shows why; `rekindle release JOB` lets one continue.",
    )


def dependent(
    book: Ledger | None, rows: Sequence[JobRow], waiting: Sequence[Waiting]
) -> Iterator[Finding]:
    """Find jobs whose `after` cannot be met.

    The other job does not exist, failed, is held, or waits for this one.
    """
    needs = {name: found for name, found in _needs(book, rows, waiting) if found}
    edges = {
        name: [need.id for need in found if need.id is not None and need.state != JobState.DONE]
        for name, found in needs.items()
    }
    circles = dependencies.Cycles(lambda name: edges.get(name, ()))
    reported: set[str] = set()
    problems: list[tuple[str, str, str]] = []
    for name, found in needs.items():
        if name in reported:
            continue
        if circles.contain(name) and (path := dependencies.cycle(name, lambda x: edges.get(x, ()))):
            reported.update(path)
            problems.append(
                (
                    name,
                    f"It waits for itself: {' waits for '.join(path)}.",
                    "Cancel one of them, correct its `after` and submit it again.",
                )
            )
            continue
        answer = dependencies.judge(name, found)
        if answer.reason and answer.hint:  # without a hint the other job may still run
            problems.append((name, answer.reason, answer.hint))
    for name, reason, hint in problems[:_LISTED]:
        yield Finding(ERROR, "jobs", f"{name} cannot run: {reason}", hint)
    if len(problems) > _LISTED:
        yield Finding(
            ERROR,
            "jobs",
            f"{counted(len(problems) - _LISTED, 'more job')} cannot run because of `after`.",
            "`rekindle ls --state waiting` shows what each waits for.",
        )


def _needs(
    book: Ledger | None, rows: Sequence[JobRow], waiting: Sequence[Waiting]
) -> Iterator[tuple[str, list[Need]]]:
    by_id = {row.id: row for row in rows}
    coming = {one.job.name for one in waiting if one.state is None}
    for one in waiting:
        row = by_id.get(one.name)
        if not one.job.after or (row is not None and (row.attempts or row.state not in WAITS)):
            continue
        found = []
        for named in one.job.after:
            other = None if book is None else _meant(book, row, named)
            if other is not None:
                found.append(Need(named, other.id, other.state))
            elif named in coming:
                found.append(Need(named, named, JobState.QUEUED))
            elif named != one.job.name:  # the first of a series has none before it
                found.append(Need(named))
        yield one.name, found


def _meant(book: Ledger, row: JobRow | None, named: str) -> JobRow | None:
    if row is not None:
        return book.named_for(row, named)
    return book.job(named) or book.newest_named(named)


def short_of_time(
    book: Ledger, rows: Sequence[JobRow], waiting: Sequence[Waiting]
) -> Iterator[Finding]:
    """Find jobs whose `max_runtime` ends before their next epoch, as long as the last one."""
    begun = {row.id for row in rows if row.attempts and row.state in WAITS}
    for one in waiting:
        most = one.job.limits.max_runtime
        if most is None or one.name not in begun:
            continue
        left, epoch = most - book.runtime(one.name), book.last_epoch_seconds(one.name)
        if epoch is not None and left < epoch:
            yield Finding(
                WARNING,
                "jobs",
                f"{one.name} will be held within its next epoch: {terminal.duration(max(left, 0))} "
                f"of its `max_runtime` are left, and the last epoch took "
                f"{terminal.duration(epoch)}.",
                f"`rekindle release {one.name} --max-runtime 12h` continues it then.",
            )


def refused(home: Home, now: float) -> Iterator[Finding]:
    """Report the specs that were refused within the last week, with the reason."""
    found = []
    for path in home.rejected.glob("*.error.txt"):
        name = path.name.removesuffix(".error.txt")
        try:
            at, text = path.stat().st_mtime, path.read_text(errors="replace")
        except OSError:
            continue
        is_there = os.path.lexists(home.rejected / name)  # else a person has removed it
        if name.endswith(parse.SUFFIXES) and is_there and now - at < _RECENT_S:
            found.append((at, name, text))
    found.sort(reverse=True)
    for at, name, text in found[:_LISTED]:
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason"]
        hint = next((x.removeprefix("hint: ") for x in lines if x.startswith("hint: ")), "")
        yield Finding(
            WARNING,
            "spec",
            f"{name} was refused ({terminal.when(at)}): {lines[0]}",
            f"{hint} Submit it again, or remove it from {home.rejected}.".strip(),
        )
    if len(found) > _LISTED:
        yield Finding(
            WARNING,
            "spec",
            f"{counted(len(found) - _LISTED, 'more spec')} of the last week were refused.",
            f"Look into {home.rejected}.",
        )


def stuck(home: Home, served: bool, now: float) -> Iterator[Finding]:
    """Report files of the inbox that are not taken, though a daemon serves it."""
    for name in arrivals.waiting(home) if served else ():
        path = home.inbox / name
        try:
            seconds = now - path.lstat().st_ctime
        except OSError:
            continue  # taken meanwhile
        if seconds >= _TAKEN_S:
            yield Finding(
                WARNING,
                "inbox",
                f"{name} has been in the inbox for {terminal.duration(seconds)} and was not taken.",
                "The log of the daemon says why: `journalctl -u rekindle -p warning`.",
            )
    for one in arrivals.left_alone(home, now):
        yield Finding(
            WARNING,
            "inbox",
            f"{one.name} in the inbox is left alone: {one.reason}.",
            "Rename it, if it is a spec; else remove it.",
        )
