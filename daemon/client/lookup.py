"""Find what a verb needs first: the home, the ledger to read, and the named job."""

import argparse
import contextlib
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rekindle.daemon import daemon_status, service_record
from rekindle.daemon.service_record import Served
from rekindle.state import access, accounts
from rekindle.state.errors import HomeClosed, NotFound, RekindleError
from rekindle.state.ledger.listing import Listing
from rekindle.state.ledger.reader import Reader
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

if TYPE_CHECKING:
    from rekindle.state.ledger.ledger import Ledger

States = Collection[JobState] | None
_COMPARED: Final = 500
"""Ids of the newest jobs among which a similar one is looked for."""
NEWEST: Final = "@"
"""Word for the newest job of the current user."""
_JOB: Final = "a job's id, a name for the newest of that name, or @ for your newest job"


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold the home that a verb uses, and a sentence on why, if it was not named."""

    home: Home
    note: str = ""


def home(args: argparse.Namespace) -> Home:
    """Return the home that a verb uses; say on standard error which, if it was not named.

    Raises:
        HomeClosed: the service of this host is closed to this user, who has no home of their own.
    """
    choice = choose(args.home)
    if choice.note:
        print(f"rekindle: {choice.note}", file=sys.stderr)
    return choice.home


def choose(named: str | None) -> Choice:
    """Choose the home: the named one, else that of a live daemon, else the user's own.

    docs/operations.md has the table.

    Raises:
        HomeClosed: as :func:`home`.
    """
    own = Home.default(named)
    if named or any(os.environ.get(name) for name in ("REKINDLE_HOME", "STATE_DIRECTORY")):
        return Choice(own)
    served = service_record.find()
    if served is None:
        if service_record.is_installed() and daemon_status.find(own) is None:
            return Choice(own, f"The service is not running; using your own home {own.root}.")
        return Choice(own)
    return decide(
        own,
        served,
        own_lives=daemon_status.find(own) is not None,
        own_is_used=own.ledger.exists(),
        closed=not _is_open(served.home),
    )


def decide(
    own: Home, served: Served, *, own_lives: bool, own_is_used: bool, closed: bool
) -> Choice:
    """Choose between the user's own home and the one that a service has published.

    Raises:
        HomeClosed: as :func:`home`.
    """
    theirs = served.home.root
    whose = "your service's" if served.own else "the service's"
    if own.root == theirs:
        return Choice(own)
    if own_lives:
        return Choice(own, f"Using your own home {own.root}; {whose} is {theirs}.")
    if served.problem:
        return Choice(
            own,
            f"Using your own home {own.root}. {served.record} names the home {theirs}, and is "
            f"ignored: {served.problem}.",
        )
    if closed and own_is_used:
        return Choice(
            own,
            f"Using your own home {own.root}. You may not use {whose}, {theirs}: "
            f"{access.hint(theirs)}",
        )
    if closed:
        raise HomeClosed(
            f"User {accounts.user_name(os.geteuid())} may not use the home of this host's service.",
            where=theirs,
            hint=f"{access.hint(theirs)} A daemon of your own: `rekindle run`.",
        )
    if not served.alive:
        return Choice(served.home, f"Using {whose} home {theirs}; its daemon is not running now.")
    rest = f"; your own home {own.root} has no daemon" if own_is_used else ""
    return Choice(served.home, f"Using {whose} home {theirs}{rest}.")


def _is_open(place: Home) -> bool:
    """Return whether the current user may read the home and write into its inbox."""
    needed = ((place.root, os.R_OK | os.X_OK), (place.inbox, os.W_OK | os.X_OK))
    return all(os.access(path, mode, effective_ids=True) for path, mode in needed)


def listing(place: Home) -> Listing:
    """Open the ledger of a home to list what is in it; raise as :func:`ledger` does."""
    return Listing.open(place.ledger, readonly=True)


def ledger(place: Home) -> "Ledger":
    """Open the ledger of a home, for reading.

    Raises:
        NotFound: this home has no ledger yet.
        LedgerCorrupt, LedgerTooNew, HomeUnusable: it cannot be read.
    """
    # its writing side takes as long to import as `ls` takes to run
    from rekindle.state.ledger.ledger import Ledger

    return Ledger.open(place.ledger, readonly=True)


def job(book: Reader, named: str) -> JobRow:
    """Find the job of this id, or the newest of this name; `@` is the user's newest job.

    Raises:
        NotFound: there is no such job; the hint names the most similar id.
    """
    if named == NEWEST:
        return _newest(book)
    found = book.job(named)
    if found is None:
        found = book.newest_named(named)
    if found is None:
        import difflib

        near = difflib.get_close_matches(named, book.newest_ids(_COMPARED), 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise NotFound(f"There is no job {named}.", hint=f"{hint}`rekindle ls` lists all jobs.")
    return found


def _newest(book: Reader) -> JobRow:
    """Find the newest job of the current user: `rekindle cancel @` must end nobody else's.

    Raises:
        NotFound: the user has none.
    """
    for one in book.newest_ids(_COMPARED):
        found = book.job(one)
        # an older version recorded no user
        if found is not None and found.uid in (None, os.geteuid()):
            return found
    user = accounts.user_name(os.geteuid())
    raise NotFound(
        f"{NEWEST} is your newest job, and {user} has submitted none here.",
        hint="`rekindle ls` lists all jobs.",
    )


def add_job(parser: argparse.ArgumentParser, *, epoch: bool = False, states: States = None) -> None:
    """Add the one job that a verb takes to its arguments.

    Args:
        epoch: a number of epochs may follow it.
        states: of the jobs that a shell completes; None for all.
    """
    more = "; after a colon finished epochs, or a checkpoint (default: its newest)"
    shown = "job[:epoch]" if epoch else None
    text = f"{_JOB}{more if epoch else ''}"
    _complete(parser.add_argument("job", metavar=shown, help=text), states)


def add_jobs(parser: argparse.ArgumentParser, *, optional: str = "", states: States = None) -> None:
    """Add the jobs that a verb takes to its arguments.

    Args:
        optional: what no job at all means; empty where there must be one.
        states: of the jobs that a shell completes; None for all.
    """
    _complete(
        parser.add_argument(
            "jobs", nargs="*" if optional else "+", metavar="job", help=optional or _JOB
        ),
        states,
    )


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the name that selects jobs to the arguments of a verb."""
    what = "only jobs of this name, or the job with this id (@: your newest job)"
    _complete(parser.add_argument("name", nargs="?", help=what))


def add_grid(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option that selects the jobs of a grid by one of them."""
    _complete(parser.add_argument("--grid", metavar="JOB", help=what))


def in_grid(book: Reader, named: str) -> JobRow:
    """Find a job that is a point of a grid.

    Raises:
        NotFound: there is no such job, or it is none.
    """
    found = job(book, named)
    if found.grid is None:
        raise NotFound(
            f"{found.id} is no point of a grid.", hint=f"`rekindle show {found.id}` shows it."
        )
    return found


def _complete(action: argparse.Action, states: States = None) -> None:
    """Let a shell complete the ids of jobs, by the convention of argcomplete."""

    def ids(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        return _ids(prefix, getattr(parsed_args, "home", None), states)

    action.completer = ids  # type: ignore[attr-defined]


def _ids(prefix: str, home: str | None, states: States) -> list[str]:
    """List ids that begin so; nothing where no ledger can be read."""
    try:
        with contextlib.closing(listing(choose(home).home)) as book:
            return [one for one in book.newest_ids(_COMPARED, states) if one.startswith(prefix)]
    except (OSError, RekindleError):
        return []
