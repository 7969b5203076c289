"""Notice what is written to a spec after it was accepted.

A program that has the file open when it is claimed can write on. The claimed file is therefore
kept until nobody has it open for writing: a change before the job's first start holds the job,
a later one is reported. The changed file is moved to ``rejected/`` with the reason beside it.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.intake import writers
from rekindle.daemon.intake.claims import Claim, read
from rekindle.daemon.intake.refuse import Refuse
from rekindle.daemon.intake.settling import SETTLE_S, Look
from rekindle.daemon.intake.watch import FolderEvents
from rekindle.daemon.isolation import LogOnce
from rekindle.daemon.spec.document import Document, Unreadable
from rekindle.state.counted import few
from rekindle.state.errors import RekindleError, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import WAITS, JobState
from rekindle.state.paths import Home

_LOOK_S: Final = 5.0
"""Time between two looks at every file, with or without an event."""
_HIDDEN_S: Final = 3600.0
"""Time for which another user's file is kept, since its writer may be hidden."""
_LONG_S: Final = 60.0
"""Time after a change after which it is reported though the file is still open."""
_NAMED: Final = 8
_RUNS: Final = "The job runs the spec as it was accepted."


@dataclass(frozen=True, slots=True)
class _Watched:
    """Hold a claimed file of an accepted job, or of all jobs of a grid.

    Attributes:
        since: monotonic time of the latest look that differed from the one before, seconds.
        accepted: monotonic time at which the watch began.
        changed: monotonic time of the first change of the content; None without one.
        held: the jobs that the change has held.
    """

    claim: Claim
    jobs: tuple[str, ...]
    data: bytes
    look: Look
    since: float
    accepted: float
    changed: float | None = None
    held: frozenset[str] = frozenset()


class LateWrites:
    """Watch the claimed files of accepted jobs; the tick loop owns it."""

    def __init__(self, home: Home, ledger: Ledger, refuse: Refuse) -> None:
        self._ledger = ledger
        self._refuse = refuse
        self._events = FolderEvents(home.claimed)
        self._watched: dict[str, _Watched] = {}
        self._look_at = -math.inf
        self._log_once = LogOnce("spec_not_moved")
        self._log = structlog.get_logger()

    def close(self) -> None:
        """Stop to watch; the files are found again by the next daemon."""
        self._events.close()

    def watch(self, claim: Claim, jobs: tuple[str, ...], data: bytes) -> None:
        """Remove the claimed file of accepted jobs, once nobody can write to it any more.

        Args:
            data: the content that was accepted.

        Raises:
            OSError: the file cannot be read or removed.
        """
        if claim.token in self._watched:
            return
        try:
            now = time.monotonic()
            look = Look.of(claim.path.lstat())
            # asked first: a writer that closes the file meanwhile has changed it by then
            closed = writers.kernel_says(claim.path) is False
            if closed and _content(claim.path) == data:
                claim.path.unlink()
                return
        except FileNotFoundError:
            return
        self._watched[claim.token] = _Watched(claim, jobs, data, look, now, now)
        self._look_at = -math.inf

    def tick(self, now: float) -> None:
        """Look at files that may have changed; call it before jobs are started in a tick.

        Args:
            now: monotonic, seconds.
        """
        if not self._watched:
            return
        events = self._events.read()
        every = events is None or now >= self._look_at
        names = {event.name for event in events or ()}
        if every:
            self._look_at = now + _LOOK_S
        for token, watched in [*self._watched.items()]:
            if not every and watched.claim.path.name not in names:
                continue
            try:
                left = self._look(watched, now)
            except FileNotFoundError:
                left = None
            except OSError as error:
                if errors.is_transient(error):
                    raise
                # one that cannot be moved delays no other
                self._log_once.error(token, f"{watched.claim.name} stays: {error.strerror}.")
                continue
            if left is None:
                del self._watched[token]
            else:
                self._watched[token] = left
                if left.changed is not None:
                    self._look_at = min(self._look_at, now + SETTLE_S)

    def _look(self, watched: _Watched, now: float) -> _Watched | None:
        """Look at one file; None if it needs no further watch."""
        path = watched.claim.path
        look = Look.of(path.lstat())
        if look != watched.look:
            watched = replace(watched, look=look, since=now)
        content = _content(path)
        differs = content != watched.data
        if differs and watched.changed is None:
            what = describe(watched.claim.name, watched.data, content, look.size)
            watched = replace(watched, changed=now)
            watched = replace(watched, held=self._say(watched, what, _hint(None)))
        written = writers.kernel_says(path)
        if written is None and watched.changed is None and now - watched.accepted < _HIDDEN_S:
            return watched  # nobody need be looked for yet: that takes a walk over all processes
        if written is None:
            written = writers.is_open_for_writing(path)
        if watched.changed is not None:
            open_for_long = now - watched.changed >= _LONG_S
            if now - watched.since < SETTLE_S or (written and not open_for_long):
                return watched
        elif written:
            return watched
        if differs:
            self._move(watched, describe(watched.claim.name, watched.data, content, look.size))
        else:
            path.unlink()
        return None

    def _move(self, watched: _Watched, what: str) -> None:
        """Move a changed file to ``rejected/``, and report the whole of the change."""
        what_it_is = few(watched.jobs, _NAMED)
        error = RekindleError(
            f"It was accepted as {what_it_is} before all of it was written. {what}",
            where=watched.claim.name,
            hint=f"Submit it again if {what_it_is} is not what you want.",
        )
        target = self._refuse.file(watched.claim.path, watched.claim.name, error)
        self._say(watched, what, _hint(target))

    def _say(self, watched: _Watched, reason: str, hint: str) -> frozenset[str]:
        """Report a change; hold the jobs that were never started. Return which are held."""
        with self._ledger.transaction():
            return frozenset(
                job for job in watched.jobs if self._say_of(job, watched, reason, hint)
            )

    def _say_of(self, job_id: str, watched: _Watched, reason: str, hint: str) -> bool:
        job, now = self._ledger.job(job_id), time.time()
        if job is None:
            return False
        was_held = job_id in watched.held
        states = {JobState.HELD} if was_held else WAITS
        started = any(one.outcome != "not started" for one in self._ledger.attempts(job.id))
        holds = not started and job.state in states
        with self._ledger.transaction():
            if holds and was_held:
                # the table of transitions has no step from held to held with another reason
                self._ledger.set_state(job.id, JobState.QUEUED, "", now=now)
            if holds:
                self._ledger.set_state(job.id, JobState.HELD, reason, now=now, hint=hint)
            event = {"reason": reason, "hint": hint if holds else _RUNS}
            self._ledger.add_event("spec_changed", job=job.id, data=event)
        self._log.warning("spec_changed", job=job.id, reason=reason, held=holds)
        return holds


def _content(path: Path) -> bytes | None:
    """Read a file; None if it cannot be a spec."""
    try:
        return read(path)
    except SpecError:
        return None


def describe(name: str, accepted: bytes, now: bytes | None, size: int) -> str:
    """Describe in a sentence how a spec differs from what was accepted."""
    return (
        f"The spec {name} was written to after it had been accepted: {len(accepted)} bytes then, "
        f"{size} now; {_difference(name, accepted, now)}."
    )


def _difference(name: str, accepted: bytes, now: bytes | None) -> str:
    if now is None:
        return "it cannot be read as a spec now"
    toml = name.endswith(".toml")
    try:
        old, new = (
            dict(_flat(Document(data, toml=toml, noun="spec", page="docs/spec.md").table))
            for data in (accepted, now)
        )
    except Unreadable:
        return "it is not a valid spec now"
    missing = object()
    keys = [key for key in {**old, **new} if old.get(key, missing) != new.get(key, missing)]
    if not keys:
        return "no key has another value"
    return f"other values: {few(keys, _NAMED)}"


def _flat(table: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _hint(changed: Path | None) -> str:
    place = "the changed file" if changed is None else str(changed)
    return (
        "`rekindle release` runs it as it was accepted. For the changed spec: `rekindle cancel`, "
        f"then submit {place}."
    )
