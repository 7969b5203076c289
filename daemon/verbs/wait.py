"""``rekindle wait``: wait for jobs to end; exit code 0: done, 1: failed, held or cancelled."""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from rekindle.daemon import daemon_status
from rekindle.daemon.client import json_text, lookup
from rekindle.jobs import quantities
from rekindle.state.hints import name_home
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import OPEN, TERMINAL, JobState
from rekindle.state.paths import Home

_POLL_S: Final = 0.3
TIMED_OUT: Final = 5
_OVER: Final = {*TERMINAL, JobState.HELD}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser, states=OPEN)
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="TIME",
        help=f'stop waiting after TIME, e.g. "10min" or 600 (seconds), with exit code {TIMED_OUT}',
    )
    json_text.add_argument(parser, "print the jobs as JSON once they have ended")


def _seconds(text: str) -> float:
    """Read a duration; a bare number is seconds."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            return quantities.seconds(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, or seconds: {text}") from None
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"not a time to wait: {text}")
    return seconds


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    book = lookup.ledger(home)
    end = None if args.timeout is None else time.monotonic() + args.timeout
    ended: list[JobRow] = []
    result = 0
    try:
        wanted = [lookup.job(book, named).id for named in args.jobs]
        for job in _wait(home, book, wanted, end, args.home):
            ended.append(job)
            if job.state not in _OVER:
                print(f"{job.id} is still {job.state}.", file=sys.stderr)
                result = TIMED_OUT
                break
            if not args.json:
                _print(job, args)
            result = max(result, int(job.state != JobState.DONE))
    finally:
        book.close()
    if args.json:
        json_text.write(
            {"timed_out": result == TIMED_OUT, "jobs": [_as_json(job) for job in ended]}
        )
    return result


def _wait(
    home: Home, book: Ledger, wanted: list[str], end: float | None, named: str | None
) -> Iterator[JobRow]:
    """Yield each job once it needs no more waiting, or as it is at the ``end``.

    Args:
        named: the home as the verb was given it, for hints.
    """
    warned = False
    for job_id in wanted:
        while (job := lookup.job(book, job_id)).state not in _OVER:
            if not warned and daemon_status.find(home) is None:
                warned = True
                text = "No daemon is running, so no job progresses: `rekindle run` starts one."
                print(name_home(text, named), file=sys.stderr)
            if end is not None and time.monotonic() > end:
                break
            time.sleep(_POLL_S)
        yield job


def _print(job: JobRow, args: argparse.Namespace) -> None:
    print(f"{job.id} is {job.state}: {job.reason}")
    if job.hint and job.state != JobState.DONE:
        print(f"  hint: {name_home(job.hint, args.home)}")


def _as_json(job: JobRow) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "hint": job.hint,
        "attempts": job.attempts,
        "run_dir": job.run_dir,
    }
