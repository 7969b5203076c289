"""Read how the time of a job divides, and say it in words; docs/ettr.md defines the classes."""

import time

from rekindle.daemon.client import terminal
from rekindle.jobs import heartbeat
from rekindle.state.counted import counted
from rekindle.state.ledger import held_time
from rekindle.state.ledger.held_time import HeldTime, Sign
from rekindle.state.ledger.listing import Listing
from rekindle.state.ledger.rows import AttemptRow, JobRow
from rekindle.state.lifecycle import ACTIVE
from rekindle.state.paths import Home

_LEAST_S = 0.05
"""Shorter losses are not named for a person."""


def of(home: Home, book: Listing, job: JobRow) -> HeldTime | None:
    """Divide the time of a job so far; None before its first attempt."""
    now = time.time()
    attempts = [*book.each_attempt(job.id)]
    sign = None
    if attempts and job.state in ACTIVE:
        sign = _sign(home, attempts[-1], now, command=bool(book.spec(job.id).get("command")))
    return held_time.of(job, attempts, book.events(job.id), book.pauses(), now, sign)


def _sign(home: Home, row: AttemptRow, now: float, *, command: bool) -> Sign:
    """Return the last sign of life of the attempt that runs."""
    if command:
        return Sign(now, None)
    beat = heartbeat.read(home.run(row.job).heartbeat)
    if beat is not None and beat.attempt == row.n:
        return Sign(beat.at, heartbeat.times_of(beat))
    return Sign(now, {"init": max(now - row.started_at, 0.0)})


def text(held: HeldTime) -> str:
    """Say in one line how the time divides: the ratio, and the losses from the largest on."""
    if not held.is_known:
        return f"{terminal.duration(held.held)} held; how much of it was useful is unknown"
    losses = sorted(held.losses.items(), key=lambda one: -one[1])
    named = ", ".join(f"{name} {_seconds(took)}" for name, took in losses if took >= _LEAST_S)
    ratio = "ETTR unknown" if held.ettr is None else f"ETTR {held.ettr:.3f}"
    parts = [f"{ratio}: {_seconds(held.useful)} of {_seconds(held.held)} useful"]
    parts += [f"losses: {named}"] if named else []
    if held.unknown:
        unknown = held.attempts[1]
        of_which = f" ({counted(unknown, 'attempt')})" if unknown else ""
        parts.append(f"unknown: {_seconds(held.unknown)}{of_which}")
    if held.person >= 1:
        parts.append(f"not counted: {_seconds(held.person)} until a person let it run")
    if held.suspended >= 1:
        parts.append(f"not counted: {_seconds(held.suspended)} while the host was suspended")
    return "; ".join(parts)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else terminal.duration(seconds)
