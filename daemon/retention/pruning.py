"""Removing in the background: reading gigabytes to verify them must not stop the tick loop.

The thread works on folders alone, under each run's lock; the ledger stays with the tick loop,
which takes in what the journals then say.
"""

import contextlib
import threading
import time
from typing import Final

import structlog

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.config import Retention
from rekindle.daemon.retention import retention
from rekindle.daemon.retention.retention import Removed, Stock
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home

_FIRST_S: Final = 60.0
_EVERY_S: Final = 600.0
_END_S: Final = 1.0


class Pruning:
    """All pruning of one home; the tick loop owns it."""

    def __init__(self, home: Home, ledger: Ledger, limits: Retention, attempts: Attempts) -> None:
        self._home = home
        self._ledger = ledger
        self._limits = limits
        self._attempts = attempts
        self._thread: threading.Thread | None = None
        self._removed: list[Removed] = []
        self._sources = 0
        self._above = 0
        self._told_above = False
        self._asked = False
        self._queued: list[tuple[list[str] | None, Retention]] = []
        self._ending = False
        self._next = time.monotonic() + _FIRST_S
        self._log = structlog.get_logger()

    def begin(self, only: list[str] | None, limits: Retention) -> str:
        """Starts to remove on request; says in a sentence what happens."""
        if self._thread is not None:
            self._queued.append((only, limits))
            return "Pruning begins as soon as the round that is under way has ended."
        self._asked = True
        self._start(retention.stocks(self._ledger, only), limits)
        return "Pruning has begun."

    def tick(self) -> None:
        """Takes in what was removed, and begins anew when it is time."""
        if self._thread is not None:
            if not self._thread.is_alive():
                self._thread = None
                self._take_in()
                if self._queued:
                    self.begin(*self._queued.pop(0))
        elif time.monotonic() >= self._next and (
            self._limits.max_age is not None or self._limits.max_bytes is not None
        ):
            self._start(retention.stocks(self._ledger), self._limits)

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def close(self) -> None:
        """Lets what is under way end after the job at hand; the next daemon takes the rest in."""
        self._ending = True
        if self._thread is not None:
            self._thread.join(_END_S)
            if not self._thread.is_alive():
                self._take_in()

    def catch_up(self) -> None:
        """Takes in what others removed, or an earlier daemon had no time to note."""
        for row in self._ledger.jobs(states={*TERMINAL, JobState.HELD}):
            self._attempts.catch_up(row)

    def _start(self, stocks: list[Stock], limits: Retention) -> None:
        self._next = time.monotonic() + _EVERY_S
        self._removed = []
        self._sources = 0
        self._above = 0
        self._thread = threading.Thread(
            target=self._work, args=(stocks, limits), name="pruning", daemon=True
        )
        self._thread.start()

    def _work(self, stocks: list[Stock], limits: Retention) -> None:
        try:
            seen = [retention.look(self._home.run(stock.job), stock) for stock in stocks]
            total = retention.size_of(self._home.root) if limits.max_bytes is not None else 0
            for stock in retention.choose(seen, limits, total=total, now=time.time()):
                if self._ending:
                    return
                try:
                    self._removed.append(retention.reduce(self._home.run(stock.job), stock))
                except OSError as error:
                    self._removed.append(Removed(stock.job, reason=str(error)))
            with contextlib.suppress(OSError):
                self._sources = retention.remove_unused_sources(self._home, time.time())
            if limits.max_bytes is not None:
                self._above = total - sum(r.bytes for r in self._removed) - limits.max_bytes
        except Exception as error:
            # the next round may succeed; the daemon goes on without
            self._removed.append(Removed("", reason=f"{type(error).__name__}: {error}"))

    def _take_in(self) -> None:
        # of all jobs: on a full disk `rekindle prune` removes by itself until it can ask for it
        self.catch_up()
        for one in self._removed:
            if one.names:
                self._log.info(
                    "checkpoints_pruned", job=one.job, names=list(one.names), bytes=one.bytes
                )
            elif one.reason:
                self._log.warning("prune_passed_over", job=one.job, reason=one.reason)
        sources = self._sources
        freed = sum(one.bytes for one in self._removed) + sources
        if freed or self._asked:
            self._asked = False
            self._ledger.add_event(
                "pruned",
                data={
                    "bytes": freed,
                    "sources_bytes": sources,
                    "checkpoints": sum(len(one.names) for one in self._removed),
                    "jobs": [one.job for one in self._removed if one.names],
                    "passed_over": {one.job: one.reason for one in self._removed if one.reason},
                },
            )
        if self._above > 0 and not self._told_above:
            self._ledger.add_event("home_above_limit", data={"bytes_above": self._above})
            self._log.error(
                "home_above_limit",
                bytes_above=self._above,
                hint="Nothing more may be removed by itself: what is left are the last good and "
                "the best checkpoints, logs and results. Remove run directories of jobs you no "
                "longer need, or raise [retention] max_bytes.",
            )
        self._told_above = self._above > 0
