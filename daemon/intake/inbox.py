"""The inbox: from a file that somebody dropped to exactly one accepted job, or a refusal.

A file is claimed by a rename out of the inbox, accepted by the rename of a finished run
directory to its final name, and only then removed. Whatever is interrupted between two of
these steps is found again by `recover`:

1. ``inbox/x.toml`` → ``claimed/<token>--x.toml``            (claimed)
2. ``runs/.new-<id>`` with ``job.json`` naming the token → ``runs/<id>``   (accepted)
3. row in the ledger                                          (known)
4. ``claimed/<token>--x.toml`` removed                        (finished)
"""

import functools
import math
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.background import Background, at_once
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.intake import arrivals, requests
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.daemon.spec import parse
from rekindle.daemon.transfer import transfer
from rekindle.jobs.job import Job
from rekindle.state import crash_points, durable
from rekindle.state.errors import (
    HomeUnusable,
    LedgerCorrupt,
    LedgerTooNew,
    RekindleError,
    SpecError,
)
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

SETTLE_S: Final = 0.1
"""A file this long unchanged whose spec is sound is taken."""
BROKEN_SETTLE_S: Final = 2.0
"""A file this long unchanged is refused where its spec is not sound: it may be half written."""

_AGAIN_S: Final = 2.0
_BATCH: Final = 64
"""So many specs share the waits for the disk; a kill in between repeats none of them."""


@dataclass(slots=True)
class Scan:
    """What one look at the inbox found.

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


@dataclass(frozen=True, slots=True)
class _Claim:
    """A file taken out of the inbox; ``dropped`` is unix time, where it is known."""

    path: Path
    token: str
    name: str
    dropped: float = math.inf


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A claimed file that is sound: its job and its content."""

    claim: _Claim
    job: Job
    data: bytes


class _Unsettled(Exception):
    """The file may still be written to."""


class Inbox:
    """The inbox of one home; the tick loop owns it.

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
        self._ledger = ledger
        self._snapshots = snapshots or Snapshots(home.sources, SourceLimits(), home.root)
        self._crash_point = crash_point
        self._log = structlog.get_logger()
        self._background = background
        self._copying: dict[str, _Parsed] = {}
        self._swept = False
        self._again_at = -math.inf
        self._told: dict[str, str] = {}
        self._unfinished = False

    def recover(self) -> None:
        """Finishes what an earlier daemon, or a full disk, had interrupted."""
        self._unfinished = False
        try:
            if not self._swept:
                self._snapshots.sweep()
                self._swept = True
            for run in sorted(self._home.runs.iterdir()):
                if run.name.startswith(".new-"):
                    # one that cannot be removed is in nobody's way: another number is taken
                    shutil.rmtree(run, ignore_errors=True)
                elif self._ledger.job(run.name) is None:
                    self._enter_guarded(run)
            claims = []
            for claimed in sorted(self._home.claimed.iterdir()):
                token, _, name = claimed.name.partition("--")
                if self._ledger.find_claim(token) is not None:
                    claimed.unlink()
                else:
                    claims.append(_Claim(claimed, token, name))
            self._decide(claims, Scan())
        except (LedgerCorrupt, LedgerTooNew):
            raise
        except Exception as error:
            self._interrupted(error)

    def scan(self, now: float, budget: float = math.inf) -> Scan:
        """Looks at every file once; never raises for what lies there.

        Args:
            now: unix time, seconds.
            budget: seconds after which specs are left for the next look, so that a daemon
                with ten thousand of them still answers requests and watches its attempts.
        """
        result = Scan()
        if not self._copying:
            self._snapshots.forget()
        if self._unfinished and time.monotonic() >= self._again_at:
            self.recover()
        try:
            entries = sorted(os.scandir(self._home.inbox), key=lambda entry: entry.name)
        except OSError as error:
            self._tell("inbox", f"The inbox cannot be read: {error.strerror}.")
            return result
        self._told.pop("inbox", None)
        began = time.monotonic()
        rejected = str(self._home.rejected)
        claims: list[_Claim] = []
        for entry in entries:
            if (result.more or self._unfinished) and not entry.name.endswith(requests.SUFFIX):
                continue  # requests behind it are still collected
            if arrivals.is_temporary(entry.name) or entry.path == rejected:
                continue
            if entry.name.endswith(requests.SUFFIX):
                result.requests.append(Path(entry.path))
                continue
            # a batch that was begun is filled: it waits for the disk once
            if not claims and time.monotonic() - began > budget:
                result.more = True
                continue
            try:
                claims.append(self._claim(Path(entry.path), entry.stat(follow_symlinks=False), now))
                self._told.pop(entry.name, None)
            except _Unsettled:
                result.settling = True
            except FileNotFoundError:
                continue  # taken back by whoever dropped it
            except OSError as error:
                self._tell(entry.name, f"{entry.name} stays in the inbox: {error.strerror}.")
            if len(claims) == _BATCH:
                self._decide_guarded(claims, result)
                claims = []
        self._decide_guarded(claims, result)
        result.more = result.more or any(map(self._is_copied, self._copying))
        return result

    def pending(self) -> bool:
        """Whether files lie there that a scan would take."""
        return self._unfinished or bool(self._copying) or bool(arrivals.waiting(self._home))

    def reject(self, path: Path, what: str, *, hint: str) -> Path:
        """Moves a file to ``rejected/`` beside a text that says why; overwrites nothing."""
        return self._reject(path, path.name, RekindleError(what, where=path.name, hint=hint))

    def _claim(self, path: Path, info: os.stat_result, now: float) -> "_Claim":
        problem = _unusable(path.name, info)
        age = now - max(info.st_mtime, info.st_ctime)
        # a clock that was set back gives ages below zero: those have settled as well
        if 0 <= age < SETTLE_S:
            raise _Unsettled
        if problem is None and 0 <= age < BROKEN_SETTLE_S:
            try:
                parse.parse(_read(path), path.name, self._home.inbox)
            except Exception:  # what is wrong is told once it has settled and is claimed
                raise _Unsettled from None
        token = f"{time.time_ns():x}-{info.st_ino:x}"
        claimed = self._home.claimed / f"{token}--{path.name}"
        self._crash_point("before_claim")
        os.rename(path, claimed)
        self._crash_point("claimed")
        return _Claim(claimed, token, path.name, max(info.st_mtime, info.st_ctime))

    def _decide_guarded(self, claims: "list[_Claim]", result: Scan) -> None:
        try:
            self._decide(claims, result)
            self._told.pop("claimed", None)
        except Exception as error:  # whatever it is: they are found again as claims
            self._interrupted(error)

    def _interrupted(self, error: Exception) -> None:
        """What was claimed stays claimed; the next scan goes on with it."""
        self._unfinished = True
        if self._background is not None:
            # its end wakes the loop: without a pause a full disk would keep both busy
            self._again_at = time.monotonic() + _AGAIN_S
        self._tell(
            "claimed",
            f"Specs cannot be accepted now: {error}. They are kept, and it is tried again.",
        )

    def _decide(self, claims: "list[_Claim]", result: Scan) -> None:
        """Accepts or refuses claimed files, many with few waits for the disk."""
        ready: list[_Parsed] = []
        for claim in claims:
            if claim.token in self._copying:
                continue
            try:
                parsed = _Parsed(claim, *_parse(claim, self._home.inbox))
                needed = self._snapshots.needed(parsed.job)
            except (OSError, MemoryError):
                raise  # the home is in trouble, and not this spec
            except Exception as error:
                self._refuse(claim, error, result)
                continue
            if needed:
                self._copying[claim.token] = parsed
            else:
                ready.append(parsed)
        ready += self._copied(result)
        made: list[tuple[_Claim, Job, Path]] = []
        for parsed in ready:
            try:
                made.append((parsed.claim, *self._make_run(parsed)))
            except (OSError, MemoryError, sqlite3.Error, HomeUnusable):
                raise
            except Exception as error:
                self._refuse(parsed.claim, error, result)
        if not made:
            return
        durable.fsync_all([path for _, _, new in made for path in (*_files(new), new)])
        self._crash_point("before_accept")
        for _, job, new in made:
            os.rename(new, self._home.runs / job.id)
        durable.fsync_folder(self._home.runs)
        self._crash_point("accepted")
        with self._ledger.transaction():
            for _, job, _ in made:
                self._insert(job, self._home.runs / job.id)
        self._crash_point("known")
        for claim, job, _ in made:
            claim.path.unlink()
            result.accepted.append(job.id)
            self._log.info("job_accepted", job=job.id, file=claim.name)
        self._crash_point("finished")

    def _copied(self, result: Scan) -> "list[_Parsed]":
        """Specs whose code has been copied meanwhile; begins to copy that of the others."""
        ready: list[_Parsed] = []
        for token, parsed in [*self._copying.items()]:
            if len(ready) >= _BATCH:
                break
            work = functools.partial(self._snapshots.take, parsed.job, parsed.claim.dropped)
            outcome = (
                at_once(work)
                if self._background is None
                else self._background.ask(("snapshot", token), work)
            )
            if outcome is None:
                continue
            del self._copying[token]
            try:
                ready.append(replace(parsed, job=parsed.job.replace(source=outcome.get())))
            except (OSError, MemoryError):
                raise  # it stays claimed
            except Exception as error:
                self._refuse(parsed.claim, error, result)
        return ready

    def _is_copied(self, token: str) -> bool:
        return self._background is not None and self._background.has_ended(("snapshot", token))

    def _refuse(self, claim: _Claim, error: Exception, result: Scan) -> None:
        self._reject(claim.path, claim.name, self._refusal(claim.name, error))
        result.rejected.append(claim.name)

    def _refusal(self, name: str, error: Exception) -> RekindleError:
        if isinstance(error, RekindleError):
            return error
        self._log.exception("spec_not_understood", file=name)
        return SpecError(
            f"It could not be accepted: {type(error).__name__}: {error}.",
            where=name,
            hint="This is a mistake in rekindle; the daemon's log says where. Other "
            "specs are not concerned.",
        )

    def _make_run(self, parsed: "_Parsed") -> tuple[Job, Path]:
        """Builds a run directory under a temporary name; nothing of it is fsynced yet."""
        job, claim, data = parsed.job, parsed.claim, parsed.data
        number = self._ledger.highest_number(job.name) + 1
        while any(
            os.path.lexists(f"{self._home.runs}/{hidden}{job.name}-{number}")
            for hidden in ("", ".new-")
        ):
            number += 1
        job = job.replace(id=f"{job.name}-{number}", claim=claim.token, submitted_at=time.time())
        new = self._home.runs / f".new-{job.id}"
        new.mkdir(mode=0o750)
        durable.write_new(new / f"spec{Path(claim.name).suffix}", data, 0o600)
        durable.write_new(new / "job.json", job.to_json().encode(), 0o600)
        if job.source is not None:
            os.symlink(self._snapshots.place(job.source), new / "source")
        return job, new

    def _enter_guarded(self, run: Path) -> None:
        """One run that cannot be made known keeps no spec of others from being accepted."""
        try:
            self._enter(run)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._tell(
                run.name,
                f"The run directory {run.name} cannot be made known to the "
                f"ledger: {type(error).__name__}: {error}",
            )

    def _enter(self, run: Path) -> None:
        """Makes an accepted run known to the ledger."""
        try:
            job = Job.read(run / "job.json")
        except (OSError, SpecError) as error:
            self._tell(run.name, f"The run directory {run.name} holds no accepted job: {error}")
            return
        if (run / "journal.jsonl").exists():
            # it came from another box, and a crash was faster than the ledger
            transfer.enter(self._home, self._ledger, job)
            return
        self._insert(job, run)

    def _insert(self, job: Job, run: Path) -> None:
        self._ledger.insert_job(
            job.id,
            name=job.name,
            number=int(job.id.rpartition("-")[2]),
            run_dir=str(run),
            priority=job.priority,
            spec=job.to_json(secrets=False),
            claim=job.claim,
            submitted_at=job.submitted_at or (run / "job.json").stat().st_mtime,
        )

    def _reject(self, claimed: Path, name: str, error: RekindleError) -> Path:
        # somebody may have removed the inbox with all that was in it
        self._home.rejected.mkdir(mode=0o2770, parents=True, exist_ok=True)
        target = self._home.rejected / name
        n = 1
        while os.path.lexists(target):
            n += 1
            stem, suffix = os.path.splitext(name)
            target = self._home.rejected / f"{stem}-{n}{suffix}"
        inode = claimed.lstat().st_ino
        # a file's name may have bytes that are no text
        durable.write_bytes(
            target.with_name(f"{target.name}.error.txt"),
            f"{error}\n".encode(errors="backslashreplace"),
            0o640,
            shared=True,
        )
        self._crash_point("explained")
        os.rename(claimed, target)
        self._crash_point("refused")
        self._ledger.add_event(
            "spec_rejected",
            data={"file": target.name, "inode": inode, "error": error.what, "hint": error.hint},
        )
        self._log.warning("spec_rejected", file=name, error=error.what, hint=error.hint)
        return target

    def _tell(self, name: str, message: str) -> None:
        """Once per name and message, not at every scan."""
        if self._told.get(name) != message:
            self._told[name] = message
            self._log.error("inbox_trouble", message=message)


def _unusable(name: str, info: os.stat_result) -> SpecError | None:
    """What is wrong with a file before anything of it is read."""
    if stat.S_ISLNK(info.st_mode):
        what, hint = "A symbolic link is no spec.", "Copy the file itself into the inbox."
    elif not stat.S_ISREG(info.st_mode):
        what, hint = "It is not a regular file.", "Drop spec files only."
    elif info.st_nlink > 1:
        what, hint = (
            "The file has a second name (a hard link).",
            "Copy it into the inbox, so that nobody changes it afterwards.",
        )
    elif info.st_size > parse.MAX_BYTES:
        what, hint = (
            f"The file has {info.st_size} bytes.",
            "A spec has at most 1 MiB; data belongs into files of its own.",
        )
    elif not name.endswith(parse.SUFFIXES):
        what, hint = (
            "The file's ending is not one of a spec.",
            f"Name it *{', *'.join(parse.SUFFIXES)}.",
        )
    else:
        return None
    return SpecError(what, where=name, hint=hint)


def _parse(claim: _Claim, base: Path) -> tuple[Job, bytes]:
    """The job of a claimed file, and the file's content.

    Raises:
        SpecError: it is not sound, or cannot be read.
        OSError: it is gone, or the machine lacks something just now.
    """
    try:
        problem = _unusable(claim.name, claim.path.lstat())
        if problem is not None:
            raise problem
        data = _read(claim.path)
        return parse.parse(data, claim.name, base), data
    except OSError as error:
        if isinstance(error, FileNotFoundError) or errors.is_scarce(error):
            raise
        raise SpecError(
            f"It cannot be read: {error.strerror}.",
            where=claim.name,
            hint="Mend that, and hand it in once more.",
        ) from error


def _files(folder: Path) -> list[Path]:
    return [
        Path(entry.path) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)
    ]


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise SpecError(
            "The file cannot be read by the daemon.",
            where=path.name,
            hint="Give its group the right to read it: chmod g+r.",
        ) from error
    with os.fdopen(fd, "rb") as file:
        problem = _unusable(path.name, os.fstat(file.fileno()))
        if problem is not None:
            raise problem
        return file.read(parse.MAX_BYTES + 1)
