"""Bring each file that somebody dropped to exactly one accepted job, or to a refusal.

A file is claimed by a rename out of the inbox, accepted by the rename of a finished run
directory to its final name, and only then removed. Whatever is interrupted between two of
these steps is found again by `recover`:

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
from rekindle.daemon.intake import arrivals, requests
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

_AGAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Scan:
    """State what one look at the inbox found.

    Attributes:
        accepted: ids of the jobs made.
        rejected: names of the files refused.
        requests: request files, in the order of their names.
        settling: files that are still changing were left for the next look.
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
            minutes; without one they are taken at once.
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
        self._troubles = LogOnce("inbox_trouble")
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
            home, ledger, self._snapshots, self._claims, self._accept, self._troubles
        )
        # the end of a copy wakes the loop: without a pause a full disk would keep both busy
        self._pause = 0.0 if background is None else _AGAIN_S
        self._again_at = -math.inf
        self._unfinished = False

    def recover(self) -> None:
        """Finish what an earlier daemon, or a full disk, had interrupted."""
        self._unfinished = False
        try:
            self._recovery.run()
        except (LedgerCorrupt, LedgerTooNew):
            raise
        except Exception as error:
            self._interrupt(error)

    def scan(self, now: float, budget: float = math.inf) -> Scan:
        """Look at every file once; never raise for what lies there.

        Args:
            now: unix time, seconds.
            budget: seconds after which specs are left for the next look, so that a daemon
                with ten thousand of them still answers requests and watches its attempts.
        """
        if not self._accept.is_copying:
            self._snapshots.forget()
        if self._unfinished and time.monotonic() >= self._again_at:
            self.recover()
        try:
            entries = sorted(os.scandir(self._home.inbox), key=lambda entry: entry.name)
        except OSError as error:
            self._troubles.error("inbox", f"The inbox cannot be read: {error.strerror}.")
            return Scan()
        self._troubles.clear("inbox")
        began = time.monotonic()
        rejected = str(self._home.rejected)
        decided = Decided()
        found: list[Path] = []
        claims: list[Claim] = []
        settling = more = False
        for entry in entries:
            if (more or self._unfinished) and not entry.name.endswith(requests.SUFFIX):
                continue  # requests behind it are still collected
            if arrivals.is_temporary(entry.name) or entry.path == rejected:
                continue
            if entry.name.endswith(requests.SUFFIX):
                found.append(Path(entry.path))
                continue
            # a batch that was begun is filled: it waits for the disk once
            if not claims and time.monotonic() - began > budget:
                more = True
                continue
            try:
                claims.append(self._take(entry, now))
            except Unsettled:
                settling = True
            except FileNotFoundError:
                continue  # taken back by whoever dropped it
            except OSError as error:
                message = f"{entry.name} stays in the inbox: {error.strerror}."
                self._troubles.error(entry.name, message)
            if len(claims) == BATCH:
                self._decide(claims, decided)
                claims = []
        self._decide(claims, decided)
        return Scan(
            decided.accepted, decided.rejected, found, settling, more or self._accept.has_copied()
        )

    def pending(self) -> bool:
        """Tell whether files lie there that a scan would take."""
        return self._unfinished or self._accept.is_copying or bool(arrivals.waiting(self._home))

    def reject(self, path: Path, what: str, *, hint: str) -> Path:
        """Move a file to ``rejected/`` beside a text that says why; overwrite nothing."""
        error = RekindleError(what, where=path.name, hint=hint)
        return self._refuse.file(path, path.name, error)

    def _take(self, entry: os.DirEntry[str], now: float) -> Claim:
        claim = self._claims.take(Path(entry.path), entry.stat(follow_symlinks=False), now)
        self._troubles.clear(entry.name)
        return claim

    def _decide(self, claims: list[Claim], decided: Decided) -> None:
        try:
            self._accept.decide(claims, decided)
            self._troubles.clear("claimed")
        except Exception as error:  # whatever it is: they are found again as claims
            self._interrupt(error)

    def _interrupt(self, error: Exception) -> None:
        """Leave what is claimed to a later scan."""
        self._unfinished = True
        self._again_at = time.monotonic() + self._pause
        self._troubles.error(
            "claimed", f"Specs cannot be accepted now: {error}. They are kept, and retried."
        )
