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
    return next(
        (
            refusal(home, event)
            for event in book.events(kind="spec_rejected", after=since)
            if event.data.get("file") == name
        ),
        None,
    )


def of_spec(home: Home, book: Ledger, inode: int, since: int) -> Refused | None:
    """Find the refusal of a spec that was dropped after an event; it may have been renamed."""
    return next(
        (
            refusal(home, event)
            for event in book.events(kind="spec_rejected", after=since)
            if event.data.get("inode") == inode
        ),
        None,
    )


def refusal(home: Home, event: EventRow) -> Refused:
    """Convert the event of a refusal into the error that it was."""
    return Refused(
        str(event.data["error"]),
        where=home.rejected / str(event.data["file"]),
        hint=str(event.data["hint"]),
    )
