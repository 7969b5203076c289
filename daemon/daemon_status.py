"""The daemon of a home: its lock, and what it says of itself in ``daemon.json``.

A reader does not probe the lock: holding it for a moment could keep a daemon from starting.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rekindle.jobs import process
from rekindle.state import durable
from rekindle.state import lock as locks
from rekindle.state.errors import HomeUnusable, LockHeld
from rekindle.state.paths import Home


@dataclass(frozen=True, slots=True)
class Presence:
    """The daemon that serves a home.

    Attributes:
        started: unix time, seconds.
        home: the path it serves; None where a daemon of before did not write it.
    """

    pid: int
    version: str
    started: float
    home: str | None = None


def take_lock(home: Home, hint: str) -> tuple[int, ...]:
    """Lock the home: only its daemon, or what must not run beside one, does.

    A daemon that says it serves this home and lives counts as well, whatever became of the lock.

    Returns:
        The file descriptors that hold it, for `state.lock.release`.

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
            hint="Run as the user that owns the home.",
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
    """Hold the home's lock; raises as :func:`take_lock` does."""
    taken = take_lock(home, hint)
    try:
        yield
    finally:
        locks.release(taken)


def announce(home: Home, version: str) -> None:
    """Writes down that this process serves ``home``.

    Raises:
        OSError: the home cannot be written.
    """
    me = process.Identity.of(os.getpid())
    durable.write_json(
        home.daemon_status,
        {
            "format": 1,
            "pid": os.getpid(),
            "start": me.start if me else None,
            "boot_id": process.boot_id(),
            "version": version,
            "started": time.time(),
            "home": str(home.root),
        },
    )


def withdraw(home: Home) -> None:
    """Remove what :func:`announce` wrote: this daemon ends by itself, nothing has killed it."""
    with contextlib.suppress(OSError):
        home.daemon_status.unlink()


def was_killed(home: Home) -> bool:
    """Tell whether the daemon before this one ended without :func:`withdraw`."""
    return home.daemon_status.exists()


def find(home: Home) -> Presence | None:
    """The live daemon of ``home``, or None."""
    try:
        value = json.loads(home.daemon_status.read_bytes())
        who = process.Identity(value["pid"], value["start"] or 0, value["boot_id"])
        return (
            Presence(value["pid"], value["version"], value["started"], value.get("home"))
            if who.alive()
            else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _serves(other: Presence, home: Home) -> bool:
    """Whether it is this home that ``other`` serves, and not one that this is a copy of."""
    if other.home is None:
        return True
    try:
        return os.path.samefile(other.home, home.root)
    except OSError:
        return True  # moved or replaced under a daemon that lives
