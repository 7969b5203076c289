"""Find why the daemon rejected a file of the inbox."""

from rekindle.state.errors import Refused
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import EventRow
from rekindle.state.paths import Home


def of_request(home: Home, book: Ledger, name: str, since: int) -> Refused | None:
    """Find the refusal of a request by its file name, which is unique; None without one.

    Args:
        since: the id of the newest event before the request was written.
    """
    return _find(home, book, since, "file", name)


def of_spec(home: Home, book: Ledger, inode: int, since: int) -> Refused | None:
    """Find the refusal of a spec that was dropped after an event; it may have been renamed."""
    return _find(home, book, since, "inode", inode)


def _find(home: Home, book: Ledger, since: int, key: str, value: str | int) -> Refused | None:
    events = book.events(kind="spec_rejected", after=since)
    return next((_refusal(home, one) for one in events if one.data.get(key) == value), None)


def _refusal(home: Home, event: EventRow) -> Refused:
    """Convert the event of a refusal into the error that it was."""
    return Refused(
        str(event.data["error"]),
        where=home.rejected / str(event.data["file"]),
        hint=str(event.data["hint"]),
    )
