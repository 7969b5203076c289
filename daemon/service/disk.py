"""Watch the disk of the home: report once that it is full, and once that it has space again."""

from typing import Final

import structlog

from rekindle.daemon.attempts import preflight
from rekindle.daemon.service.part import Part
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_LOOK_S: Final = 10.0


class DiskWatch(Part):
    """Check the free space of a home every few seconds."""

    name = "disk"

    def __init__(self, home: Home, ledger: Ledger) -> None:
        self._home = home
        self._ledger = ledger
        self._next = 0.0
        self._short: str | None = None
        self._log = structlog.get_logger()

    def is_due(self, now: float) -> bool:
        return now >= self._next

    def tick(self, now: float) -> None:
        self._next = now + _LOOK_S
        short = preflight.disk(self._home.root)
        before, self._short = self._short, short
        if bool(short) != bool(before):
            kind = "disk_full" if short else "disk_has_room"
            self._log.warning(kind, home=str(self._home.root), message=short)
            self._ledger.add_event(kind, data={"message": short})
