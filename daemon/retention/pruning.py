"""Prune in the background: verifying gigabytes of checkpoints must not block the tick loop.

The thread touches folders only, under each run's lock. The tick loop owns the ledger and ingests
what the thread journals.
"""

import contextlib
import threading
import time
from typing import Final, NamedTuple

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


class Request(NamedTuple):
    """Request a round for some jobs or all, with limits."""

    only: list[str] | None
    limits: Retention


class Round(threading.Thread):
    """Remove what can be removed from all run directories, once.

    Args:
        ending: set when the daemon ends; the round then ends after the current job.

    Attributes:
        removed: what was removed of each job, or why nothing was.
        sources_bytes: removed bytes of the snapshots that no job uses.
        bytes_above: bytes by which the home is still above its limit.
    """

    def __init__(
        self, home: Home, stocks: list[Stock], limits: Retention, ending: threading.Event
    ) -> None:
        super().__init__(name="pruning", daemon=True)
        self._home = home
        self._stocks = stocks
        self._limits = limits
        self._ending = ending
        self.removed: list[Removed] = []
        self.sources_bytes = 0
        self.bytes_above = 0

    def run(self) -> None:
        try:
            self._prune()
        except Exception as error:
            # the next round may succeed; the daemon continues without
            self.removed.append(Removed("", reason=f"{type(error).__name__}: {error}"))

    @property
    def bytes(self) -> int:
        """Bytes that were removed."""
        return sum(one.bytes for one in self.removed) + self.sources_bytes

    def _prune(self) -> None:
        limits = self._limits
        seen = [retention.look(self._home.run(stock.job), stock) for stock in self._stocks]
        total = retention.size_of(self._home.root) if limits.max_bytes is not None else 0
        for stock in retention.choose(seen, limits, total=total, now=time.time()):
            if self._ending.is_set():
                return
            try:
                self.removed.append(retention.reduce(self._home.run(stock.job), stock))
            except OSError as error:
                self.removed.append(Removed(stock.job, reason=str(error)))
        with contextlib.suppress(OSError):
            self.sources_bytes = retention.remove_unused_sources(self._home, time.time())
        if limits.max_bytes is not None:
            self.bytes_above = total - sum(r.bytes for r in self.removed) - limits.max_bytes


class Pruning:
    """Start the rounds of one home and record what they removed; the tick loop owns it."""

    def __init__(self, home: Home, ledger: Ledger, limits: Retention, attempts: Attempts) -> None:
        self._home = home
        self._ledger = ledger
        self._limits = limits
        self._attempts = attempts
        self._round: Round | None = None
        self._is_above = False
        self._requested = False
        self._queued: list[Request] = []
        self._ending = threading.Event()
        self._next = time.monotonic() + _FIRST_S
        self._log = structlog.get_logger()

    def begin(self, only: list[str] | None, limits: Retention) -> str:
        """Start a round on request; return a sentence about it."""
        if self._round is not None:
            self._queued.append(Request(only, limits))
            return "Pruning begins when the current round has ended."
        self._requested = True
        self._start(retention.stocks(self._ledger, only), limits)
        return "Pruning has begun."

    def tick(self) -> None:
        """Record what was removed, and start the next round when it is due."""
        if self._round is not None:
            if not self._round.is_alive():
                ended, self._round = self._round, None
                self._record(ended)
                if self._queued:
                    self.begin(*self._queued.pop(0))
        elif time.monotonic() >= self._next and (
            self._limits.max_age is not None or self._limits.max_bytes is not None
        ):
            self._start(retention.stocks(self._ledger), self._limits)

    @property
    def busy(self) -> bool:
        return self._round is not None

    def close(self) -> None:
        """End a round after the current job; the next daemon records what is not recorded."""
        self._ending.set()
        if self._round is not None:
            self._round.join(_END_S)
            if not self._round.is_alive():
                self._record(self._round)

    def catch_up(self) -> None:
        """Ingest removals of other processes, and those that an earlier daemon did not record."""
        for row in self._ledger.jobs(states={*TERMINAL, JobState.HELD}):
            self._attempts.catch_up(row)

    def _start(self, stocks: list[Stock], limits: Retention) -> None:
        self._next = time.monotonic() + _EVERY_S
        self._round = Round(self._home, stocks, limits, self._ending)
        self._round.start()

    def _record(self, ended: Round) -> None:
        # all jobs: on a full disk `rekindle prune` removes checkpoints without the daemon
        self.catch_up()
        for one in ended.removed:
            if one.names:
                self._log.info(
                    "checkpoints_pruned", job=one.job, names=list(one.names), bytes=one.bytes
                )
            elif one.reason:
                self._log.warning("prune_passed_over", job=one.job, reason=one.reason)
        if ended.bytes or self._requested:
            self._requested = False
            self._ledger.add_event(
                "pruned",
                data={
                    "bytes": ended.bytes,
                    "sources_bytes": ended.sources_bytes,
                    "checkpoints": sum(len(one.names) for one in ended.removed),
                    "jobs": [one.job for one in ended.removed if one.names],
                    "passed_over": {one.job: one.reason for one in ended.removed if one.reason},
                },
            )
        if ended.bytes_above > 0 and not self._is_above:
            self._ledger.add_event("home_above_limit", data={"bytes_above": ended.bytes_above})
            self._log.error(
                "home_above_limit",
                bytes_above=ended.bytes_above,
                hint="Nothing more is removed automatically: only the last good and the best "
                "checkpoints, logs and results are left. Remove run directories of jobs you no "
                "longer need, or raise [retention] max_bytes in rekindle.toml.",
            )
        self._is_above = ended.bytes_above > 0
