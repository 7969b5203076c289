"""Scan the inbox after an event or an interval, and carry out the requests in it."""

import threading
import time
from typing import Final

from rekindle.daemon.handlers.dispatcher import Dispatcher
from rekindle.daemon.intake.inbox import Inbox
from rekindle.daemon.intake.watch import Watcher
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service.part import Part

_BUDGET_S: Final = 0.25
"""Time for accepting specs before requests and attempts have their turn."""
_BUDGET_MOST_S: Final = 2.0
_REQUESTS: Final = "requests"
_WAITING_S: Final = 1.0


class InboxScan(Part):
    """Scan the inbox.

    Args:
        wake: set by an event in the inbox; a scan clears it.
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
        self._interrupted_at: float | None = None

    @property
    def next_at(self) -> float:
        """Monotonic time of the next scan without an event."""
        return self._next

    @property
    def has_begun(self) -> bool:
        """Return whether the inbox has been scanned once, so that its content is known."""
        return self._next > 0.0

    def pending(self) -> bool:
        """Return whether files wait for a scan."""
        return self._inbox.pending(self._dispatcher.remaining)

    def is_due(self, now: float) -> bool:
        return self._wake.is_set() or now >= self._next

    def tick(self, now: float) -> None:
        self._wake.clear()
        self._next = now + self._rescan
        # without events the inbox is scanned at an interval
        self._isolation.run("inbox events", self._watcher.ensure)
        budget = _BUDGET_S
        if self._interrupted_at is not None:
            # with thousands of jobs the rest of a tick is slow: specs get twice its time
            since = time.monotonic() - self._interrupted_at
            budget = min(max(budget, 2 * since), _BUDGET_MOST_S)
        scan = self._inbox.scan(time.monotonic(), budget)
        self._interrupted_at = time.monotonic() if scan.more else None
        if scan.more:
            self._next = time.monotonic()
        elif scan.settling is not None:
            self._next = min(self._next, time.monotonic() + scan.settling)
        self._isolation.run(
            _REQUESTS, lambda: self._dispatcher.dispatch(scan.requests, self._inbox.reject)
        )
        if self._dispatcher.waits:
            # the end of its work wakes the loop; this is for its bound
            self._next = min(self._next, time.monotonic() + _WAITING_S)
