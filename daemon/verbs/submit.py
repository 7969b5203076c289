"""``rekindle submit``: submit a spec file, or a script without a spec."""

import argparse
import time
from pathlib import Path
from typing import Final

from rekindle.daemon import daemon_status
from rekindle.daemon.client import lookup, rejections
from rekindle.daemon.intake import submit
from rekindle.state.errors import NotFound, UsageError
from rekindle.state.paths import Home

_ACCEPT_S: Final = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "rekindle submit [--name NAME] [--python PYTHON] [--live] FILE [-- ARGUMENTS]"
    parser.add_argument("file", type=Path, help="a spec (*.toml, *.yaml) or a script (*.py)")
    parser.add_argument("--name", help="the job's name, for a script (default: the file's name)")
    parser.add_argument(
        "--python", metavar="PATH", help="the interpreter, for a script (default: the daemon's)"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="run the code as it is at each attempt, not a snapshot of it",
    )


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    if args.file.suffix == ".py":
        filename, data = submit.spec_for_script(
            args.file, name=args.name, args=args.rest, python=args.python, live=args.live
        )
    elif args.rest or args.name or args.python:
        raise UsageError(
            "--name, --python and arguments after `--` are for scripts only.",
            where=args.file,
            hint="Set `name`, `python` and `args` in the spec.",
        )
    else:
        filename, data = submit.spec_from_file(args.file, live=args.live)
    if not home.inbox.is_dir():
        # before the first daemon there is no inbox to drop the spec into
        home.create()
    since = time.time()
    dropped = submit.drop(home, filename, data)
    path = dropped.path
    job = _accepted(home, dropped, since) if daemon_status.find(home) is not None else None
    if job is not None:
        print(f"{job} is accepted. `rekindle show {job}` shows its progress.")
    elif daemon_status.find(home) is not None:
        print(f"{path.name} is in the inbox; the daemon has not accepted it yet: `rekindle ls`.")
    else:
        print(f"{path.name} is in the inbox. No daemon is running: `rekindle run` starts one.")
    return 0


def _accepted(home: Home, dropped: submit.Dropped, since: float) -> str | None:
    """Wait for the job that the daemon makes of the file; return its id, None after a while.

    Raises:
        Refused: the daemon rejected the file.
    """
    end = time.monotonic() + _ACCEPT_S
    while time.monotonic() < end:
        try:
            book = lookup.ledger(home)
        except NotFound:
            return None
        try:
            job = book.job_of_file(dropped.inode, since)
            refusal = rejections.of_spec(home, book, dropped.inode, since)
        finally:
            book.close()
        if refusal is not None:
            raise refusal
        if job is not None:
            return job
        time.sleep(0.05)
    return None
