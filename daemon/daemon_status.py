"""Lock a home for its daemon, and publish that daemon in ``daemon.json``.

A reader does not probe the lock: holding it for a moment could keep a daemon from starting.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs import process
from rekindle.state import durable
from rekindle.state import lock as locks
from rekindle.state.errors import HomeUnusable, LockHeld
from rekindle.state.paths import Home

_SLACK_S: Final = 5.0
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Presence:
    """Describe the daemon that serves a home.

    Attributes:
        started: unix time, seconds.
        home: the path it serves; None if an older version did not write it.
    """

    pid: int
    version: str
    started: float
    home: str | None = None


def take_lock(home: Home, hint: str) -> tuple[int, ...]:
    """Lock the home for its daemon, or for work that must not run beside one.

    A live daemon that `daemon.json` names for this home counts too, even if its lock was removed.

    Returns:
        The file descriptors that hold the lock, for `state.lock.release`.

    Raises:
        LockHeld: another daemon serves the home; with ``hint``.
        HomeUnusable: the lock cannot be opened.
    """
    try:
        taken = locks.take(home.daemon_lock, 0o644)
    except OSError as error:
        raise HomeUnusable(
            f"The daemon's lock cannot be opened: {error.strerror}.",
            where=home.daemon_lock,
            hint="Run rekindle as the user that owns the home.",
        ) from error
    other = find(home)
    if taken is not None and (
        other is None or other.pid == os.getpid() or not _serves(other, home)
    ):
        return taken
    locks.release(taken or ())
    raise LockHeld(
        "Another daemon serves this home already" + (f": process {other.pid}." if other else "."),
        where=home.daemon_lock,
        hint=hint,
    )


@contextlib.contextmanager
def lock(home: Home, hint: str) -> Iterator[None]:
    """Hold the home's lock; raise as :func:`take_lock` does."""
    taken = take_lock(home, hint)
    try:
        yield
    finally:
        locks.release(taken)


def announce(home: Home, version: str) -> None:
    """Record that this process serves ``home``.

    Raises:
        OSError: the home cannot be written.
    """
    durable.write_json(home.daemon_status, describe(home, version))


def describe(home: Home, version: str) -> dict[str, Any]:
    """Describe this process as the daemon of ``home``, for a record on disk."""
    me = process.Identity.of(os.getpid())
    return {
        "format": 1,
        "pid": os.getpid(),
        "start": me.start if me else None,
        "boot_id": process.boot_id(),
        "version": version,
        "started": time.time(),
        "home": str(home.root),
    }


def withdraw(home: Home) -> None:
    """Remove the record of :func:`announce`: this daemon ends by itself and was not killed."""
    with contextlib.suppress(OSError):
        home.daemon_status.unlink()


def was_killed(home: Home) -> bool:
    """Return whether the previous daemon ended without :func:`withdraw`."""
    return home.daemon_status.exists()


def find(home: Home) -> Presence | None:
    """Find the live daemon of ``home``, or None."""
    try:
        value = json.loads(home.daemon_status.read_bytes())
        who = process.Identity(value["pid"], value["start"] or 0, value["boot_id"])
        return (
            Presence(value["pid"], value["version"], value["started"], value.get("home"))
            if is_alive(who, value["started"])
            else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_alive(who: process.Identity, started: float) -> bool:
    """Return whether a daemon lives, maybe of another user or behind another view of `/proc`.

    Where `/proc` is mounted with `hidepid`, processes of others are hidden there; the kernel's
    answer to signal 0 then says that one exists, and its start time is not compared.
    A container may show its own boot id, which a sandboxed service in it does not see: another
    boot is then excluded by the process's start, which a later boot has after ``started``.

    Args:
        started: unix time at which the daemon recorded itself.
    """
    if who.alive():
        return True
    if who.boot_id != process.boot_id():
        return process.start_ticks(who.pid) == who.start and _began(who.start) <= started + _SLACK_S
    if os.path.exists(f"/proc/{who.pid}"):
        return False
    try:
        os.kill(who.pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        pass
    return False


def _began(start: int) -> float:
    """Convert a process's start, in clock ticks since boot, into unix time."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + start / _TICKS_S


def starting(home: Home) -> int | None:
    """Find the process that holds the home's lock and does not serve the home yet.

    The kernel's list of locks is read: probing the lock could keep a daemon from starting.

    Returns:
        Its id; None if there is none, or it cannot be seen from this container.
    """
    try:
        lock = os.stat(home.daemon_lock)
        device = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
        with open("/proc/locks", encoding="ascii") as file:
            holders = [words[4] for words in map(str.split, file) if words[5:6] == [device]]
    except OSError:
        return None
    return next((int(pid) for pid in holders if pid.isdigit() and pid != "0"), None)


def _serves(other: Presence, home: Home) -> bool:
    """Return whether ``other`` serves this home, and not a home that this is a copy of."""
    if other.home is None:
        return True
    try:
        return os.path.samefile(other.home, home.root)
    except OSError:
        return True  # moved or replaced under a live daemon
