"""Check how systemd treats the daemon: the settings that matter at night."""

import dataclasses
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rekindle.daemon.checks.finding import Finding

UNIT: Final = "rekindle.service"
_SANDBOX: Final = (
    "ProtectHome",
    "ProtectSystem",
    "PrivateTmp",
    "InaccessiblePaths",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "TemporaryFileSystem",
)
_KEYS: Final = (
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "KillMode",
    "TimeoutStopUSec",
    "Restart",
    "StartLimitIntervalUSec",
    "MainPID",
    *_SANDBOX,
)
_ROOM_S: Final = 30.0
_HOMES: Final = ("/home", "/root", "/run/user")
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108  names of folders that a unit may replace
_SYSTEM: Final = ("/usr", "/boot", "/efi", "/etc")


def ask() -> dict[str, str] | None:
    """Read the unit's settings from the system's or this user's manager; None without systemd.

    ``manager`` is ``system`` or ``user``, empty if neither has loaded the unit; ``Linger`` is
    the user's.
    """
    if not Path("/run/systemd/system").is_dir():
        return None
    for manager in ("system", "user"):
        words = [] if manager == "system" else ["--user"]
        found = _run("systemctl", *words, "show", UNIT, *(f"-p{key}" for key in _KEYS))
        if found.get("LoadState") == "loaded":
            linger = _run("loginctl", "show-user", str(os.getuid()), "-pLinger")
            return {**found, "manager": manager, "Linger": linger.get("Linger", "")}
    return {"manager": ""}


def judge(unit: dict[str, str] | None, stop_grace: float) -> list[tuple[str, str, str]]:
    """Judge the unit's settings: severity, sentence and hint for each finding; pure.

    Args:
        unit: the result of :func:`ask`.
        stop_grace: the longest time that a job may take to save, in seconds.
    """
    if unit is None:
        what = "systemd does not run here: nothing restarts the daemon after a crash or a reboot."
        return [("warning", what, "Let the init system of this host start `rekindle run`.")]
    if not unit["manager"]:
        what = (
            "The service is not installed: nothing restarts the daemon after a crash or a reboot."
        )
        return [("warning", what, "`rekindle install` installs it (`--user` without root).")]
    found = []
    user = " --user" if unit["manager"] == "user" else ""
    if unit.get("KillMode") not in ("process", "none"):
        found.append(
            (
                "error",
                (f"KillMode={unit.get('KillMode')}: a restart of the daemon kills the trainings."),
                f"systemctl{user} edit {UNIT}: [Service] KillMode=process",
            )
        )
    seconds = _seconds(unit.get("TimeoutStopUSec", ""))
    if seconds is not None and seconds < stop_grace + _ROOM_S:
        found.append(
            (
                "warning",
                (
                    f"TimeoutStopSec is {seconds:.0f} s; a job may take "
                    f"{stop_grace:.0f} s to save at a shutdown of the host."
                ),
                (
                    f"systemctl{user} edit {UNIT}: [Service] "
                    f"TimeoutStopSec={stop_grace + _ROOM_S:.0f}"
                ),
            )
        )
    if unit.get("Restart") not in ("always", "on-failure"):
        found.append(
            (
                "error",
                f"Restart={unit.get('Restart')}: a daemon that crashes is not restarted.",
                f"systemctl{user} edit {UNIT}: [Service] Restart=always",
            )
        )
    if (_seconds(unit.get("StartLimitIntervalUSec", "")) or 0) > 0:
        found.append(
            (
                "warning",
                "The unit has a start limit: after a few crashes the daemon is not restarted.",
                f"systemctl{user} edit {UNIT}: [Unit] StartLimitIntervalSec=0",
            )
        )
    if unit.get("UnitFileState") not in ("enabled", "static", "enabled-runtime"):
        found.append(
            (
                "error",
                "The service is not enabled: it does not start at a reboot.",
                f"systemctl{user} enable {UNIT}",
            )
        )
    if unit["manager"] == "user" and unit.get("Linger") != "yes":
        found.append(
            (
                "error",
                "Lingering is off: the service ends when you log out.",
                "loginctl enable-linger",
            )
        )
    return found or [
        (
            "ok",
            (f"{UNIT} is set up correctly ({unit['manager']} manager, {unit.get('ActiveState')})."),
            "",
        )
    ]


def in_sandbox(
    finding: Finding, unit: dict[str, str] | None, pid: int, user: str, *, writable_here: bool
) -> Finding:
    """Name the setting of the unit that keeps a path from the daemon, with its drop-in; pure.

    Args:
        finding: of the daemon, with the path concerned.
        pid: of the daemon that tried.
        writable_here: for this process the path is on no read-only file system.
    """
    if unit is None or not finding.path or unit.get("MainPID") != str(pid):
        return finding
    for_user = " --user" if unit["manager"] == "user" else ""
    restart = f"systemctl{for_user} restart {UNIT} (trainings continue)"
    what = finding.what.rstrip(".")
    read_only = "read-only" in finding.what
    if read_only and _below(finding.path, _listed(unit.get("ReadWritePaths", ""))):
        if not writable_here:
            return finding
        late = f"{what}; it did not exist when {UNIT} was started."
        return dataclasses.replace(finding, what=late, hint=f"{restart}.")
    setting, change = (_read_only if read_only else _hidden)(unit, finding.path)
    if not setting:
        return finding
    return dataclasses.replace(
        finding,
        what=f"{what}; {setting} of {UNIT} keeps user {user} from it.",
        hint=f"systemctl{for_user} edit {UNIT}: [Service] {change}; then {restart}.",
    )


def _hidden(unit: dict[str, str], path: str) -> tuple[str, str]:
    """Find the setting that hides a path, and the line of a drop-in that shows it."""
    home = unit.get("ProtectHome", "no")
    if home in ("yes", "tmpfs") and _below(path, _HOMES):
        return f"ProtectHome={home}", "ProtectHome=no"
    for key in ("InaccessiblePaths", "TemporaryFileSystem"):
        if _below(path, _listed(unit.get(key, ""))):
            return key, f"{key}="
    if unit.get("PrivateTmp") == "yes" and _below(path, _TEMPORARY):
        return "PrivateTmp=yes", "PrivateTmp=no"
    return "", ""


def _read_only(unit: dict[str, str], path: str) -> tuple[str, str]:
    """Find the setting that makes a path read-only, and the line that makes it writable."""
    home, system = unit.get("ProtectHome", "no"), unit.get("ProtectSystem", "no")
    line = f"ReadWritePaths={path}"
    if home == "read-only" and _below(path, _HOMES):
        # ReadWritePaths=/root has no effect below ProtectHome=read-only
        return "ProtectHome=read-only", "ProtectHome=no" if _below(path, ("/root",)) else line
    if _below(path, _listed(unit.get("ReadOnlyPaths", ""))):
        return "ReadOnlyPaths", line
    if (system == "strict" and not _below(path, _HOMES)) or (
        system in ("yes", "full") and _below(path, _SYSTEM)
    ):
        return f"ProtectSystem={system}", line
    return "", ""


def _listed(text: str) -> list[str]:
    return [word.partition(":")[0].lstrip("-+") for word in text.split()]


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == one or path.startswith(f"{one.rstrip('/')}/") for one in folders)


def _run(*words: str) -> dict[str, str]:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _seconds(text: str) -> float | None:
    """Convert a time span of systemctl, ``"3min 1s"``, to seconds; None for infinity or nothing."""
    if text in ("", "infinity"):
        return None
    total = 0.0
    units = {
        "us": 1e-6,
        "ms": 1e-3,
        "s": 1.0,
        "min": 60.0,
        "h": 3600.0,
        "d": 86400.0,
        "w": 604800.0,
    }
    for word in text.split():
        number = word.rstrip("abcdefghijklmnopqrstuvwxyz")
        try:
            total += float(number) * units.get(word[len(number) :] or "s", 1.0)
        except ValueError:
            return None
    return total
