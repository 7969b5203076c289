"""Compare the snapshot of a job with the code as it is now, and take that, in the background."""

import functools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rekindle.daemon.background import Background, Outcome
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.jobs.job import Job, Source
from rekindle.state.counted import counted, few
from rekindle.state.errors import SpecError

_COMPARE_S: Final = 3.0
_GIVEN_UP_S: Final = 5.0
"""Age of a request after which its job no longer waits for a comparison on a slow disk."""
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """State which files differ between two states of some code.

    Attributes:
        problem: why they could not be compared; empty if they were.
    """

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problem: str = ""

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.removed)

    def __str__(self) -> str:
        """Say it in words; empty if nothing differs."""
        parts = []
        for names, verb in (
            (self.changed, "changed"),
            (self.added, "added"),
            (self.removed, "removed"),
        ):
            if names:
                parts.append(f"{counted(len(names), 'file')} {verb} ({few(names, _NAMED)})")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Taken:
    """A new snapshot of a job's code, and how it differs from an earlier one."""

    source: Source
    changes: Changes


class PresentCode:
    """Look at the present code of jobs.

    Args:
        background: does it, one lane for each tree.
    """

    def __init__(self, snapshots: Snapshots, background: Background) -> None:
        self._snapshots = snapshots
        self._background = background
        self._lock = threading.Lock()
        self._compared: dict[tuple[str, str, str], tuple[float, Changes]] = {}

    def take(self, request: str, job: Job, before: str, at: float) -> Outcome | None:
        """Take a snapshot; return an outcome with :class:`Taken`, None while it is taken.

        Args:
            request: names the request; the outcome is returned once.
            before: digest of the snapshot to compare it with.
            at: unix time of the request.
        """
        work = functools.partial(self._take, job, before, at)
        return self._background.ask(("new code", request), work, self._snapshots.lane(job))

    def changes(self, request: str, job: Job, at: float) -> Changes | None:
        """Compare a job's snapshot with its present code; None while it is compared."""
        key = ("changes", request)
        work = functools.partial(self._compare, job, at)
        outcome = self._background.ask(key, work, self._snapshots.lane(job))
        if outcome is None:
            if time.time() - at < _GIVEN_UP_S:
                return None
            return Changes(problem=f"the disk did not answer within {_GIVEN_UP_S:.0f} s")
        if outcome.error is not None:
            return Changes(problem=getattr(outcome.error, "what", None) or str(outcome.error))
        compared: Changes = outcome.get()
        return compared

    def _take(self, job: Job, before: str, at: float) -> Taken:
        source = self._snapshots.take(job, at)
        assert source is not None
        try:
            files = self._snapshots.store.files
            return Taken(source, difference(files(before), files(source.digest)))
        except (OSError, ValueError):
            return Taken(source, Changes(problem="the earlier snapshot cannot be read"))

    def _compare(self, job: Job, at: float) -> Changes:
        assert job.source is not None
        key = (self._snapshots.lane(job), job.script or "", job.source.digest)
        with self._lock:
            known = self._compared.get(key)
        if known is not None and at < known[0]:
            return known[1]
        began = time.time()
        try:
            look = self._snapshots.look(job, _COMPARE_S)
            before = self._snapshots.store.files(job.source.digest)
        except TimeoutError:
            return Changes(problem=f"it took longer than {_COMPARE_S:.0f} s")
        except SpecError as error:
            return Changes(problem=error.what)
        except (OSError, ValueError) as error:
            return Changes(problem=str(error))
        # what an older version copied, and is left out now, has not been removed
        left_out = look.listing.left_out
        found = difference({n: e for n, e in before.items() if n not in left_out}, look.files)
        with self._lock:
            self._compared = {key: (began, found)}
        return found


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """Compare the lists of files of two snapshots: contents, and who may execute them."""
    return Changes(
        changed=tuple(
            name
            for name, entry in after.items()
            if name in before
            and (
                entry["sha256"] != before[name]["sha256"]
                or (int(entry["mode"]) ^ int(before[name]["mode"])) & 0o100
            )
        ),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
    )
