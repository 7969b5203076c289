"""Scan the inbox when an event, or the time, asks for it, and carry out the requests in it."""

import threading
import time
from typing import Final

from rekindle.daemon.handlers.dispatcher import Dispatcher
from rekindle.daemon.intake.claims import SETTLE_S
from rekindle.daemon.intake.inbox import Inbox
from rekindle.daemon.intake.watch import Watcher
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service.part import Part

_BUDGET_S: Final = 0.25
"""So long specs are accepted before requests and attempts have their turn."""
_BUDGET_MOST_S: Final = 2.0
_REQUESTS: Final = "requests"


class InboxScan(Part):
    """Look after the inbox.

    Args:
        wake: is set by an event in the inbox; a scan clears it.
        rescan: seconds between two scans without an event.
    """

    name = "inbox"

    def __init__(
        self,
        inbox: Inbox,
        watcher: Watcher,
        dispatcher: Dispatcher,
        isolation: Isolation,
        *,
        wake: threading.Event,
        rescan: float,
    ) -> None:
        self._inbox = inbox
        self._watcher = watcher
        self._dispatcher = dispatcher
        self._isolation = isolation
        self._wake = wake
        self._rescan = rescan
        self._next = 0.0
        self._left_off: float | None = None

    @property
    def next_at(self) -> float:
        """Give the monotonic time of the next scan without an event."""
        return self._next

    @property
    def has_begun(self) -> bool:
        """Tell whether the inbox has been looked at, so that what lies in it is known."""
        return self._next > 0.0

    def pending(self) -> bool:
        """Tell whether files wait for a scan."""
        return self._inbox.pending()

    def is_due(self, now: float) -> bool:
        return self._wake.is_set() or now >= self._next

    def tick(self, now: float) -> None:
        self._wake.clear()
        self._next = now + self._rescan
        self._watcher.ensure()
        budget = _BUDGET_S
        if self._left_off is not None:
            # with thousands of jobs the rest of a tick takes its time: specs get twice as much
            budget = min(max(budget, 2 * (time.monotonic() - self._left_off)), _BUDGET_MOST_S)
        scan = self._inbox.scan(time.time(), budget)
        self._left_off = time.monotonic() if scan.more else None
        if scan.more:
            self._next = time.monotonic()
        elif scan.settling:
            # a file that is still being written: look again soon, without an event
            self._next = time.monotonic() + SETTLE_S / 2
        if scan.requests or _REQUESTS in self._isolation.troubled:
            self._isolation.run(
                _REQUESTS, lambda: self._dispatcher.dispatch(scan.requests, self._inbox.reject)
            )
