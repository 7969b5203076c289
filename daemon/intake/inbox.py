"""Turn each file in the inbox into exactly one accepted job, or refuse it.

A file is claimed by a rename out of the inbox, accepted by the rename of a complete run
directory to its final name, and only then removed. `recover` finds whatever was interrupted
between two of these steps:

1. ``inbox/x.toml`` → ``claimed/<token>--x.toml``            (claimed)
2. ``runs/.new-<id>`` with ``job.json`` naming the token → ``runs/<id>``   (accepted)
3. row in the ledger                                          (known)
4. ``claimed/<token>--x.toml`` removed                        (finished)
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rekindle.daemon.background import Background
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.intake import arrivals, requests, temporary_names
from rekindle.daemon.intake.accept import BATCH, Accept, Decided
from rekindle.daemon.intake.claims import Claim, Claims, Unsettled
from rekindle.daemon.intake.recovery import Recovery
from rekindle.daemon.intake.refuse import Refuse
from rekindle.daemon.isolation import LogOnce
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.state import crash_points
from rekindle.state.errors import LedgerCorrupt, LedgerTooNew, RekindleError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_RETRY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Scan:
    """State what one scan of the inbox found.

    Attributes:
        accepted: ids of the new jobs.
        rejected: names of the refused files.
        requests: request files, in the order of their names.
        settling: files that are still being written were left for the next scan.
        more: the time was over before every file was looked at.
    """

    accepted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    requests: list[Path] = field(default_factory=list)
    settling: bool = False
    more: bool = False


class Inbox:
    """Scan the inbox of one home; the tick loop owns it.

    Args:
        background: takes snapshots, one after the other, since git and ten thousand files may take
            minutes; without it they are taken in the calling thread.
        crash_point: called with the name of each commit point, for tests that kill there.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        snapshots: Snapshots | None = None,
        *,
        background: Background | None = None,
        crash_point: Callable[[str], None] = crash_points.reached,
    ) -> None:
        self._home = home
        self._snapshots = snapshots or Snapshots(home.sources, SourceLimits(), home.root)
        self._log_once = LogOnce("inbox_trouble")
        self._claims = Claims(home, crash_point)
        self._refuse = Refuse(home, ledger, crash_point)
        self._accept = Accept(
            home,
            ledger,
            self._snapshots,
            self._claims,
            self._refuse,
            background=background,
            crash_point=crash_point,
        )
        self._recovery = Recovery(
            home, ledger, self._snapshots, self._claims, self._accept, self._log_once
        )
        # the end of a copy wakes the loop: without a pause both would spin on a full disk
        self._pause = 0.0 if background is None else _RETRY_S
        self._retry_at = -math.inf
        self._unfinished = False

    def recover(self) -> None:
        """Finish the steps that an earlier daemon's end, or a full disk, interrupted."""
        self._unfinished = False
        try:
            self._recovery.run()
        except (LedgerCorrupt, LedgerTooNew):
            raise
        except Exception as error:
            self._interrupt(error)

    def scan(self, now: float, budget: float = math.inf) -> Scan:
        """Look at every file once; no file makes this raise.

        Args:
            now: unix time, seconds.
            budget: seconds after which specs are left for the next scan, so that a daemon
                with ten thousand of them still answers requests and watches its attempts.
        """
        if not self._accept.is_copying:
            self._snapshots.forget()
        if self._unfinished and time.monotonic() >= self._retry_at:
            self.recover()
        try:
            entries = sorted(os.scandir(self._home.inbox), key=lambda entry: entry.name)
        except OSError as error:
            self._log_once.error("inbox", f"The inbox cannot be read: {error.strerror}.")
            return Scan()
        self._log_once.clear("inbox")
        began = time.monotonic()
        rejected = str(self._home.rejected)
        decided = Decided()
        found: list[Path] = []
        claims: list[Claim] = []
        settling = more = False
        for entry in entries:
            if (more or self._unfinished) and not entry.name.endswith(requests.SUFFIX):
                continue  # later requests are still collected
            if temporary_names.program(entry.name) is not None or entry.path == rejected:
                continue
            if entry.name.endswith(requests.SUFFIX):
                found.append(Path(entry.path))
                continue
            # a batch that was begun is filled: it is fsynced once
            if not claims and time.monotonic() - began > budget:
                more = True
                continue
            try:
                claims.append(self._take(entry, now))
            except Unsettled:
                settling = True
            except FileNotFoundError:
                continue  # removed by its owner
            except OSError as error:
                message = f"{entry.name} stays in the inbox: {error.strerror}."
                self._log_once.error(entry.name, message)
            if len(claims) == BATCH:
                self._decide(claims, decided)
                claims = []
        self._decide(claims, decided)
        return Scan(
            decided.accepted, decided.rejected, found, settling, more or self._accept.has_copied()
        )

    def pending(self) -> bool:
        """Return whether there are files that a scan would take."""
        return self._unfinished or self._accept.is_copying or bool(arrivals.waiting(self._home))

    def reject(self, path: Path, what: str, *, hint: str) -> Path:
        """Move a file to ``rejected/`` with the reason beside it; overwrite nothing."""
        error = RekindleError(what, where=path.name, hint=hint)
        return self._refuse.file(path, path.name, error)

    def _take(self, entry: os.DirEntry[str], now: float) -> Claim:
        claim = self._claims.take(Path(entry.path), entry.stat(follow_symlinks=False), now)
        self._log_once.clear(entry.name)
        return claim

    def _decide(self, claims: list[Claim], decided: Decided) -> None:
        try:
            self._accept.decide(claims, decided)
            self._log_once.clear("claimed")
        except Exception as error:  # after any error the claims are found again
            self._interrupt(error)

    def _interrupt(self, error: Exception) -> None:
        """Leave the claims to a later scan."""
        self._unfinished = True
        self._retry_at = time.monotonic() + self._pause
        self._log_once.error(
            "claimed", f"Specs cannot be accepted now: {error}. They are kept, and retried."
        )
