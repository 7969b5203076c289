"""``rekindle logs``: print the output of a job's script, attempt by attempt."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.client import json_text, lookup
from rekindle.daemon.logs.log_lines import LogLines
from rekindle.daemon.logs.times import Times
from rekindle.daemon.report import since as parse_since
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
        "-n",
        "--tail",
        type=int,
        metavar="N",
        help="only the last N lines of an attempt; with -f, begin there",
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only what was printed since then, in all attempts: 18:00, 2026-11-26, 2h",
    )
    parser.add_argument(
        "-t",
        "--times",
        action="store_true",
        help="begin each line with the time at which it was printed, to about a second",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="print every byte, also in a pipe (default: on a terminal; a pipe gets the last state "
        "of a progress bar, without colours)",
    )
    json_text.add_argument(parser, "print names and sizes of the logs, not their content")


def main(args: argparse.Namespace) -> int:
    if args.tail is not None and args.tail < 0:
        raise UsageError("--tail cannot be negative.", hint="Write for example --tail 100.")
    since = None if args.since is None else parse_since.parse(args.since, time.time())
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
        every = args.all or (since is not None and args.attempt is None)
        numbers = list(range(1, job.attempts + 1)) if every else [args.attempt or job.attempts]
        if args.json:
            json_text.write({"job": job.id, "logs": [_as_json(run, n) for n in numbers if n]})
            return 0
        ended = {row.n: row.ended_at for row in book.attempts(job.id)} if since else {}
        view = View(args, run, since, ended)
        numbers = [n for n in numbers if view.has_any(n)] or numbers[-1:]
        if args.follow:
            first = numbers[0] if since else args.attempt or max(job.attempts, 1)
            _follow(book, job.id, run, max(first, 1), view)
            return 0
        missing = []
        for number in numbers:
            if args.all or len(numbers) > 1:
                _write(f"--- attempt {number}\n".encode())
            if number and view.copy(number, view.start(number)) is None:
                missing.append(number)
                print(f"rekindle: {_missing(job, run, number)}", file=sys.stderr)
            view.end()
        if not job.attempts:
            print(f"{job.id} has not started yet: {job.reason or job.state}", file=sys.stderr)
        return 0 if not missing or job.state == JobState.RUNNING else NotFound.exit_code
    finally:
        book.close()


class View:
    """Print pieces of logs in the form that was asked for.

    Args:
        since: unix time of the first output to print.
        ended: unix time of each attempt's end, for logs without times.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        run: Run,
        since: float | None,
        ended: Mapping[int, float | None],
    ) -> None:
        self._run = run
        self._tail: int | None = args.tail
        self._since = since
        self._ended = ended
        self._times = bool(args.times)
        is_raw = args.raw or (sys.stdout.isatty() and not args.times)
        self._lines = None if is_raw else LogLines(clean=not args.raw, times=self._times)

    def has_any(self, number: int) -> bool:
        """Return whether an attempt printed anything since the time asked for."""
        if self._since is None or not number:
            return True
        times = Times.read(self._run.log_times(number))
        if times:
            return times.last > self._since
        ended = self._ended.get(number)
        return ended is None or ended > self._since

    def start(self, number: int) -> int:
        """Return the offset (bytes) at which an attempt's output begins."""
        path = self._run.log(number)
        offset = _start(path, self._tail)
        times = Times.read(self._run.log_times(number))
        if (self._times or self._since is not None) and not times and path.exists():
            what = "has no times: it was written by an older version"
            print(f"rekindle: The log of attempt {number} {what}.", file=sys.stderr)
        if self._since is not None:
            offset = max(offset, _line_start(path, times.since(self._since)))
        return offset

    def copy(self, number: int, offset: int) -> int | None:
        """Print a log from ``offset`` on; return the end, None if there is no log."""
        write = _write
        if self._lines is not None:
            lines = self._lines
            path = self._run.log_times(number)
            lines.resume(Times.read(path) if self._times else Times([], []), offset)

            def write(data: bytes) -> None:
                _write(b"".join(lines.feed(data)))

        return _copy(self._run.log(number), offset, write)

    def end(self) -> None:
        """Print the last line of a log, which may have no line break."""
        if self._lines is not None:
            _write(self._lines.end())


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


def _line_start(path: Path, offset: int) -> int:
    """Move an offset (bytes) back to the beginning of its line."""
    try:
        with path.open("rb") as file:
            while offset > 0:
                size = min(_CHUNK, offset)
                file.seek(offset - size)
                found = file.read(size).rfind(b"\n")
                if found >= 0:
                    return offset - size + found + 1
                offset -= size
    except (FileNotFoundError, NotADirectoryError):
        pass
    return 0


def _follow(book: Ledger, job_id: str, run: Run, attempt: int, view: View) -> None:
    offset = view.start(attempt)
    while True:
        job = book.job(job_id)
        # read the state first: otherwise the last lines of a job that ends now would be missed
        end = view.copy(attempt, offset)
        offset = offset if end is None else end
        if job is None:
            return
        if job.attempts > attempt:
            view.end()
            attempt += 1
            _write(f"--- attempt {attempt}\n".encode())
            offset = view.start(attempt)
        elif job.state in TERMINAL or job.state == JobState.HELD:
            view.end()
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


def _copy(path: Path, offset: int, write: Callable[[bytes], None]) -> int | None:
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
                write(chunk)
                offset += len(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return offset


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
