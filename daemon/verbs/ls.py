"""``rekindle ls``: list all jobs, each with its state and the reason."""

import argparse
import dataclasses
import time
from typing import Any, Final

from rich.markup import escape

from rekindle.daemon import daemon_status, queue_file
from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.daemon.intake import arrivals
from rekindle.daemon.intake.arrivals import LeftAlone
from rekindle.state.errors import NotFound
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home

_FINISHED: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="only jobs of this name")
    parser.add_argument(
        "--state", choices=[str(state) for state in JobState], help="only jobs in this state"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"all ended jobs, not only the newest {_FINISHED}"
    )
    json_text.add_argument(parser, "print all of them as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    daemon = daemon_status.find(home)
    jobs: list[JobRow] = []
    reached: dict[str, tuple[int | None, int | None]] = {}
    unfollowed: dict[str, str] = {}
    try:
        book = lookup.ledger(home)
    except NotFound:
        # before the first daemon specs may already wait in the inbox; no home at all is an error
        if not args.json and not home.inbox.is_dir():
            raise
    else:
        jobs, reached = _read(book, args)
        unfollowed = book.unfollowed()
        book.close()
    waiting, left_alone = _inbox(home)
    if args.json:
        json_text.write(
            {
                "home": str(home.root),
                "daemon": None if daemon is None else {"pid": daemon.pid},
                "inbox": waiting,
                "left_alone": [dataclasses.asdict(one) for one in left_alone],
                "faulty_gpus": [dataclasses.asdict(one) for one in queue_file.faulty_gpus(home)],
                "jobs": [
                    {**_as_json(job, reached), "unfollowed": unfollowed.get(job.id)} for job in jobs
                ],
            }
        )
        return 0
    _print(jobs, reached, everything=args.all or bool(args.state))
    if waiting:
        more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        names = ", ".join(terminal.printable(name) for name in waiting[:5])
        terminal.console().print(f"In the inbox: {escape(names)}{more}")
    if left_alone:
        few = [f"{terminal.printable(one.name)} ({one.reason})" for one in left_alone[:5]]
        more = f" and {len(left_alone) - 5} more" if len(left_alone) > 5 else ""
        console = terminal.console()
        console.print(f"Left alone in the inbox: {escape(', '.join(few))}{more}")
    _print_gpus(home)
    if daemon is None:
        terminal.console().print("[dim]No daemon is running: `rekindle run` starts one.[/]")
    return 0


def _print_gpus(home: Home) -> None:
    for gpu in queue_file.faulty_gpus(home):
        way = f" `{gpu.way_back}` uses it again." if gpu.set_aside else ""
        terminal.console().print(f"[yellow]{escape(gpu.text)}.[/]{escape(way)}")


def _inbox(home: Home) -> tuple[list[str], list[LeftAlone]]:
    """List the files that the daemon has not claimed, or never claims; none without permission."""
    try:
        return arrivals.waiting(home), arrivals.left_alone(home, time.time())
    except OSError:
        return [], []


def _read(
    book: Ledger, args: argparse.Namespace
) -> tuple[list[JobRow], dict[str, tuple[int | None, int | None]]]:
    jobs = book.jobs(states=[JobState(args.state)] if args.state else None)
    if args.name is not None:
        jobs = [job for job in jobs if args.name in (job.name, job.id)]
    return jobs, book.reached()


def _as_json(job: JobRow, reached: dict[str, tuple[int | None, int | None]]) -> dict[str, Any]:
    epoch, step = reached.get(job.id, (None, None))
    return {
        "id": job.id,
        "name": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "hint": job.hint,
        "priority": job.priority,
        "attempts": job.attempts,
        "failures": job.failures,
        "epoch": epoch,
        "step": step,
        "submitted_at": job.submitted_at,
        "updated_at": job.updated_at,
        "next_at": job.next_at,
        "run_dir": job.run_dir,
        "user": job.user,
        "uid": job.uid,
    }


def _print(
    jobs: list[JobRow], reached: dict[str, tuple[int | None, int | None]], *, everything: bool
) -> None:
    console = terminal.console()
    ended = [job for job in jobs if job.state in TERMINAL]
    left_out = set() if everything else {job.id for job in ended[:-_FINISHED]}
    # one column more where several people have jobs
    users = len({job.user for job in jobs}) > 1
    table = terminal.table(
        "job", *(["user"] if users else []), "state", "epoch", "step", "since", "why"
    )
    now = time.time()
    for job in jobs:
        if job.id in left_out:
            continue
        epoch, step = reached.get(job.id, (None, None))
        why = job.reason
        if job.state == JobState.WAITING and job.next_at is not None:
            why = f"{why} Next: in {terminal.duration(max(job.next_at - now, 0))}."
        table.add_row(
            job.id,
            *([escape(job.user or "-")] if users else []),
            terminal.state(job.state),
            _text(epoch),
            _text(step),
            terminal.when(job.updated_at),
            why,
        )
    if not jobs:
        console.print("No jobs.")
        return
    console.print(table)
    if left_out:
        console.print(f"[dim]{len(left_out)} more have ended: `rekindle ls --all`.[/]")


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)
