"""Whether a daemon serves a home: what it says of itself in ``daemon.json``.

The lock is not probed: a reader that held it for a moment could keep a daemon from starting.
"""

import json
import os
import time
from dataclasses import dataclass

from rekindle.jobs import process
from rekindle.state import durable
from rekindle.state.paths import Home


@dataclass(frozen=True, slots=True)
class Presence:
    """The daemon that serves a home.

    Attributes:
        started: unix time, seconds.
    """

    pid: int
    version: str
    started: float


def announce(home: Home, version: str) -> None:
    """Writes down that this process serves ``home``.

    Raises:
        OSError: the home cannot be written.
    """
    me = process.Identity.of(os.getpid())
    durable.write_json(home.daemon_status, {
        "format": 1, "pid": os.getpid(), "start": me.start if me else None,
        "boot_id": process.boot_id(), "version": version, "started": time.time()})


def find(home: Home) -> Presence | None:
    """The live daemon of ``home``, or None."""
    try:
        value = json.loads(home.daemon_status.read_bytes())
        who = process.Identity(value["pid"], value["start"] or 0, value["boot_id"])
        return (Presence(value["pid"], value["version"], value["started"])
                if who.alive() else None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
