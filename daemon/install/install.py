"""Install the daemon as a systemd service: a list of steps, printed or carried out.

Every step may be repeated: a file that is up to date is not written, and the commands
change nothing the second time. A restart interrupts no training.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.daemon.install import command_link
from rekindle.daemon.install.command_link import Link
from rekindle.state.errors import RekindleError

SERVICE: Final = "rekindle.service"
HOME: Final = Path("/var/lib/rekindle")
_UNITS: Final = Path("/etc/systemd/system")
_SYSUSERS: Final = Path("/etc/sysusers.d/rekindle.conf")
_TMPFILES: Final = Path("/etc/tmpfiles.d/rekindle.conf")
_COMMAND: Final = Path("/usr/local/bin/rekindle")
_COMMAND_S: Final = 400.0

Say = Callable[[str], None]


class InstallFailed(RekindleError):
    """Report a failed step of an installation; the steps before it stay carried out."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Write:
    """A file to write, readable by all users."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A file to remove."""

    path: Path


@dataclass(frozen=True, slots=True)
class Run:
    """A command to run.

    Attributes:
        optional: its failure is reported, and the next step follows.
        hint: what to do if it fails.
        where_changed: run only if one of the files before it was changed.
        waits: what it waits for; then systemd sets the limit (TimeoutStopSec has no maximum).
    """

    argv: tuple[str, ...]
    hint: str = ""
    optional: bool = False
    where_changed: bool = False
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A check that the service has ended; an unknown state counts as running."""

    systemctl: tuple[str, ...]


Step = Write | Remove | Run | Link | Ended


def system(python: str) -> list[Step]:
    """List the steps that install the system service with the interpreter ``python``, as root."""
    command = Path(python).with_name("rekindle")
    steps: list[Step] = [
        Write(_SYSUSERS, _read("rekindle.sysusers.conf")),
        Run(("systemd-sysusers", str(_SYSUSERS))),
        Write(_TMPFILES, _read("rekindle.tmpfiles.conf")),
        Run(("systemd-tmpfiles", "--create", str(_TMPFILES))),
        Run(
            (
                "setpriv",
                "--reuid=rekindle",
                "--regid=rekindle",
                "--init-groups",
                "--reset-env",
                python,
                "-m",
                "rekindle.daemon",
                "--version",
            ),
            hint="The user rekindle must be able to read and run this interpreter and its "
            "packages, which a home folder does not allow: install rekindle into a virtual "
            "environment in /opt/rekindle, and run /opt/rekindle/bin/rekindle install.",
        ),
    ]
    if command.exists():
        steps.append(Link(_COMMAND, command, command_link.of_unit(_UNITS / SERVICE)))
    return [
        *steps,
        Write(_UNITS / SERVICE, _unit("rekindle.service", python)),
        *_start(("systemctl",)),
    ]


def user(python: str, home: Path) -> list[Step]:
    """List the steps that install a service of the current user, whose folder is ``home``."""
    return [
        Write(_user_unit(home), _unit("rekindle-user.service", python)),
        Run(
            ("loginctl", "enable-linger"),
            optional=True,
            hint="Without lingering the daemon ends with your last session: ask root to run "
            "`loginctl enable-linger USER`.",
        ),
        *_start(("systemctl", "--user")),
    ]


def removal(python: str, home: Path | None) -> list[Step]:
    """List the steps that remove the service; trainings save first, and all data stays.

    Args:
        python: the interpreter that runs this; a link to another installation stays.
        home: the user's folder for a user service, None for the system service.
    """
    systemctl = ("systemctl",) if home is None else ("systemctl", "--user")
    unit = _UNITS / SERVICE if home is None else _user_unit(home)
    steps: list[Step] = [
        # optional: an interrupted uninstall may have removed the unit; the next step is the check
        Run((*systemctl, "stop", SERVICE), optional=True, waits="until the trainings have saved"),
        Ended(systemctl),
        Run((*systemctl, "disable", SERVICE), optional=True),
        Remove(unit),
    ]
    if home is None:
        steps += [Remove(_TMPFILES), Remove(_SYSUSERS)]
        ours = (Path(python).with_name("rekindle"), *command_link.of_unit(unit))
        if command_link.is_ours(_COMMAND, ours):
            steps.append(Remove(_COMMAND))
    return [*steps, Run((*systemctl, "daemon-reload"))]


def describe(step: Step) -> str:
    """Describe a step so that a person could carry it out by hand."""
    match step:
        case Write(path, text):
            return f"write {path} ({len(text)} bytes)"
        case Remove(path):
            return f"remove {path}"
        case Link(path, target):
            return f"link {path} -> {target}"
        case Ended(systemctl):
            return f"check that it has ended: {shlex.join((*systemctl, 'is-active', SERVICE))}"
        case Run(argv, where_changed=where_changed, waits=waits):
            return (
                f"run {shlex.join(argv)}"
                + (f", which waits {waits}" if waits else "")
                + (" (if a file changed)" if where_changed else "")
            )


def carry_out(steps: list[Step], say: Say) -> bool:
    """Carry out the steps in order, reporting each; return whether a file was changed.

    Raises:
        InstallFailed: a step failed; all can be repeated from the start.
    """
    changed = False
    for step in steps:
        try:
            match step:
                case Run():
                    if changed or not step.where_changed:
                        say(describe(step))
                        _run(step, say)
                case Ended():
                    say(describe(step))
                    _refuse_while_it_runs(step)
                case _:
                    did = _change(step)
                    changed = changed or did
                    say(
                        describe(step)
                        if did
                        else command_link.describe_unchanged(step)
                        if isinstance(step, Link)
                        else f"{step.path} is up to date"
                    )
        except OSError as error:
            raise InstallFailed(
                f"A step failed: {describe(step)}: {error.strerror}.",
                where=error.filename,
                hint="Run it again as root, or with --user for the current user only.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise InstallFailed(
                f"A step failed: {describe(step)}: it did not end within {error.timeout:.0f} s.",
                hint="Run the step by hand to see what it waits for, then try again.",
            ) from error
        except subprocess.SubprocessError as error:
            raise InstallFailed(
                f"A step failed: {describe(step)}: {error}",
                hint="Correct the error, then repeat this command.",
            ) from error
    return changed


def interpreter() -> str:
    """Return the path of the current Python, which stays valid for a service."""
    return sys.executable


def command(python: str) -> str:
    """Return the command to call as root, quoted for a shell: `sudo` searches no environment."""
    beside = Path(python).with_name("rekindle")
    return (
        shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(python)} -m rekindle.daemon"
    )


def _change(step: Write | Remove | Link) -> bool:
    match step:
        case Write(path, text):
            if path.exists() and path.read_text() == text:
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_text(text)
            temporary.chmod(0o644)
            os.replace(temporary, path)
        case Remove(path):
            if not os.path.lexists(path):
                return False
            path.unlink()
        case Link():
            return command_link.make(step)
    return True


def _refuse_while_it_runs(step: Ended) -> None:
    asked = subprocess.run(
        (*step.systemctl, "is-active", SERVICE),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=_COMMAND_S,
    )
    state = asked.stdout.strip()
    if state not in ("inactive", "failed", "unknown"):
        raise InstallFailed(
            f"The service has not ended ({state or asked.stderr.strip() or asked.returncode}); "
            "nothing was removed.",
            hint=f"Stop it: `{shlex.join((*step.systemctl, 'stop', SERVICE))}`; then try again.",
        )


def _run(step: Run, say: Say) -> None:
    done = subprocess.run(
        step.argv,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=None if step.waits else _COMMAND_S,
    )
    if done.returncode == 0:
        return
    said = (done.stderr or done.stdout).strip()
    if step.optional:
        say(f"  failed: {said or done.returncode} {step.hint}".rstrip())
        return
    raise InstallFailed(
        f"A step failed: {describe(step)}: {said or done.returncode}",
        hint=step.hint or "Correct the error, then repeat this command.",
    )


def _start(systemctl: tuple[str, ...]) -> list[Step]:
    why = f"`{' '.join(systemctl)} status rekindle` and `journalctl` show why it does not start."
    return [
        Run((*systemctl, "daemon-reload")),
        Run((*systemctl, "enable", SERVICE)),
        Run(
            (*systemctl, "restart", SERVICE),
            hint=why,
            where_changed=True,
            waits="until it is ready",
        ),
        Run((*systemctl, "start", SERVICE), hint=why, waits="until it is ready"),
    ]


def _user_unit(home: Path) -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home / ".config") / "systemd" / "user" / SERVICE


def _unit(name: str, python: str) -> str:
    # systemd expands percent signs and splits at spaces and quotes in an unquoted path
    quoted = python.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    line = f'ExecStart="{quoted}" -m rekindle.daemon run'
    return re.sub(r"^ExecStart=.*$", lambda match: line, _read(name), flags=re.MULTILINE)


def _read(name: str) -> str:
    # importlib.resources fails on an editable installation, whose __path__ also has hooks
    folders = [Path(entry) for entry in importlib.import_module("rekindle.units").__path__]
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise InstallFailed(
            f"The unit file {name} is missing.",
            where=folders[0],
            hint="Install rekindle again with pip; the installation is incomplete.",
        )
    return found.read_text()
