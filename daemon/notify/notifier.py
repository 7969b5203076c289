"""Watch the ledger's events, and have messages about them delivered: a part of the daemon."""

import contextlib
import datetime as dt
import functools
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from rekindle.daemon.background import Background
from rekindle.daemon.config import Notify
from rekindle.daemon.notify import delivery, message, notices, targets
from rekindle.daemon.notify.outbox import Message, Outbox
from rekindle.daemon.notify.targets import Target
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.period import UNINTERRUPTED
from rekindle.state.paths import Home

_LOOK_S: Final = 1.0
_DISK_S: Final = 60.0
_OLD_S: Final = 86_400.0
"""Events before that have no notice: the daemon was without notifications for a while."""
_FLUSH_S: Final = 20.0
_FINISH_S: Final = 3.0
_PING: Final = "ping"


class Notifier:
    """Collect notices and send them; has no work where nothing is configured.

    Args:
        wake: called in a thread when a delivery has ended.
    """

    name = "notifications"
    serves = True
    fatal: tuple[type[Exception], ...] = ()

    def __init__(
        self, home: Home, ledger: Ledger, settings: Notify, wake: Callable[[], None]
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._settings = settings
        self._background = Background(wake, most=1)
        self._next = self._next_disk = 0.0
        self._unwritten = False
        # before the first tick: events of that one have notices
        self._outbox = Outbox.read(home.notify, ledger.last_event()) if settings else Outbox(0)
        self._sending: tuple[Message | None, Callable[[], dict[str, str]]] | None = None
        self._look = notices.Lookup(ledger.job, self._interruptions)
        self._log = structlog.get_logger()

    def is_due(self, now: float) -> bool:
        return bool(self._settings) and now >= self._next

    def tick(self, now: float) -> None:
        self._next = now + _LOOK_S
        wall = time.time()
        outbox = self._outbox
        changed = self._settle(outbox, wall)
        changed |= self._collect(outbox, wall)
        if now >= self._next_disk:
            self._next_disk = now + _DISK_S
            changed |= self._look_at_disk(outbox, wall)
        settings = self._settings
        if outbox.is_batch_due(wall, batch=settings.batch, most=settings.max_per_hour):
            self._close_batch(outbox, wall)
            changed = True
        if changed:
            self._write()
        if self._sending is None:
            self._begin(outbox, wall)

    def flush(self) -> None:
        """Send what waits now, within a bound: this daemon ends, and none follows."""
        if not self._settings:
            return
        end = time.monotonic() + _FLUSH_S
        self.tick(time.monotonic())
        outbox = self._outbox
        if outbox.pending:
            self._close_batch(outbox, time.time())
            self._write()
        while time.monotonic() < end:
            if self._sending is None and all(one.tries for one in outbox.messages):
                return  # sent, or tried once
            self.tick(time.monotonic())
            time.sleep(0.05)

    def finish(self) -> None:
        """Wait a moment for the delivery that runs: the next daemon would repeat it."""
        end = time.monotonic() + _FINISH_S
        while self._sending is not None and time.monotonic() < end:
            if self._settle(self._outbox, time.time()):
                self._write()
            time.sleep(0.02)

    def _write(self) -> None:
        """Write the outbox; a full disk, which has a notice itself, must not keep it back."""
        try:
            self._outbox.write(self._home.notify)
        except OSError as error:
            if not self._unwritten:
                self._log.warning("notifications_not_written", error=str(error))
            self._unwritten = True
        else:
            self._unwritten = False

    def _collect(self, outbox: Outbox, wall: float) -> bool:
        """Turn new events into notices; return whether there is one."""
        last = self._ledger.last_event()
        if last == outbox.cursor:
            return False
        events = [
            event
            for event in self._ledger.events(after=outbox.cursor)
            if wall - event.at < _OLD_S and event.id <= last
        ]
        outbox.look_up_to(last)
        found = notices.of_events(
            events, self._look, most=self._settings.interrupted, seen=outbox.interrupted
        )
        wanted = [one for one in found if one.kind in self._settings.on]
        for one in wanted:
            outbox.add(one, wall)
        return bool(wanted)

    def _interruptions(self, job_id: str) -> int:
        return sum(
            row.outcome is not None and row.cause not in UNINTERRUPTED
            for row in self._ledger.attempts(job_id)
        )

    def _look_at_disk(self, outbox: Outbox, wall: float) -> bool:
        """Find a disk that fills up; once, until it has clearly more space again."""
        info = os.statvfs(self._home.root)
        share = info.f_bavail / max(info.f_blocks, 1)
        was = outbox.disk_low
        if outbox.note_disk(share, self._settings.disk_free) and "disk" in self._settings.on:
            free, total = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
            outbox.add(notices.disk_low(free, total, wall), wall)
        return outbox.disk_low != was

    def _close_batch(self, outbox: Outbox, wall: float) -> None:
        true = [
            one for one in outbox.pending if notices.still_holds(one, self._ledger.job(one.about))
        ]
        value = None
        if true:
            host, home = socket.gethostname(), str(self._home.root)
            value = message.as_json(host, home, true, outbox.left_out)
        outbox.close_batch(value, [one.id for one in self._targets()], wall)

    def _targets(self) -> Sequence[Target]:
        try:
            return targets.of(self._settings)
        except targets.Unreadable as error:
            self._log.warning("notify_urls_not_read", error=str(error))
            command = self._settings.command
            return [Target(targets.COMMAND, "")] if command else []

    def _begin(self, outbox: Outbox, wall: float) -> None:
        """Start the delivery that is due."""
        due = outbox.due(wall)
        if due is not None:
            known = [one for one in self._targets() if one.id in due.targets]
            work = functools.partial(
                delivery.deliver, known, due.value, command=self._settings.command
            )
            self._sending = due, work
        elif self._settings.ping and wall >= outbox.ping_at and self._is_ping_due(outbox, wall):
            self._sending = (
                None,
                functools.partial(delivery.deliver, [], {}, ping=self._settings.ping),
            )
        else:
            return
        self._background.ask("delivery", self._sending[1])

    def _is_ping_due(self, outbox: Outbox, wall: float) -> bool:
        local = dt.datetime.fromtimestamp(wall)
        minutes = local.hour * 60 + local.minute
        return minutes >= self._settings.ping_at and outbox.pinged != str(local.date())

    def _settle(self, outbox: Outbox, wall: float) -> bool:
        """Take note of a delivery that has ended."""
        if self._sending is None:
            return False
        sent, work = self._sending
        outcome = self._background.ask("delivery", work)
        if outcome is None:
            return False
        self._sending = None
        if sent is None:
            failed = {_PING: str(outcome.error)} if outcome.error else outcome.value
            self._settle_ping(outbox, failed, wall)
            return True
        failed = (
            dict.fromkeys(sent.targets, type(outcome.error).__name__)
            if outcome.error
            else outcome.value
        )
        before = sent.tries
        kept = outbox.settle(sent, failed, wall)
        if not failed:
            self._log.info("notification_sent", title=sent.value.get("title"))
            return True
        self._report(failed, sent.tries, first=not before, given_up=not kept)
        return True

    def _report(self, failed: dict[str, str], tries: int, *, first: bool, given_up: bool) -> None:
        shown = {one.id: one.shown for one in self._targets()}
        for one, error in failed.items():
            about = {"target": shown.get(one, one), "error": error, "tries": tries}
            self._log.warning("notification_failed", **about, given_up=given_up)
            if first or given_up:
                kind = "notification_dropped" if given_up else "notification_failed"
                with contextlib.suppress(sqlite3.Error):  # a full disk; the log has it
                    self._ledger.add_event(kind, data=about)

    def _settle_ping(self, outbox: Outbox, failed: dict[str, str], wall: float) -> None:
        if not failed:
            outbox.note_ping(wall, str(dt.datetime.fromtimestamp(wall).date()))
            self._log.info("ping_sent")
            return
        outbox.note_ping(wall, "")
        self._log.warning("ping_failed", error=failed[_PING], tries=outbox.ping_tries)
