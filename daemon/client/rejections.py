"""Find why the daemon rejected a file of the inbox."""

from rekindle.state.errors import Refused
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import EventRow
from rekindle.state.paths import Home

_NEWEST = 200


def of_request(home: Home, book: Ledger, name: str) -> Refused | None:
    """Find the refusal of a request by its file name, which is unique; None without one."""
    return next(
        (_refusal(home, event) for event in _events(book) if event.data.get("file") == name), None
    )


def of_spec(home: Home, book: Ledger, inode: int, since: float) -> Refused | None:
    """Find the refusal of a spec dropped at ``since`` (unix time); it may have been renamed."""
    return next(
        (
            _refusal(home, event)
            for event in _events(book)
            if event.data.get("inode") == inode and event.at >= since - 1
        ),
        None,
    )


def _events(book: Ledger) -> list[EventRow]:
    return book.events(kind="spec_rejected", newest=_NEWEST)[::-1]


def _refusal(home: Home, event: EventRow) -> Refused:
    return Refused(
        str(event.data["error"]),
        where=home.rejected / str(event.data["file"]),
        hint=str(event.data["hint"]),
    )
