"""Check how systemd treats the daemon: the settings that matter at night."""

import os
import subprocess
from pathlib import Path
from typing import Final

UNIT: Final = "rekindle.service"
_KEYS: Final = (
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "KillMode",
    "TimeoutStopUSec",
    "Restart",
    "StartLimitIntervalUSec",
)
_ROOM_S: Final = 30.0


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
