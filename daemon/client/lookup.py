"""Find what a verb needs first: the home, the ledger to read, and the named job."""

import argparse
import difflib

from rekindle.state.errors import NotFound
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Home


def home(args: argparse.Namespace) -> Home:
    """Return the home named by the command line, the environment or the user's account."""
    return Home.default(args.home)


def ledger(place: Home) -> Ledger:
    """Open the ledger of a home, for reading.

    Raises:
        NotFound: this home has no ledger yet.
        LedgerCorrupt, LedgerTooNew, HomeUnusable: it cannot be read.
    """
    return Ledger.open(place.ledger, readonly=True)


def job(book: Ledger, named: str) -> JobRow:
    """Find the job of this id, or the newest of this name.

    Raises:
        NotFound: there is no such job; the hint names the most similar id.
    """
    found = book.job(named)
    if found is None:
        found = next(iter(book.jobs_named(named)), None)
    if found is None:
        near = difflib.get_close_matches(named, [row.id for row in book.jobs()], 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise NotFound(f"There is no job {named}.", hint=f"{hint}`rekindle ls` lists all jobs.")
    return found
