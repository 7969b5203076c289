"""Find what would happen to a spec that is not submitted."""

import contextlib
import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rekindle.daemon import config
from rekindle.daemon.checks import tries
from rekindle.daemon.checks.finding import ERROR, OK, WARNING, Finding, Waiting
from rekindle.daemon.checks.interpreters import Limits
from rekindle.daemon.client import terminal
from rekindle.daemon.doctor import jobs
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.jobs.job import Job
from rekindle.state.counted import counted, few
from rekindle.state.errors import RekindleError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_LOOK_S: Final = 30.0
_TRY_S: Final = 180.0
_NAMED: Final = 5


def examine(
    home: Home, job: Job, *, imports: bool = True, report: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Yield what intake and the first attempt would find, for this user and in this process.

    Args:
        imports: start the job's interpreter and import Keras in it.
    """
    waiting = [Waiting(job.name, job)]
    yield from jobs.paused(home, waiting)
    yield from _code(home, job)
    if job.after:
        book = _ledger(home)
        try:
            rows = [] if book is None else book.jobs()
            yield from jobs.dependent(book, rows, waiting)
        finally:
            if book is not None:
                book.close()
    yield from tries.run(
        home, waiting, imports=imports, limits=Limits.within(_TRY_S), report=report
    )
    yield from _other_user(home)


def _ledger(home: Home) -> Ledger | None:
    try:
        return Ledger.open(home.ledger, readonly=True)
    except RekindleError:
        return None  # before the first daemon no other job exists


def _code(home: Home, job: Job) -> Iterator[Finding]:
    try:
        limits = config.read(home).source
        with tempfile.TemporaryDirectory() as store:  # a look stores nothing
            snapshots = Snapshots(Path(store), limits, home.root)
            if not snapshots.needed(job):
                what = "No snapshot: the files are used as they are at each attempt."
                yield Finding(OK, "code", what)
                return
            look = snapshots.look(job, _LOOK_S)
    except RekindleError as error:
        yield Finding(ERROR, "code", f"The spec would be refused: {error.what}", error.hint)
        return
    except TimeoutError:
        what = f"The code was not read within {_LOOK_S:.0f} s."
        yield Finding(WARNING, "code", what, "A folder of its own for the code is read faster.")
        return
    left_out = look.listing.left_out
    size = sum(int(one["bytes"]) for one in look.files.values())
    files = counted(len(look.files), "file")
    what = f"Snapshot of {look.listing.root}: {files}, {terminal.size(size)}."
    yield Finding(OK, "code", what)
    for note in look.listing.notes:
        yield Finding(OK, "code", note)
    if left_out:
        names = [f"{name} ({why})" for name, why in sorted(left_out.items())]
        yield Finding(OK, "code", f"Not in the snapshot: {few(names, _NAMED)}.")


def _other_user(home: Home) -> Iterator[Finding]:
    """Say that the daemon may see something else."""
    with contextlib.suppress(OSError, KeyError):
        owner = Path(home.root).stat().st_uid
        if owner != os.geteuid():
            user = pwd.getpwuid(owner).pw_name
            what = f"The daemon runs as {user}, and this was checked as another user."
            yield Finding(
                WARNING,
                "user",
                what,
                "`rekindle doctor` checks as the daemon, once it is submitted.",
            )
