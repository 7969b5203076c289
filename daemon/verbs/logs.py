"""``rekindle logs``: print the output of a job's script, attempt by attempt."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.client import json_text, lookup
from rekindle.state.errors import NotFound, UsageError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Run

_POLL_S: Final = 0.2
_CHUNK: Final = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_job(parser)
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="follow the output, over all further attempts, until the job ends",
    )
    parser.add_argument(
        "--attempt", type=int, metavar="N", help="only attempt N (default: the latest)"
    )
    parser.add_argument("--all", action="store_true", help="all attempts, one after the other")
    parser.add_argument(
        "--tail",
        type=int,
        metavar="N",
        help="only the last N lines of an attempt; with -f, begin there",
    )
    json_text.add_argument(parser, "print names and sizes of the logs, not their content")


def main(args: argparse.Namespace) -> int:
    if args.tail is not None and args.tail < 0:
        raise UsageError("--tail cannot be negative.", hint="Write for example --tail 100.")
    home = lookup.home(args)
    book = lookup.ledger(home)
    try:
        job = lookup.job(book, args.job)
        run = home.run(job.id)
        if args.attempt is not None and not 1 <= args.attempt <= job.attempts:
            raise NotFound(
                f"{job.id} has no attempt {args.attempt}.",
                where=run.logs,
                hint=f"It has {job.attempts}; `rekindle show {job.id}` lists them.",
            )
        numbers = range(1, job.attempts + 1) if args.all else [args.attempt or job.attempts]
        if args.json:
            json_text.write({"job": job.id, "logs": [_as_json(run, n) for n in numbers if n]})
            return 0
        if args.follow:
            _follow(book, job.id, run, args.attempt or max(job.attempts, 1), args.tail)
            return 0
        missing = []
        for number in numbers:
            if args.all:
                _write(f"--- attempt {number}\n".encode())
            if number and _copy(run.log(number), _start(run.log(number), args.tail)) is None:
                missing.append(number)
                print(f"rekindle: {_missing(job, run, number)}", file=sys.stderr)
        if not job.attempts:
            print(f"{job.id} has not started yet: {job.reason or job.state}", file=sys.stderr)
        return 0 if not missing or job.state == JobState.RUNNING else NotFound.exit_code
    finally:
        book.close()


def _as_json(run: Run, attempt: int) -> dict[str, Any]:
    try:
        size = run.log(attempt).stat().st_size
    except OSError:
        size = None
    return {"attempt": attempt, "path": str(run.log(attempt)), "bytes": size}


def _start(path: Path, lines: int | None) -> int:
    """Find the offset (bytes) of the last ``lines`` of a file, which is not read as a whole."""
    if lines is None:
        return 0
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if lines == 0:
                return end
            # the line break at the end of the file ends a line, and begins none
            at, wanted = end, lines + 1
            while at > 0:
                size = min(_CHUNK, at)
                at -= size
                file.seek(at)
                chunk = file.read(size)
                if at + size == end and not chunk.endswith(b"\n"):
                    wanted -= 1
                if (breaks := chunk.count(b"\n")) >= wanted:
                    return at + _after_break(chunk, breaks - wanted)
                wanted -= breaks
    except (FileNotFoundError, NotADirectoryError):
        pass
    return 0


def _after_break(chunk: bytes, skipped: int) -> int:
    """Return the offset behind a line break, after as many as are ``skipped``."""
    at = -1
    for _ in range(skipped + 1):
        at = chunk.index(b"\n", at + 1)
    return at + 1


def _follow(book: Ledger, job_id: str, run: Run, attempt: int, lines: int | None) -> None:
    offset = _start(run.log(attempt), lines)
    while True:
        job = book.job(job_id)
        # read the state first: otherwise the last lines of a job that ends now would be missed
        end = _copy(run.log(attempt), offset)
        offset = offset if end is None else end
        if job is None:
            return
        if job.attempts > attempt:
            attempt, offset = attempt + 1, 0
            _write(f"--- attempt {attempt}\n".encode())
        elif job.state in TERMINAL or job.state == JobState.HELD:
            if end is None and job.attempts:
                print(f"rekindle: {_missing(job, run, attempt)}", file=sys.stderr)
            print(f"--- {job_id} is {job.state}: {job.reason}", file=sys.stderr)
            return
        else:
            time.sleep(_POLL_S)


def _missing(job: JobRow, run: Run, attempt: int) -> str:
    """Describe a missing log."""
    if job.state == JobState.RUNNING and attempt == job.attempts:
        return f"Attempt {attempt} of {job.id} has printed nothing yet."
    return f"The log of attempt {attempt} of {job.id} does not exist: {run.log(attempt)}"


def _copy(path: Path, offset: int) -> int | None:
    """Print a file from ``offset`` (bytes) on; return the end, None if there is no file."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if offset > size:
                # log_cap cut out the middle while we followed: the offset would never be reached
                _write(b"--- the log was shortened; continuing at its end\n")
                offset = size
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                _write(chunk)
                offset += len(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return offset


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
