"""Publish which home the service of this host serves, so that every user's verbs find it.

The record lies in the folder that systemd makes for the unit (`RuntimeDirectory=`), readable by
all users: `/run/rekindle/daemon.json`, of a user service `$XDG_RUNTIME_DIR/rekindle/daemon.json`.
systemd keeps the folder while it restarts the daemon, and removes it when the service is stopped.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.daemon import daemon_status
from rekindle.jobs import environment, process
from rekindle.state import durable
from rekindle.state.paths import Home

SYSTEM: Final = Path("/run/rekindle")
UNIT: Final = Path("/etc/systemd/system/rekindle.service")
_NAME: Final = "daemon.json"


@dataclass(frozen=True, slots=True)
class Served:
    """Describe the home that a service has published.

    Attributes:
        alive: its daemon lives; False while systemd restarts it.
        own: it is a service of the current user.
        problem: why nobody can use this record, in a sentence; empty if it can be used.
    """

    record: Path
    home: Home
    alive: bool
    own: bool
    problem: str = ""


def publish(home: Home, version: str) -> None:
    """Record that this process, if systemd has started it as a service, serves ``home``.

    A daemon that a job starts inherits `RUNTIME_DIRECTORY`; it must not replace the record.
    """
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if not folder or os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return
    value = daemon_status.describe(home, version)
    path = Path(folder) / _NAME
    try:
        durable.write_bytes(path, (json.dumps(value) + "\n").encode(), 0o644, shared=True)
    except OSError as error:
        import structlog  # every verb imports this module, and none logs

        structlog.get_logger().warning(
            "service_record_not_written",
            file=str(path),
            error=error.strerror,
            hint="Verbs of other users find this home with --home only.",
        )


def find(environ: Mapping[str, str] = os.environ) -> Served | None:
    """Find the service that the current user's verbs may use: the user's own, or the host's."""
    found = [
        one for folder, own in _folders(environ) if (one := _read(folder / _NAME, own)) is not None
    ]
    return next((one for one in found if not one.problem), found[0] if found else None)


def is_installed() -> bool:
    """Return whether the host has a unit of the system service, running or not."""
    return environment.RUNTIME_DIRECTORY not in os.environ and UNIT.exists()


def _folders(environ: Mapping[str, str]) -> list[tuple[Path, bool]]:
    named = environ.get(environment.RUNTIME_DIRECTORY)
    if named is not None:
        return [(Path(named), False)] if named else []
    users = environ.get("XDG_RUNTIME_DIR")
    return [*([(Path(users) / SYSTEM.name, True)] if users else []), (SYSTEM, False)]


def _read(path: Path, own: bool) -> Served | None:
    try:
        value = json.loads(path.read_bytes())
        home = Home(Path(value["home"]))
        who = process.Identity(value["pid"], value["start"] or 0, value["boot_id"])
        if not home.root.is_absolute():
            return None
        started = float(value["started"])
        alive = daemon_status.is_alive(who, started) or bool(daemon_status.find(home))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    problem = ""
    # by the clock: a container may show another boot id than its sandboxed services see
    if not alive and started < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME):
        problem = "it was written before the last boot"
    elif not _may_exist(home.root):
        problem = "that folder does not exist"
    return Served(path, home, alive and not problem, own, problem)


def _may_exist(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except PermissionError:
        return True
