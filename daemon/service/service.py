"""The service: puts the parts together and turns one tick after the other.

A tick looks at everything that may have changed and is safe to repeat at any moment: what
a signal, a file event or a restart interrupted is simply found again.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Final, TypeVar

import structlog

from rekindle.daemon import daemon_status, log
from rekindle.daemon.attempts import escalation, preflight
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.config import Config
from rekindle.daemon.intake.inbox import SETTLE_S, Inbox
from rekindle.daemon.intake.watch import Watcher
from rekindle.daemon.queueing.gpus import Monitor
from rekindle.daemon.queueing.pool import Pool
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.queueing.queue_file import QueueFile
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.service import preemption, sd_notify, shutdown
from rekindle.daemon.service.background import Background
from rekindle.daemon.service.clock import TOLERANCE_S, Clock
from rekindle.daemon.service.handlers import Answers
from rekindle.daemon.service.reaper import Reaper
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.jobs import environment
from rekindle.jobs.job import Limits
from rekindle.state import lock
from rekindle.state.errors import HomeUnusable, LedgerCorrupt, LedgerTooNew
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Home

T = TypeVar("T")
_SCAN_BUDGET_S: Final = 0.25
"""So long specs are accepted before requests and attempts have their turn."""
_SCAN_MOST_S: Final = 2.0
_DISK_LOOK_S: Final = 10.0
_LEDGER_WAIT_S: Final = 1.0
"""What one tick may wait, all in all, for other clients of the ledger."""
_STOP_MARGIN_S: Final = 5.0
"""Beyond the bound of the slowest attempt, for a tick that takes long."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the daemon runs.

    Attributes:
        until_idle: end when no job is left that could go on by itself.
        slots: how many jobs may run at once that need no GPU.
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
    # keepers inherit them; they may outlive this daemon
    os.environ[environment.LOG_MAX_BYTES] = str(options.config.logs.max_bytes)
    os.environ[environment.LOG_KEEP] = str(options.config.logs.keep)
    _when_there_is_room(home, home.create)
    held = _when_there_is_room(
        home,
        lambda: daemon_status.take_lock(
            home, "Use that one, stop it first, or choose another home with --home."
        ),
    )
    try:
        return _when_there_is_room(home, lambda: Service(home, options)).run()
    finally:
        lock.release(held)


def _when_there_is_room(home: Home, step: Callable[[], T]) -> T:
    """Carry out a step of the start; on a full disk wait for space, as a service that is up.

    Ending would be final: what cannot use its home is not started again by systemd. SIGTERM ends
    the wait, for there is nothing to save yet.

    Raises:
        HomeUnusable, OSError: it is not for want of space.
    """
    lifeline = sd_notify.Lifeline()
    told = second = False
    while True:
        try:
            return step()
        except (OSError, HomeUnusable):
            if not preflight.is_full(home.root):
                if second:
                    raise
                second = True  # there may be space since a moment ago
                continue
        second = False
        if not told:
            told = True
            structlog.get_logger().warning(
                "start_waits_for_space",
                home=str(home.root),
                hint="`rekindle prune --yes` removes checkpoints that are not needed.",
            )
            sd_notify.notify("READY=1")
        lifeline.tick_was_good(time.monotonic(), "Waiting for space on the disk of the home")
        time.sleep(1.0)


class Service:
    """One daemon over one home."""

    def __init__(self, home: Home, options: Options) -> None:
        self._home = home
        self._options = options
        self._wake = threading.Event()
        self._stop: shutdown.Stop | None = None
        self._stop_by: float | None = None
        self._told: int | None = None
        self._background = Background(self._wake.set)
        self._stopping_said = False
        self._lifeline = sd_notify.Lifeline()
        self._reaper = Reaper()
        self._troubled: dict[str, str] = {}
        self._clock = Clock(time.time(), time.monotonic())
        self._next_disk = 0.0
        self._short: str | None = None
        self._leaving: str | None = None
        self._notices = preemption.Notices(options.config.preemption, self._wake)
        self._next_scan = 0.0
        self._scan_left: float | None = None
        self._log = structlog.get_logger()
        self._ledger = Ledger.open(home.ledger)
        self._attempts = Attempts(home, self._ledger, Launcher(), background=self._background)
        self._pruning = Pruning(home, self._ledger, options.config.retention, self._attempts)
        file = QueueFile(home)
        self._monitor = Monitor(os.environ.get("CUDA_VISIBLE_DEVICES"))
        pool = Pool(self._ledger, self._monitor, file, free_share=options.config.gpus.free_memory)
        self._queue = Queue(self._ledger, self._attempts, pool, file, slots=options.slots)
        self._answers = Answers(home, self._ledger, self._attempts, self._pruning, self._queue)
        self._inbox = Inbox(
            home,
            self._ledger,
            Snapshots(home.sources, options.config.source, home.root),
            background=Background(self._wake.set, most=1),
        )
        self._watcher = Watcher(home.inbox, self._wake)
        self._to_begin: list[tuple[str, Callable[[], object]]] = [
            ("clock at the start", self._mend_clock_at_start),
            ("claims", self._inbox.recover),
            (
                "adoption",
                lambda: self._attempts.adopt(daemon_was_killed=daemon_status.was_killed(home)),
            ),
            ("pruned", self._pruning.catch_up),
            ("queue at the start", self._queue.load),
            ("presence", lambda: daemon_status.announce(home, _version())),
        ]

    def run(self) -> int:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(signum, self._on_signal)
        # a hang is told with the place where it hung: the watchdog sends SIGABRT
        faulthandler.enable()
        self._watcher.start()
        self._notices.start()
        self._monitor.start()
        try:
            self._begin()
            self._log.info(
                "daemon_started",
                home=str(self._home.root),
                version=_version(),
                slots=self._options.slots,
            )
            sd_notify.notify("READY=1")
            while not (self._is_overdue() or self._guarded("finished", self._finished)):
                self.tick()
                self._wake.wait(self._guarded("pause", self._pause) or self._options.tick)
        finally:
            self._notices.stop()
            self._watcher.stop()
            self._pruning.close()
            self._monitor.stop()
            self._ledger.close()
        if not self._to_begin:
            daemon_status.withdraw(self._home)
        self._log.info("daemon_ended")
        return 0

    def _begin(self) -> bool:
        """Carry out what a start needs, in its order; what fails is repeated at the next tick.

        Raises:
            LedgerCorrupt, LedgerTooNew: no later tick can succeed.
        """
        while self._to_begin:
            what, step = self._to_begin[0]
            try:
                step()
            except (LedgerCorrupt, LedgerTooNew):
                raise
            except Exception as error:
                self._tell_trouble(what, error)
                return False
            self._told_no_trouble(what)
            del self._to_begin[0]
        return True

    def tick(self) -> None:
        """One look at everything; what fails is told, and tried again at the next."""
        self._guarded("ledger", lambda: self._ledger.allow_wait(_LEDGER_WAIT_S))
        if self._told is not None and self._stop is None:
            self._guarded("stop", lambda: self._begin_to_stop(self._told))
        begun = self._begin()
        if self._stop is not shutdown.Stop.LEAVE_RUNNING:
            self._guarded("clock", self._mend_clock)
            if self._wake.is_set() or time.monotonic() >= self._next_scan:
                self._wake.clear()
                self._guarded("inbox", self._scan_inbox)
            self._guarded("preemption", self._look_for_notice)
            self._guarded("attempts", self._attempts.watch)
            self._guarded("disk", self._look_at_disk)
            self._guarded("pruning", self._pruning.tick)
            if begun and self._told is None and self._leaving is None:
                self._guarded("queue", self._queue.tick)
        self._guarded("orphans", lambda: self._reaper.tick(time.monotonic()))
        if self._stop_by is not None and time.monotonic() < self._stop_by:
            # trainers save, each within a bound
            self._lifeline.more_time(time.monotonic())
        # a tick in trouble is one that went round: a restart would not mend a full disk
        self._lifeline.tick_was_good(time.monotonic(), self._guarded("status", self._status) or "")

    def _guarded(self, what: str, part: Callable[[], T]) -> T | None:
        """A full disk or a defect in one part must not end the service; told once each."""
        try:
            result = part()
        except Exception as error:
            self._tell_trouble(what, error)
            return None
        self._told_no_trouble(what)
        return result

    def _tell_trouble(self, what: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._troubled.get(what) != text:
            self._troubled[what] = text
            self._log.error("service_in_trouble", part=what, error=text, exc_info=error)

    def _told_no_trouble(self, what: str) -> None:
        if self._troubled.pop(what, None) is not None:
            self._log.info("service_out_of_trouble", part=what)

    def _begin_to_stop(self, signum: int | None) -> None:
        """Decide what the signal means; systemd may answer late, and nothing starts meanwhile."""
        assert signum is not None
        if not self._stopping_said:
            sd_notify.notify("STOPPING=1", sd_notify.MORE_TIME)
            self._stopping_said = True
        outcome = self._background.ask(
            "stop", lambda: shutdown.decide(signum, shutdown.own_unit(), shutdown.systemctl)
        )
        if outcome is None:
            return
        # where nobody can say what was meant, what runs is saved
        self._stop = shutdown.Stop.SAVE_ALL if outcome.error else outcome.get()
        self._log.info(
            "daemon_told_to_end", signal=signal.Signals(signum).name, trainings=self._stop.value
        )
        if self._stop is shutdown.Stop.SAVE_ALL:
            self._attempts.daemon_stopping = True
            longest = self._guarded("bound", self._attempts.longest_end)
            self._stop_by = (
                time.monotonic()
                + _STOP_MARGIN_S
                + (Limits().stop_grace + escalation.LONGEST_S if longest is None else longest)
            )

    def _look_for_notice(self) -> None:
        """A machine that will be taken away saves now and starts nothing until told otherwise."""
        source = self._notices.in_force()
        if source == self._leaving:
            return
        was, self._leaving = self._leaving, source
        self._attempts.machine_leaving = source is not None
        if was is None or source is None:
            kind = "preemption_noticed" if source else "preemption_lifted"
            self._log.warning(kind, source=source or was)
            self._ledger.add_event(kind, data={"source": source or was})

    def _look_at_disk(self) -> None:
        """Says once that the home's disk is full, and once that it is not any more."""
        if time.monotonic() < self._next_disk:
            return
        self._next_disk = time.monotonic() + _DISK_LOOK_S
        short = preflight.disk(self._home.root)
        before, self._short = self._short, short
        if bool(short) != bool(before):
            kind = "disk_full" if short else "disk_has_room"
            self._log.warning(kind, home=str(self._home.root), message=short)
            self._ledger.add_event(kind, data={"message": short})

    def _mend_clock(self) -> None:
        jump = self._clock.jump(time.time(), time.monotonic())
        if jump:
            self._note_jump(jump)

    def _mend_clock_at_start(self) -> None:
        """A ledger from the future: the clock was set back while no daemon ran."""
        latest = self._ledger.latest_change()
        if latest is not None and latest - time.time() > TOLERANCE_S:
            self._guarded("clock", lambda: self._note_jump(time.time() - latest))

    def _note_jump(self, jump: float) -> None:
        self._log.warning("clock_jumped", seconds=round(jump, 1))
        if jump < 0:
            self._ledger.set_clock_back(-jump)
        self._ledger.add_event("clock_jumped", data={"seconds": round(jump, 1)})

    def _scan_inbox(self) -> None:
        self._next_scan = time.monotonic() + self._options.rescan
        self._watcher.ensure()
        budget = _SCAN_BUDGET_S
        if self._scan_left is not None:
            # with thousands of jobs the rest of a tick takes its time: specs get twice as much
            budget = min(max(budget, 2 * (time.monotonic() - self._scan_left)), _SCAN_MOST_S)
        scan = self._inbox.scan(time.time(), budget)
        self._scan_left = time.monotonic() if scan.more else None
        if scan.more:
            self._next_scan = time.monotonic()
        elif scan.settling:
            # a file that is still being written: look again soon, without an event
            self._next_scan = time.monotonic() + SETTLE_S / 2
        if scan.requests or "requests" in self._troubled:
            self._guarded(
                "requests", lambda: self._answers.answer(scan.requests, self._inbox.reject)
            )

    def _status(self) -> str:
        """One line for `systemctl status`."""
        running, queued, held = (
            self._ledger.count(states=states)
            for states in (ACTIVE, {JobState.QUEUED, JobState.WAITING}, {JobState.HELD})
        )
        line = f"{running} running, {queued} queued or waiting, {held} held"
        trouble = f"; trouble with: {', '.join(self._troubled)}" if self._troubled else ""
        return f"{'Stopping: trainers save. ' if self._stop else ''}{line}{trouble}"

    def _pause(self) -> float:
        """Seconds to the next tick; long when nothing runs and nothing waits."""
        busy = self._stop or self._queue.busy()
        longest = self._options.tick if busy else self._options.rescan
        if self._lifeline.interval is not None:
            longest = min(longest, self._lifeline.interval)
        return max(min(self._next_scan - time.monotonic(), longest), 0.01)

    def _finished(self) -> bool:
        if self._stop is not None:
            if self._stop is shutdown.Stop.LEAVE_RUNNING:
                return True
            if not self._attempts.all_ended():
                return False
            # what cannot be settled even now is left to the next daemon
            self._attempts.watch()
            return True
        if not self._options.until_idle or self._next_scan == 0.0 or self._to_begin:
            return False
        return self._queue.idle() and not (self._inbox.pending() or self._pruning.busy)

    def _is_overdue(self) -> bool:
        """Whether the time in which every attempt ends or is given up has passed, come what may."""
        if self._stop_by is None or time.monotonic() < self._stop_by:
            return False
        left = self._guarded("attempts", self._attempts.left)
        self._log.error("daemon_ends_before_trainings", jobs=left)
        return True

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGUSR2:
            self._notices.signal()
        elif self._told is None:
            self._told = signum
        self._wake.set()


def _version() -> str:
    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "0"
