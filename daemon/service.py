"""The service: puts the parts together and turns one tick after the other.

A tick looks at everything that may have changed and is safe to repeat at any moment: what
a signal, a file event or a restart interrupted is simply found again.
"""

import fcntl
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import FrameType

import structlog

from rekindle.daemon import log, presence, requests, scheduler, systemd
from rekindle.daemon.answers import Answers
from rekindle.daemon.attempts import Attempts
from rekindle.daemon.config import Config
from rekindle.daemon.inbox import SETTLE_S, Inbox
from rekindle.daemon.launcher import Launcher
from rekindle.daemon.snapshot import Snapshots
from rekindle.daemon.watch import Watcher
from rekindle.state.errors import HomeUnusable, LockHeld
from rekindle.state.ledger import Ledger
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Home


@dataclass(frozen=True, slots=True)
class Options:
    """How the daemon runs.

    Attributes:
        until_idle: end when no job is left that could go on by itself.
        slots: how many attempts may run at once.
        tick: seconds between two looks at running attempts.
        rescan: seconds between two looks at the inbox without an event.
        log_format: one of :data:`rekindle.daemon.log.FORMATS`.
        config: what `rekindle.toml` says.
    """

    until_idle: bool = False
    slots: int = 1
    tick: float = 0.25
    rescan: float = 5.0
    log_format: str = "auto"
    config: Config = field(default_factory=Config)


def run(home: Home, options: Options) -> int:
    """Runs the daemon until SIGTERM, SIGINT or, if asked for, until nothing is left to do.

    Returns:
        0. Attempts that ran were asked to save and have ended.

    Raises:
        LockHeld: another daemon serves this home.
        LedgerCorrupt, LedgerTooNew, HomeUnusable: the home cannot be served.
    """
    log.configure(options.log_format)
    home.create()
    lock = _lock(home)
    try:
        return Service(home, options).run()
    finally:
        os.close(lock)


class Service:
    """One daemon over one home."""

    def __init__(self, home: Home, options: Options) -> None:
        self._home = home
        self._options = options
        self._wake = threading.Event()
        self._stopping = False
        self._last_start: float | None = None
        self._next_scan = 0.0
        self._log = structlog.get_logger()
        self._ledger = Ledger.open(home.ledger)
        self._attempts = Attempts(home, self._ledger, Launcher())
        self._answers = Answers(home, self._ledger, self._attempts)
        self._inbox = Inbox(home, self._ledger, Snapshots(
            home.sources, options.config.source, home.root))
        self._watcher = Watcher(home.inbox, self._wake)

    def run(self) -> int:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        self._watcher.start()
        try:
            self._inbox.recover()
            self._attempts.adopt()
            presence.announce(self._home, _version())
            self._log.info("daemon_started", home=str(self._home.root), version=_version(),
                           slots=self._options.slots)
            systemd.notify("READY=1")
            while not self._finished():
                self.tick()
                self._wake.wait(self._pause())
        finally:
            self._watcher.stop()
            self._ledger.close()
        self._log.info("daemon_ended")
        return 0

    def tick(self) -> None:
        """One look at everything."""
        if self._wake.is_set() or time.monotonic() >= self._next_scan:
            self._wake.clear()
            self._scan_inbox()
        self._attempts.watch()
        if self._stopping:
            systemd.notify("WATCHDOG=1")
            return
        self._start_next()
        systemd.notify("WATCHDOG=1")

    def _scan_inbox(self) -> None:
        self._next_scan = time.monotonic() + self._options.rescan
        self._watcher.ensure()
        scan = self._inbox.scan(time.time())
        if scan.settling:
            # a file that is still being written: look again soon, without an event
            self._next_scan = time.monotonic() + SETTLE_S / 2
        for path in scan.requests:
            self._answer(path)

    def _answer(self, path: os.PathLike[str]) -> None:
        try:
            request = requests.read(self._home.inbox / path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._inbox.reject(self._home.inbox / path, f"It is not a request: {error}.",
                               hint="Use the verbs of `rekindle`; they write requests.")
            return
        self._answers.carry_out(request)
        request.file.unlink(missing_ok=True)

    def _start_next(self) -> None:
        jobs = self._ledger.jobs(states={JobState.QUEUED, JobState.WAITING, *ACTIVE})
        chosen = scheduler.choose(
            [scheduler.Candidate(job.id, job.priority, job.submitted_at, job.next_at)
             for job in jobs if job.state not in ACTIVE],
            running=sum(job.state in ACTIVE for job in jobs),
            slots=self._options.slots,
            now=time.time(),
            last_start=self._last_start,
        )
        if chosen is None:
            return
        self._last_start = time.time()
        self._attempts.start(next(job for job in jobs if job.id == chosen.id))

    def _pause(self) -> float:
        """Seconds to the next tick; long when nothing runs and nothing waits."""
        if self._stopping or self._ledger.count(states={
                JobState.QUEUED, JobState.WAITING, *ACTIVE}):
            return max(min(self._next_scan - time.monotonic(), self._options.tick), 0.01)
        return max(min(self._next_scan - time.monotonic(), self._options.rescan), 0.01)

    def _finished(self) -> bool:
        if self._stopping:
            if self._attempts.active():
                return False
            systemd.notify("STOPPING=1")
            return True
        if not self._options.until_idle or self._next_scan == 0.0:
            return False
        open_jobs = {JobState.QUEUED, JobState.WAITING, *ACTIVE}
        return not self._ledger.count(states=open_jobs) and not self._inbox.pending()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            self._attempts.daemon_stopping = True
        self._wake.set()


def _lock(home: Home) -> int:
    try:
        fd = os.open(home.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise HomeUnusable(f"The daemon's lock cannot be opened: {error.strerror}.",
                           where=home.daemon_lock,
                           hint="Run as the user that owns the home.") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise LockHeld("Another daemon serves this home already.", where=home.daemon_lock,
                       hint="Use that one, stop it first, or choose another home with --home."
                       ) from error
    return fd


def _version() -> str:
    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "0"
