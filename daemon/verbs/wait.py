"""``rekindle wait``: wait for jobs to end; exit code 0: done, 1: failed, held or cancelled."""

import argparse
import sys
import time
from typing import Final

from rekindle.daemon import daemon_status
from rekindle.daemon.client import lookup
from rekindle.state.lifecycle import TERMINAL, JobState

_POLL_S: Final = 0.3
TIMED_OUT: Final = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help=f"stop waiting after SECONDS, with exit code {TIMED_OUT}",
    )


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    book = lookup.ledger(home)
    end = None if args.timeout is None else time.monotonic() + args.timeout
    warned = False
    result = 0
    try:
        for job_id in [lookup.job(book, named).id for named in args.jobs]:
            while True:
                job = lookup.job(book, job_id)
                if job.state in TERMINAL or job.state == JobState.HELD:
                    break
                if not warned and daemon_status.find(home) is None:
                    warned = True
                    print(
                        "No daemon is running, so no job progresses: `rekindle run` starts one.",
                        file=sys.stderr,
                    )
                if end is not None and time.monotonic() > end:
                    print(f"{job.id} is still {job.state}.", file=sys.stderr)
                    return TIMED_OUT
                time.sleep(_POLL_S)
            print(f"{job.id} is {job.state}: {job.reason}")
            if job.hint and job.state != JobState.DONE:
                print(f"  hint: {job.hint}")
            result = max(result, job.state != JobState.DONE)
    finally:
        book.close()
    return int(result)
