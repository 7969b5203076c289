"""``rekindle submit``: submit a spec file, or a script or notebook without a spec."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Final

from rekindle.daemon import daemon_status, service_record
from rekindle.daemon.checks.finding import ERROR
from rekindle.daemon.client import json_text, lookup, rejections, terminal
from rekindle.daemon.install import install
from rekindle.daemon.intake import submit
from rekindle.daemon.submission import compose, dry_run, options
from rekindle.daemon.submission.compose import Composed
from rekindle.state import access
from rekindle.state.counted import counted
from rekindle.state.errors import NotFound, RekindleError
from rekindle.state.hints import name_home
from rekindle.state.paths import Home

_ACCEPT_S: Final = 5.0
_SHOWN: Final = 8
"""Calls that `--dry-run` prints of the points of a grid."""
_STARTS_S: Final = 5.0
"""Time in which a daemon that is being started or restarted may be there."""
_SERVICE_STARTS_S: Final = 10.0
"""The same for a service that systemd restarts, after `RestartSec=`."""
_VERDICT: Final = {True: "It would not run.", False: "Nothing is known that keeps it from running."}
_QUEUE: Final = "`rekindle submit --queue FILE` leaves the spec in the inbox for the next one."


class NoDaemon(RekindleError):
    """No daemon serves the home; nothing was written."""

    exit_code = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "rekindle submit [--dry-run] [--name NAME] [--gpus N] [--every TIME] [--python PATH] "
        "[--grid NAME=VALUE,...] [KEY OPTIONS] [--queue] [--quiet] [--json] FILE [-- ARGUMENTS]"
    )
    parser.description = (
        "Submit a spec (*.toml, *.yaml), a script (*.py) or a notebook (*.ipynb). Each key of a "
        "spec is an option, too, and may stand in a script as a line "
        '`# rekindle: every = "10 min"`; an option replaces what script or spec say. Arguments '
        "after `--` are those of the script."
    )
    parser.add_argument("file", type=Path, help="a spec, a script or a notebook")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="submit nothing; show the spec, and what would keep it from running",
    )
    parser.add_argument(
        "--queue",
        action="store_true",
        help="also without a daemon: leave the spec in the inbox for the next one",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print only the job's id; those of a grid line by line"
    )
    json_text.add_argument(parser)
    options.add(parser)


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    composed = _compose(args)
    if not (args.json or args.quiet):
        for note in composed.notes:
            print(f"rekindle: {note}", file=sys.stderr)
    if args.dry_run:
        return _show(home, composed, args)
    if args.queue:
        if not home.inbox.is_dir():
            # before the first daemon there is no inbox to drop the spec into
            home.create()
    elif not _daemon_is_there(home):
        raise NoDaemon(
            "No daemon serves this home; nothing was submitted.",
            where=home.root,
            hint=f"{_way_on(home)}. {_QUEUE}",
        )
    newest = _newest(home)
    dropped = submit.drop(home, composed.filename, composed.data)
    _print(args, home, composed, dropped, *_answer(home, composed, dropped, newest))
    return 0


def _compose(args: argparse.Namespace) -> Composed:
    """Compose the spec to submit.

    Raises:
        UsageError, NotFound, SpecError: there is nothing that could be submitted.
    """
    return compose.for_file(args.file, args=args.rest, given=options.given(args))


def _show(home: Home, composed: Composed, args: argparse.Namespace) -> int:
    """Print the spec, and what keeps it from running; return 1 for errors."""
    if not (args.json or args.quiet):
        print(f"# {composed.filename}\n{composed.data.decode()}")
        for line in _points(composed):
            print(line)
    console = terminal.console()
    found = []
    for finding in dry_run.examine(home, composed.job):
        found.append(finding)
        if not (args.json or args.quiet):
            terminal.print_finding(console, finding)
    errors = sum(one.severity == ERROR for one in found)
    if args.json:
        json_text.write(
            {
                "home": str(home.root),
                "file": composed.filename,
                "spec": composed.data.decode(),
                "points": [one.grid.values for one in composed.jobs if one.grid is not None],
                "notes": list(composed.notes),
                "fine": not errors,
                "findings": [
                    {"severity": f.severity, "check": f.check, "what": f.what, "hint": f.hint}
                    for f in found
                ],
            }
        )
    elif not args.quiet:
        print(f"Nothing was submitted. {_VERDICT[bool(errors)]}")
    return 1 if errors else 0


def _points(composed: Composed) -> list[str]:
    """List the calls of the points of a grid; the first of many."""
    jobs = composed.jobs
    if composed.job.grid is None:
        return []
    shown = [shlex.join(one.command or [*one.args]) for one in jobs[:_SHOWN]]
    rest = [f"  and {len(jobs) - _SHOWN} more"] if len(jobs) > _SHOWN else []
    return [f"It is a grid of {counted(len(jobs), 'point')}:", *(f"  {s}" for s in shown), *rest]


def _daemon_is_there(home: Home) -> bool:
    """Return whether a daemon serves the home, now or after the moment that a restart takes.

    Raises:
        HomeClosed: the current user lacks permission.
    """
    # of a home that is closed to this user nothing can be known
    access.exists(home.inbox, home.root)
    if daemon_status.find(home) is not None:
        return True
    served = service_record.find()
    of_service = served is not None and not served.problem and served.home == home
    wait = _SERVICE_STARTS_S if of_service else _STARTS_S
    print(f"rekindle: waiting up to {wait:.0f} s for a daemon to start", file=sys.stderr)
    end = time.monotonic() + wait
    while time.monotonic() < end:
        _nap(0.1)
        if daemon_status.find(home) is not None:
            return True
    return False


def _way_on(home: Home) -> str:
    if home.root == install.HOME or (service_record.is_installed() and home == Home.default()):
        return (
            "Start the service: `systemctl start rekindle` (`systemctl status rekindle` says why "
            "it does not run)"
        )
    return "`rekindle run` starts one"


def _answer(
    home: Home, composed: Composed, dropped: submit.Dropped, newest: tuple[int, int]
) -> tuple[list[str], str]:
    """Wait for the jobs if a daemon lives; return their ids, and what has become of the spec.

    Raises:
        Refused: the daemon rejected the file.
    """
    name = dropped.path.name
    if daemon_status.find(home) is None:
        return [], f"{name} waits in the inbox for a daemon: {_way_on(home)}."
    jobs = _accepted(home, dropped, *newest)
    if len(jobs) > 1:
        return jobs, (
            f"{jobs[0]} to {jobs[-1]} are accepted, one for each of {len(jobs)} points. "
            f"`rekindle ls --grid {jobs[0]}` lists them."
        )
    if jobs:
        return jobs, f"{jobs[0]} is accepted. `rekindle show {jobs[0]}` shows its progress."
    if daemon_status.find(home) is None:
        return [], (
            f"{name} was submitted, and the daemon ended before it accepted it: it stays in the "
            "inbox, and the next daemon accepts it. Do not submit it again."
        )
    return [], f"{name} is in the inbox; the daemon has not accepted it yet: `rekindle ls`."


def _print(
    args: argparse.Namespace,
    home: Home,
    composed: Composed,
    dropped: submit.Dropped,
    jobs: list[str],
    text: str,
) -> None:
    if args.json:
        daemon = daemon_status.find(home)
        json_text.write(
            {
                "home": str(home.root),
                "file": str(dropped.path),
                "job": jobs[0] if jobs else None,
                "jobs": jobs,
                "notes": list(composed.notes),
                "daemon": None if daemon is None else {"pid": daemon.pid},
                "message": text,
            }
        )
    elif args.quiet and jobs:
        print("\n".join(jobs))
    else:
        # a script that reads the id must not take a sentence for it
        print(name_home(text, args.home), file=sys.stderr if args.quiet else sys.stdout)


def _newest(home: Home) -> tuple[int, int]:
    """Return the newest job and event before the spec is dropped."""
    try:
        book = lookup.ledger(home)
    except NotFound:
        return 0, 0
    try:
        return book.last_job(), book.last_event()
    finally:
        book.close()


def _accepted(home: Home, dropped: submit.Dropped, last_job: int, last_event: int) -> list[str]:
    """Wait for the jobs that the daemon makes of the file; return their ids, none after a while.

    Raises:
        Refused: the daemon rejected the file.
    """
    end = time.monotonic() + _ACCEPT_S
    while time.monotonic() < end and daemon_status.find(home) is not None:
        try:
            book = lookup.ledger(home)
        except NotFound:
            return []
        try:
            job = book.job_of_file(dropped.inode, last_job)
            row = None if job is None else book.job(job)
            points = [] if row is None or row.grid is None else book.jobs(grid=row.grid)
            refusal = rejections.of_spec(home, book, dropped.inode, last_event)
        finally:
            book.close()
        if refusal is not None:
            raise refusal
        if job is not None:
            return [one.id for one in points] or [job]
        _nap(0.05)
    return []


def _nap(seconds: float) -> None:
    time.sleep(seconds)
