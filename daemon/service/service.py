"""Assemble the parts of the daemon, and give each its turn in every tick.

A tick looks at everything that may have changed and can be repeated at any moment: what a
signal, a file event or a restart interrupted is found again.
"""

import contextlib
import faulthandler
import functools
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

import structlog

from rekindle.daemon import daemon_status, log, service_record
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.background import Background
from rekindle.daemon.checks.checks import Checks
from rekindle.daemon.config import Config
from rekindle.daemon.gpus.monitor import Monitor
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.handlers.dispatcher import Dispatcher
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.intake.inbox import Inbox
from rekindle.daemon.intake.watch import Watcher
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.notify.notifier import Notifier
from rekindle.daemon.queue_file import QueueFile
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.service import sd_notify
from rekindle.daemon.service.clock import ClockWatch
from rekindle.daemon.service.disk import DiskWatch
from rekindle.daemon.service.inbox_scan import InboxScan
from rekindle.daemon.service.part import Call, Part
from rekindle.daemon.service.preemption import Notices, PreemptionWatch
from rekindle.daemon.service.reaper import Reaper
from rekindle.daemon.service.shutdown import Shutdown
from rekindle.daemon.service.startup import Startup, Step, when_there_is_room
from rekindle.daemon.service.status import LogWatch, StatusReport, ThreadWatch
from rekindle.daemon.service.workload import Workload
from rekindle.daemon.source.present_code import PresentCode
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.daemon.spares.spares import Spares
from rekindle.daemon.spares.standbys import Standbys
from rekindle.jobs import environment, provenance
from rekindle.state import lock
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_LEDGER_WAIT_S: Final = 1.0
"""Total time that one tick may wait for other clients of the ledger."""
_TREES: Final = 8
"""Number of trees of code that are copied at once: one on a dead file server blocks its thread."""


@dataclass(frozen=True, slots=True)
class Options:
    """Hold the options of the daemon.

    Attributes:
        until_idle: end when no job is left that could continue by itself.
        slots: how many jobs without a GPU may run at once.
        tick: seconds between two looks at running attempts.
        rescan: seconds between two scans of the inbox without an event.
        log_format: one of :data:`rekindle.daemon.log.FORMATS`.
        config: the settings of `rekindle.toml`.
    """

    until_idle: bool = False
    slots: int = 1
    tick: float = 0.25
    rescan: float = 5.0
    log_format: str = "auto"
    config: Config = field(default_factory=Config)


class Service:
    """Serve one home."""

    def __init__(
        self,
        home: Home,
        options: Options,
        log_dropped: Callable[[], log.Dropped | None] = log.no_loss,
    ) -> None:
        self._home = home
        self._options = options
        self._wake = threading.Event()
        self._isolation = Isolation("part", "service_in_trouble", "service_out_of_trouble")
        self._closing = contextlib.ExitStack()
        lifeline = sd_notify.Lifeline()
        background = Background(self._wake.set)
        ledger = Ledger.open(home.ledger)
        self._closing.callback(ledger.close)
        standbys = Standbys()
        self._closing.callback(standbys.close)
        attempts = Attempts(home, ledger, Launcher(standbys), background=background)
        spares = Spares(home, ledger, standbys, wanted=options.config.daemon.warm_spares)
        pruning = Pruning(home, ledger, options.config.retention, attempts)
        self._closing.callback(pruning.close)
        file = QueueFile(home)
        gpus = options.config.gpus
        monitor = Monitor(
            os.environ.get("CUDA_VISIBLE_DEVICES"), silent=gpus.silent, known=len(file.now.known)
        )
        pool = Pool(ledger, monitor, file, free_share=gpus.free_memory, slow_after=gpus.slow_after)
        limits = options.config.per_user
        queue = Queue(ledger, attempts, pool, file, slots=options.slots, limits=limits)
        checks = Checks(home, ledger, Background(self._wake.set, most=1))
        snapshots = Snapshots(home.sources, options.config.source, home.root)
        copying = Background(self._wake.set, most=_TREES)
        inbox = Inbox(home, ledger, snapshots, background=copying, max_waiting=limits.max_waiting)
        self._closing.callback(inbox.close)
        watcher = Watcher(home.inbox, self._wake)
        self._notices = Notices(options.config.preemption, self._wake)
        self._threads = (watcher, self._notices, monitor)
        clock = ClockWatch(ledger, self._isolation)
        scan = InboxScan(
            inbox,
            watcher,
            Dispatcher(
                Tools(
                    home,
                    ledger,
                    attempts,
                    pruning,
                    queue,
                    checks,
                    PresentCode(snapshots, copying),
                    Background(self._wake.set),
                    limits.max_waiting,
                )
            ),
            self._isolation,
            wake=self._wake,
            rescan=options.rescan,
        )
        preemption = PreemptionWatch(self._notices, attempts, ledger)
        was_killed = daemon_status.was_killed
        self._startup = Startup(
            (
                Step("clock at the start", clock.compare_with_ledger),
                Step("claims", inbox.recover),
                Step("adoption", lambda: attempts.adopt(daemon_was_killed=was_killed(home))),
                Step("pruned", pruning.catch_up),
                Step("queue at the start", queue.load),
                # a full collection over ten thousand jobs would stop a tick for 150 ms
                Step("memory", gc.freeze),
                Step("presence", lambda: daemon_status.announce(home, provenance.own_version())),
                Step(
                    "service record", lambda: service_record.publish(home, provenance.own_version())
                ),
            ),
            self._isolation,
        )
        self._notifier = Notifier(home, ledger, options.config.notify, self._wake.set)
        self._shutdown = Shutdown(attempts, background, self._isolation)
        wait = lifeline.interval or options.rescan

        def may_start() -> bool:
            return not (self._shutdown.requested or preemption.in_force or not self._startup.done)

        self._workload = Workload(
            queue,
            attempts,
            scan,
            pruning,
            self._startup,
            self._isolation,
            may_start=may_start,
            busy_pause=min(options.tick, wait),
            idle_pause=min(options.rescan, wait),
        )
        self._parts: tuple[Part, ...] = (
            Call("ledger", lambda: ledger.allow_wait(_LEDGER_WAIT_S), serves=False),
            self._shutdown,
            self._startup,
            clock,
            scan,
            Call("late writes", lambda: inbox.check_accepted(time.monotonic())),
            ThreadWatch(self._notices.threads, ledger, self._isolation),
            preemption,
            Call("GPUs", queue.watch_gpus, when=lambda: self._startup.done),
            Call("attempts", attempts.watch),
            Call("spares", spares.tick, when=may_start),
            DiskWatch(home, ledger),
            self._notifier,
            Call("pruning", pruning.tick),
            Call("checks", checks.tick),
            Call("queue", queue.tick, when=may_start),
            Reaper(),
            LogWatch(log_dropped, ledger),
            StatusReport(lifeline, ledger, self._shutdown, self._isolation),
        )

    def run(self) -> int:
        """Serve until a signal asks for the end or, with ``until_idle``, until no work is left."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(signum, self._on_signal)
        # the watchdog ends a hung daemon with SIGABRT: its stacks are then logged
        faulthandler.enable(2)
        logger = structlog.get_logger()
        with self._closing as closing:
            for thread in self._threads:
                closing.callback(thread.stop)
                self._isolation.run("threads", thread.start)
            self._startup.tick(time.monotonic())
            logger.info(
                "daemon_started",
                home=str(self._home.root),
                version=provenance.own_version(),
                slots=self._options.slots,
            )
            sd_notify.notify("READY=1")
            while not self._must_end():
                self.tick()
                self._wake.wait(self._isolation.run("pause", self._pause) or self._options.tick)
            # where no other daemon is to follow, all is sent now
            is_last = self._options.until_idle and not self._shutdown.requested
            self._isolation.run(
                "notifications", self._notifier.flush if is_last else self._notifier.finish
            )
        if self._startup.done:
            daemon_status.withdraw(self._home)
        logger.info("daemon_ended")
        return 0

    def tick(self) -> None:
        """Give every part its turn; one that fails is reported, and retried at the next tick."""
        for part in self._parts:
            if part.serves and self._shutdown.leaves_running:
                continue
            now = time.monotonic()
            if part.is_due(now):
                self._isolation.run(part.name, functools.partial(part.tick, now), part.fatal)

    def _pause(self) -> float:
        return self._workload.pause(time.monotonic(), stopping=self._shutdown.decided)

    def _must_end(self) -> bool:
        # checked first: the bound also holds for a daemon all of whose parts fail
        if self._shutdown.is_overdue(time.monotonic()):
            return True
        return bool(self._isolation.run("finished", self._is_finished))

    def _is_finished(self) -> bool:
        if self._shutdown.decided:
            return self._shutdown.is_complete()
        return self._options.until_idle and self._workload.is_done()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGUSR2:
            self._notices.signal()
        else:
            self._shutdown.request(signum)
        self._wake.set()


def run(home: Home, options: Options) -> int:
    """Run the daemon of a home to its end.

    Returns:
        0. Running attempts were asked to save and have ended.

    Raises:
        LockHeld: another daemon serves this home.
        LedgerCorrupt, LedgerTooNew, HomeUnusable: the home cannot be served.
    """
    log_dropped = log.configure(options.log_format)
    # keepers inherit the limits of their logs, since they may outlive this daemon
    os.environ[environment.LOG_MAX_BYTES] = str(options.config.logs.max_bytes)
    os.environ[environment.LOG_KEEP] = str(options.config.logs.keep)
    umask = options.config.umask
    os.environ[environment.UMASK] = "" if umask is None else f"{umask:03o}"
    when_there_is_room(home, home.create)
    held = when_there_is_room(
        home,
        lambda: daemon_status.take_lock(
            home, "Use that one, stop it first, or choose another home with --home."
        ),
    )
    try:
        return when_there_is_room(home, lambda: Service(home, options, log_dropped)).run()
    finally:
        lock.release(held)
