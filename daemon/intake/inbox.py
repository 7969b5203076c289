"""Turn each file in the inbox into exactly one accepted job, or refuse it.

A complete file is claimed by a rename out of the inbox, accepted by the rename of a complete run
directory to its final name, and only then removed. `recover` finds whatever was interrupted
between two of these steps:

1. ``inbox/x.toml`` → ``claimed/<token>--x.toml``            (claimed)
2. ``runs/.new-<id>`` with ``job.json`` naming the token → ``runs/<id>``   (accepted)
   (of a grid, ``runs/.grid-<token>`` with the ids of all its jobs comes before the first rename)
3. row in the ledger                                          (known)
4. ``claimed/<token>--x.toml`` removed, when nobody has it open for writing   (finished)
"""

import math
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rekindle.daemon import errors
from rekindle.daemon.background import Background
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.intake import arrivals, requests
from rekindle.daemon.intake.accept import BATCH, Accept, Decided
from rekindle.daemon.intake.claims import Claim, Claims
from rekindle.daemon.intake.late_writes import LateWrites
from rekindle.daemon.intake.recovery import Recovery
from rekindle.daemon.intake.refuse import Refuse
from rekindle.daemon.intake.settling import Settling
from rekindle.daemon.isolation import LogOnce
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.state import crash_points
from rekindle.state.errors import LedgerCorrupt, LedgerTooNew, RekindleError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_RETRY_S: Final = 2.0
_STUCK_S: Final = 60.0
"""Time after which a request that could neither be read nor moved is tried again."""


@dataclass(frozen=True, slots=True)
class Scan:
    """State what one scan of the inbox found.

    Attributes:
        accepted: ids of the new jobs.
        rejected: names of the refused files.
        requests: request files, in the order of their names.
        settling: seconds after which a file that is still being written may be complete; None if
            there is none.
        more: the time was over before every file was looked at.
    """

    accepted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    requests: list[Path] = field(default_factory=list)
    settling: float | None = None
    more: bool = False


class Inbox:
    """Scan the inbox of one home; the tick loop owns it.

    Args:
        background: takes snapshots, since git and ten thousand files may take minutes; without it
            they are taken in the calling thread.
        max_waiting: jobs of one user that may wait; further specs are refused. None for no limit.
        crash_point: called with the name of each commit point, for tests that kill there.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        snapshots: Snapshots | None = None,
        *,
        background: Background | None = None,
        max_waiting: int | None = None,
        crash_point: Callable[[str], None] = crash_points.reached,
    ) -> None:
        self._home = home
        self._ledger = ledger
        snapshots = snapshots or Snapshots(home.sources, SourceLimits(), home.root)
        self._log_once = LogOnce("inbox_trouble")
        self._settling = Settling(home.inbox)
        # monotonic time at which a request that stays was read last
        self._stuck: dict[str, float] = {}
        self._claims = Claims(home, crash_point)
        self._refuse = Refuse(home, ledger, crash_point)
        self._late = LateWrites(home, ledger, self._refuse)
        self._accept = Accept(
            home,
            ledger,
            snapshots,
            self._claims,
            self._refuse,
            self._late,
            background=background,
            max_waiting=max_waiting,
            crash_point=crash_point,
        )
        self._recovery = Recovery(
            home, ledger, snapshots, self._claims, self._accept, self._late, self._log_once
        )
        # the end of a copy wakes the loop: without a pause both would spin on a full disk
        self._pause = 0.0 if background is None else _RETRY_S
        # when to look again at claims that could not be decided; None without any
        self._retry_at: float | None = None

    def recover(self) -> None:
        """Finish the steps that an earlier daemon's end, or a full disk, interrupted."""
        self._retry_at = None
        try:
            self._recovery.run()
        except (LedgerCorrupt, LedgerTooNew):
            raise
        except Exception as error:
            self._interrupt(error)

    def close(self) -> None:
        """Stop to watch the inbox."""
        self._settling.close()
        self._late.close()

    def check_accepted(self, now: float) -> None:
        """Look for late writes to accepted specs; ``now`` is monotonic, seconds."""
        self._late.tick(now)

    def scan(self, now: float, budget: float = math.inf) -> Scan:
        """Look at every file once; no file makes this raise.

        Args:
            now: monotonic, seconds.
            budget: seconds after which specs are left for the next scan, so that a daemon
                with ten thousand of them still answers requests and watches its attempts.
        """
        self._accept.begin_batch()
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self.recover()
        self._settling.begin()
        try:
            entries = self._entries()
        except OSError as error:
            self._log_once.error("inbox", f"The inbox cannot be read: {error.strerror}.")
            return Scan()
        self._log_once.clear("inbox")
        began = time.monotonic()
        decided = Decided()
        found: list[Path] = []
        claims: list[Claim] = []
        waits: list[float] = []
        more = False
        for entry in entries:
            request = entry.name.endswith(requests.SUFFIX)
            if (more or self._retry_at is not None) and not request:
                continue  # later requests are still collected
            # a batch that was begun is filled: it is fsynced once
            if not request and not claims and time.monotonic() - began > budget:
                more = True
                continue
            path = Path(entry.path)
            try:
                if not self._is_ready(path, entry.stat(follow_symlinks=False), now):
                    waits.append(self._settling.wait(entry.name, now))
                elif request:
                    if time.monotonic() - self._stuck.get(entry.name, -math.inf) >= _STUCK_S:
                        found.append(path)
                else:
                    claims.append(self._take(path, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue  # removed by its owner
            except OSError as error:
                self._stays(
                    entry.name, f"{error.strerror}", for_good=not errors.is_transient(error)
                )
            if len(claims) == BATCH:
                self._decide(claims, decided)
                claims = []
        self._decide(claims, decided)
        settling = min(waits, default=None)
        more = more or self._accept.has_copied()
        return Scan(decided.accepted, decided.rejected, found, settling, more)

    def pending(self, done: Collection[str] = ()) -> bool:
        """Return whether there are files that a scan would take, now or once they are complete.

        Args:
            done: names of requests that were carried out and cannot be removed.
        """
        if self._retry_at is not None or self._accept.is_copying:
            return True
        left_out = {*self._stuck, *done}
        return any(name not in left_out for name in arrivals.waiting(self._home))

    def reject(self, path: Path, what: str, *, hint: str) -> None:
        """Move a file to ``rejected/`` with the reason beside it; overwrite nothing.

        One that cannot be moved stays, and its reason is logged.

        Raises:
            OSError: the home's disk is at fault.
        """
        error = RekindleError(what, where=path.name, hint=hint)
        try:
            self._refuse.file(path, path.name, error)
        except OSError as problem:
            if errors.is_transient(problem):
                raise
            self._stays(path.name, f"{problem.strerror}. {what}")
            self._stuck[path.name] = time.monotonic()

    def _entries(self) -> list[os.DirEntry[str]]:
        """List the files that a scan looks at, by name."""
        entries = arrivals.entries(self._home)
        names = {entry.name for entry in entries}
        self._settling.keep(names)
        for name in self._stuck.keys() - names:
            del self._stuck[name]
        return entries

    def _is_ready(self, path: Path, info: os.stat_result, now: float) -> bool:
        """Return whether a file is complete.

        Raises:
            OSError: it cannot be looked at.
        """
        if path.name.endswith(requests.SUFFIX) and requests.is_whole(path):
            return True
        if self._settling.is_complete(path, info, now):
            return True
        obstacle = self._settling.obstacle(path, now)
        if obstacle is not None:
            self._stays(path.name, obstacle)
        return False

    def _take(self, path: Path, info: os.stat_result) -> Claim:
        claim = self._claims.take(path, info)
        self._stuck.pop(path.name, None)
        self._log_once.clear(path.name)
        return claim

    def _stays(self, name: str, why: str, *, for_good: bool = True) -> None:
        """Report once why a file is not taken.

        Args:
            for_good: a person has to act; a daemon that ends when it is idle does not wait.
        """
        if for_good:
            self._stuck[name] = -math.inf
        else:
            self._stuck.pop(name, None)
        reason = why.rstrip(".")
        if self._log_once.error(name, f"{name} stays in the inbox: {reason}."):
            self._ledger.add_event("file_not_taken", data={"file": name, "reason": reason})

    def _decide(self, claims: list[Claim], decided: Decided) -> None:
        try:
            self._accept.decide(claims, decided)
            self._log_once.clear("claimed")
        except Exception as error:  # after any error the claims are found again
            self._interrupt(error)

    def _interrupt(self, error: Exception) -> None:
        """Leave the claims to a later scan."""
        self._retry_at = time.monotonic() + self._pause
        self._log_once.error(
            "claimed", f"Specs cannot be accepted now: {error}. They are kept, and retried."
        )
