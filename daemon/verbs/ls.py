"""``rekindle ls``: list jobs, each with its state, its progress and the reason.

The headline and the order are those of `rekindle report`: what needs a person comes first. Of a
long queue the next jobs are listed, and of what has ended the newest; a line says how many are left
out and which command lists them.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from rekindle.daemon import daemon_status
from rekindle.daemon.client import json_text, live, lookup, progress, terminal
from rekindle.daemon.client.lines import Page, Row, plain
from rekindle.daemon.client.morning import Morning
from rekindle.daemon.report import document, facts, headline, since
from rekindle.state.counted import counted
from rekindle.state.errors import NotFound, UsageError
from rekindle.state.hints import name_home
from rekindle.state.ledger.listing import Latest, Listing
from rekindle.state.ledger.period import Period
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, WAITS, JobState
from rekindle.state.paths import Home

_HEADER: Final = ("job", "state", "attempts", "progress", "since", "why")
_SHOWN: Final = {
    JobState.HELD: 20,
    JobState.FAILED: 20,
    JobState.DONE: 10,
    **dict.fromkeys(ACTIVE, 50),
    JobState.WAITING: 10,
    JobState.QUEUED: 10,
    JobState.CANCELLED: 10,
}
"""Jobs of each state that are listed, in the order of a report: what needs a person comes first."""
_IN_STATE: Final = 50
_ALL: Final = -1
_INTERRUPTED: Final = 10
_NIGHT_S: Final = 24 * 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_name(parser)
    parser.add_argument(
        "--state", choices=[str(state) for state in JobState], help="only jobs in this state"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="all jobs, in the order of submission, not only those that matter now",
    )
    lookup.add_grid(parser, "only the jobs of the grid that this job is a point of")
    live.add_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="print only the ids, of all jobs")
    json_text.add_argument(parser, "print all of them as JSON")


class Listed(NamedTuple):
    """Hold the jobs to list, and the lines about those that are left out."""

    jobs: list[JobRow]
    left_out: list[str]
    counts: Mapping[JobState, int] = {}


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    if args.watch is None:
        _list(home, args, Page())
        return 0
    if args.json or args.quiet:
        raise UsageError(
            "--watch prints pages for a person.", hint="Repeat `rekindle ls --json` instead."
        )
    live.repeat(args.watch, lambda page: _list(home, args, page))
    return 0


def _list(home: Home, args: argparse.Namespace, page: Page) -> None:
    book: Period | None = None
    try:
        book = Period.open(home.ledger, readonly=True)
    except NotFound:
        # before the first daemon specs may already wait in the inbox; no home at all is an error
        if not args.json and not home.inbox.is_dir():
            raise
    try:
        if book is not None and args.name == lookup.NEWEST:
            args = argparse.Namespace(**{**vars(args), "name": lookup.job(book, args.name).id})
        if book is not None and args.grid is not None:
            # found once: the name may mean another job at the next look
            row = lookup.in_grid(book, args.grid)
            args = argparse.Namespace(**{**vars(args), "grid": row.grid})
        if args.quiet:
            for job in _each(book, args):
                print(job.id)
        elif args.json:
            _print_json(home, book, args)
        else:
            _print(home, book, args, page)
    finally:
        if book is not None:
            book.close()


def _each(book: Listing | None, args: argparse.Namespace) -> Iterator[JobRow]:
    """Yield all jobs that the arguments select."""
    if book is None:
        return
    state = JobState(args.state) if args.state else None
    if args.grid is not None:
        named = None if args.name is None else {one.id for one in book.named(args.name, _ALL)}
        for job in book.jobs(grid=args.grid):
            if state in (None, job.state) and (named is None or job.id in named):
                yield job
        return
    if args.name is None:
        yield from book.each_job(state)
        return
    yield from (job for job in book.named(args.name, _ALL) if state in (None, job.state))


def _select(book: Listing, args: argparse.Namespace) -> Listed:
    """Choose the jobs to list."""
    if args.all or args.grid is not None:
        return Listed(list(_each(book, args)), [])
    if args.name is not None:
        if args.state:
            return Listed(list(_each(book, args)), [])
        jobs = book.named(args.name, _IN_STATE)
        more = book.count_named(args.name) - sum(job.name == args.name for job in jobs)
        return Listed(jobs, _left_out(more, f"of the name {args.name}", args.name))
    counts = book.counts()
    if args.state:
        state = JobState(args.state)
        chosen = _of_state(book, state, _IN_STATE)
        more = counts.get(state, 0) - len(chosen)
        return Listed(chosen, _left_out(more, str(state), f"--state {state}"))
    return _overview(book, counts)


def _overview(book: Listing, counts: dict[JobState, int]) -> Listed:
    groups = {
        state: _of_state(book, state, limit) for state, limit in _SHOWN.items() if state in counts
    }
    shown = {job.id for jobs in groups.values() for job in jobs}
    interrupted = [
        job
        for job_id in book.interrupted(time.time() - _NIGHT_S, _INTERRUPTED)
        if job_id not in shown and (job := book.job(job_id)) is not None
    ]
    left_out: list[str] = []
    jobs: list[JobRow] = []
    for state, rows in groups.items():
        also = [job for job in interrupted if job.state == state]
        jobs += also + rows
        more = counts[state] - len(rows) - len(also)
        left_out += _left_out(more, str(state), f"--state {state}")
    return Listed(jobs, left_out, counts)


def _of_state(book: Listing, state: JobState, limit: int) -> list[JobRow]:
    if state in WAITS:
        return book.in_line(state, limit)
    return book.latest_changes(state, limit)


def _left_out(more: int, what: str, words: str) -> list[str]:
    return [f"{more} more {what}: `rekindle ls {words} --all`"] if more > 0 else []


def _print(home: Home, book: Period | None, args: argparse.Namespace, page: Page) -> None:
    now = time.time()
    listed = Listed([], []) if book is None else _select(book, args)
    morning = Morning.of(home, book, now)
    if book is not None and listed.counts:
        began = since.parse(since.EVENING, now)
        head = headline.of(facts.brief(book, morning, began, now))
        page.sentence(f"Since {terminal.when(began)}: {head.text}", "bold")
    if book is None or not listed.jobs:
        page.line("No jobs.")
    else:
        # one column more where several people have jobs
        users = len({job.user for job in listed.jobs}) > 1
        points = any(job.point for job in listed.jobs)
        rows = [
            _row(home, book, job, args, now, page, users=users, points=points)
            for job in listed.jobs
        ]
        more = (*(["user"] if users else []), *(["point"] if points else []))
        page.table((_HEADER[0], *more, *_HEADER[1:]), rows)
    for line in listed.left_out:
        page.line(name_home(line, args.home), "dim")
    if listed.counts:
        sums = (f"{listed.counts[state]} {state}" for state in _SHOWN if state in listed.counts)
        page.line(f"In all: {', '.join(sums)}.")
    for text, style in morning.lines():
        page.line(name_home(text, args.home), style)


def _row(
    home: Home,
    book: Listing,
    job: JobRow,
    args: argparse.Namespace,
    now: float,
    page: Page,
    *,
    users: bool,
    points: bool,
) -> Row:
    latest = book.latest(job)
    far = progress.of(home, book, job, latest, now)
    mark = "red" if latest.differed_in else "yellow" if latest.interruptions else ""
    why = plain(job.reason)
    if job.state == JobState.WAITING and job.next_at is not None:
        why += f" Next: in {terminal.duration(max(job.next_at - now, 0))}."
    return Row(
        (
            job.id,
            *([plain(job.user or "-")] if users else []),
            *([plain(job.point_text) or "-"] if points else []),
            str(job.state),
            str(job.attempts),
            _far(far, page),
            terminal.when(job.updated_at),
        ),
        (*([""] * (1 + users + points)), terminal.STYLES[job.state], mark),
        " ".join(
            part for part in (far.estimate, why, _interruptions(latest), _different(latest)) if part
        ),
        name_home(plain(job.hint), args.home),
    )


def _far(far: progress.Progress, page: Page) -> str:
    """Say how far a job is; with a bar on a terminal."""
    fraction = far.fraction if far.running else None
    if fraction is None:
        return far.text
    share = f"{100 * fraction:.0f} %"
    if not page.is_terminal:
        return f"{far.text} ({share})"
    return f"{far.text} {progress.bar(fraction, plain=not page.draws)} {share}"


def _interruptions(latest: Latest) -> str:
    """Say how often a job was interrupted and resumed."""
    if not latest.interruptions:
        return ""
    times = counted(sum(latest.interruptions.values()), "time")
    causes = ", ".join(
        cause if count == 1 else f"{count} x {cause}"
        for cause, count in latest.interruptions.items()
    )
    return f"Interrupted {times} and started again: {causes}."


def _different(latest: Latest) -> str:
    """Say that repeated steps of a relaunch were not identical to the earlier ones."""
    if latest.differed_in is None:
        return ""
    return f"Not identical: repeated steps differ since attempt {latest.differed_in}."


def _print_json(home: Home, book: Period | None, args: argparse.Namespace) -> None:
    now = time.time()
    morning = Morning.of(home, book, now)
    daemon = daemon_status.find(home)
    json_text.write(
        {
            "home": str(home.root),
            "daemon": None if daemon is None else {"pid": daemon.pid},
            **morning.as_json(),
            "headline": None
            if book is None
            else document.headline(
                headline.of(facts.brief(book, morning, since.parse(since.EVENING, now), now))
            ),
            "counts": {} if book is None else {str(s): n for s, n in book.counts().items()},
            "jobs": (
                _as_json(home, book, job, now) for job in _each(book, args) if book is not None
            ),
        }
    )


def _as_json(home: Home, book: Listing, job: JobRow, now: float) -> dict[str, Any]:
    latest = book.latest(job)
    far = progress.of(home, book, job, latest, now)
    return {
        "id": job.id,
        "name": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "hint": job.hint,
        "priority": job.priority,
        "attempts": job.attempts,
        "failures": job.failures,
        **progress.as_json(far),
        "interruptions": latest.interruptions,
        "submitted_at": job.submitted_at,
        "updated_at": job.updated_at,
        "next_at": job.next_at,
        "run_dir": job.run_dir,
        "user": job.user,
        "uid": job.uid,
        "grid": job.grid,
        "point": job.point,
        "unfollowed": latest.unfollowed,
        "differed_in": latest.differed_in,
    }
