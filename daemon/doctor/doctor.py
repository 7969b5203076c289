"""Check before the night whether a host and a home have what the queued jobs need.

Each check reports what it found, with a hint if something will fail. Nothing is changed, but one
file is written and removed again, to measure the speed of the disk.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from rekindle.daemon import config, daemon_status
from rekindle.daemon.client import terminal
from rekindle.daemon.doctor import host, units
from rekindle.daemon.doctor.host import Finding, Waiting
from rekindle.daemon.spec import parse
from rekindle.jobs import bootstrap, provenance
from rekindle.jobs.job import Job
from rekindle.state import access
from rekindle.state.errors import RekindleError, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home

_IMPORT_S: Final = 180.0


def examine(home: Home, *, imports: bool = True) -> Iterator[Finding]:
    """Yield all findings, one check after the other.

    Args:
        imports: import Keras in each interpreter that a waiting job names; takes seconds.
    """
    if not access.exists(home.inbox, home.root):
        yield Finding(
            "error",
            "home",
            f"Not a home: {home.root} has no inbox.",
            "Start the daemon once (`rekindle run`), or name the home with --home.",
        )
        return
    waiting: list[Waiting] = []
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("home", lambda: _permissions(home)),
        ("configuration", lambda: _configuration(home)),
        ("ledger", lambda: _ledger(home, waiting)),
        ("inbox", lambda: _inbox(home, waiting)),
        ("daemon", lambda: _daemon(home)),
        ("disk", lambda: host.space(home, waiting)),
        ("disk speed", lambda: host.speed(home, waiting)),
        ("GPUs", lambda: host.gpus(waiting)),
        ("GPUs", lambda: host.gpu_faults(home)),
        ("memory", lambda: host.memory(waiting)),
        ("interpreter", lambda: _interpreters(waiting) if imports else iter(())),
        ("clock", host.clock),
        ("inotify", host.inotify),
        ("systemd", lambda: _systemd(waiting)),
        ("git", _git),
    ]
    for name, check in checks:
        try:
            yield from check()
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            yield Finding(
                "warning",
                name,
                f"The check failed: {error}.",
                "Run the doctor as the user that owns the home.",
            )


def _permissions(home: Home) -> Iterator[Finding]:
    owner = home.root.stat().st_uid
    for path, what in (
        (home.ledger, "ledger"),
        (home.runs, "run directories"),
        (home.claimed, "claimed specs"),
        (home.sources, "snapshots"),
    ):
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode
            if mode & 0o022:
                yield Finding(
                    "error",
                    "permissions",
                    f"Users other than the owner may write the {what} ({path}).",
                    f"chmod go-w {path}",
                )
    for file in home.runs.glob("*/job.json"):
        if file.stat().st_mode & 0o077:
            yield Finding(
                "error",
                "permissions",
                f"Other users may read {file}; it can hold secrets of `env`.",
                f"chmod 600 {file}",
            )
    info = home.inbox.stat()
    group = bool(info.st_mode & stat.S_IWGRP)
    if info.st_mode & stat.S_IWOTH:
        yield Finding(
            "error",
            "permissions",
            "Every user may drop specs, and a spec runs code as the daemon's user.",
            f"chmod 2770 {home.inbox}, and add the permitted users to its group.",
        )
    elif not os.access(home.inbox, os.W_OK):
        yield Finding(
            "error",
            "permissions",
            f"The current user cannot drop specs into {home.inbox}.",
            "Ask its owner to add you to the folder's group, then log in again.",
        )
    elif not group and owner != os.getuid():
        yield Finding(
            "warning",
            "permissions",
            "Only the daemon's user can drop specs.",
            f"chmod 2770 {home.inbox} lets its group do it.",
        )
    else:
        yield Finding(
            "ok",
            "permissions",
            "The inbox is writable by "
            + ("its group" if group else "you")
            + ", everything else by its owner only.",
        )


def _configuration(home: Home) -> Iterator[Finding]:
    try:
        read = config.read(home)
    except RekindleError as error:
        yield Finding("error", "configuration", f"{error.what} ({error.where})", error.hint)
        return
    origin = "rekindle.toml is valid" if home.config.exists() else "The defaults apply"
    limits = (
        "no limit on age or size"
        if read.retention == config.Retention()
        else "retention has limits"
    )
    yield Finding("ok", "configuration", f"{origin}: {limits}.")


def _ledger(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    if not home.ledger.exists():
        if any(home.runs.iterdir()):
            yield Finding(
                "error",
                "ledger",
                "The ledger is gone, but there are run directories.",
                "Stop the daemon, then `rekindle verify --rebuild` restores the ledger from them.",
            )
        else:
            yield Finding("ok", "ledger", "No job was ever run here.")
        return
    try:
        book = Ledger.open(home.ledger, readonly=True)
        try:
            faults = book.check()
            rows = book.jobs(states=set(JobState) - TERMINAL)
            held = sum(row.state == JobState.HELD for row in rows)
            newest = book.events(newest=1)
        finally:
            book.close()
    except RekindleError as error:
        yield Finding("error", "ledger", error.what, error.hint)
        return
    if faults:
        yield Finding(
            "error",
            "ledger",
            f"The ledger is damaged: {faults[0]}.",
            "Stop the daemon, then `rekindle verify --rebuild`.",
        )
        return
    if newest and newest[0].at > time.time() + 60:
        yield Finding(
            "error",
            "clock",
            f"The last event has a time in the future: {terminal.when(newest[0].at)}.",
            "The clock was set back; correct it: `timedatectl set-ntp true`.",
        )
    for row in rows:
        with contextlib.suppress(OSError, RekindleError):
            waiting.append(Waiting(row.id, Job.read(home.run(row.id).job_file), row.state))
    yield Finding("ok", "ledger", f"The ledger is sound; {len(rows)} jobs have not ended.")
    if held:
        yield Finding(
            "warning",
            "jobs",
            f"{held} jobs are held and will not run.",
            "`rekindle ls --state held` shows why; `rekindle release JOB` lets one continue.",
        )


def _inbox(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    for path in sorted(home.inbox.iterdir()):
        if not path.name.endswith(parse.SUFFIXES) or path.name.startswith("."):
            continue
        try:
            job = parse.parse(path.read_bytes()[: parse.MAX_BYTES + 1], path.name, home.inbox)
        except SpecError as error:
            yield Finding("error", "spec", f"{path.name} will be refused: {error.what}", error.hint)
        else:
            waiting.append(Waiting(path.name, job))
    for one in waiting:
        if not os.path.isdir(one.job.workdir):
            yield Finding(
                "error",
                "spec",
                f"The workdir of {one.name} does not exist: {one.job.workdir}.",
                f"Mount it, or create it: mkdir -p {one.job.workdir}.",
            )


def _daemon(home: Home) -> Iterator[Finding]:
    found = daemon_status.find(home)
    if found is None:
        yield Finding(
            "error",
            "daemon",
            "No daemon serves this home.",
            "`systemctl start rekindle` (if installed), or `rekindle run`.",
        )
        return
    ours = provenance.version("rekindle")
    if ours is not None and found.version not in (ours, "0"):
        yield Finding(
            "warning",
            "daemon",
            f"The daemon has version {found.version}, this command {ours}.",
            "Restart it; trainings continue meanwhile.",
        )
    yield Finding(
        "ok", "daemon", f"The daemon runs since {terminal.when(found.started)}, pid {found.pid}."
    )


def _interpreters(waiting: list[Waiting]) -> Iterator[Finding]:
    users: dict[str, list[Waiting]] = {}
    for one in waiting:
        if one.job.command is None:
            users.setdefault(one.job.python or sys.executable, []).append(one)
    for python, jobs in users.items():
        yield _interpreter(
            python,
            ", ".join(one.name for one in jobs[:3])
            + (f" and {len(jobs) - 3} more" if len(jobs) > 3 else ""),
        )


def _interpreter(python: str, jobs: str) -> Finding:
    name = "interpreter"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            bootstrap.command(python, "rekindle.jobs.trainer.probe"),
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_IMPORT_S,
            check=False,
        )
    except OSError as error:
        return Finding(
            "error",
            name,
            f"{python} cannot be run ({error.strerror}); {jobs} needs it.",
            "Create the environment again, or name another `python` in the spec.",
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "error",
            name,
            f"{python} did not import Keras within {_IMPORT_S:.0f} s.",
            "Check the speed of the disk that holds its packages.",
        )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding(
            "error",
            name,
            f"{python} cannot run a trainer: {last} ({jobs} needs it).",
            "Name a Python 3.10 or newer as `python` in the spec.",
        )
    if "error" in found:
        return Finding(
            "error",
            name,
            f"{python} cannot import Keras: {found['error']} ({jobs} needs it).",
            f"{python} -m pip install keras tensorflow",
        )
    about = ", ".join(f"{key} {value}" for key, value in found["packages"].items())
    text = f"{python}: Python {found['python']}, {about}"
    if found["backend"] != "tensorflow":
        return Finding(
            "error",
            name,
            f"{text}; the Keras backend is {found['backend']}, where `fit` cannot be resumed.",
            'Set `env = { KERAS_BACKEND = "tensorflow" }` in the spec.',
        )
    if found["keras"] not in found["tested"]:
        return Finding(
            "warning",
            name,
            f"{text}; this Keras version is not tested: training is resumed at epochs only.",
            f"Install a tested Keras: {', '.join(found['tested'])}.",
        )
    return Finding("ok", name, f"{text}; resumed to the batch ({jobs}).")


def _systemd(waiting: list[Waiting]) -> Iterator[Finding]:
    grace = max((one.job.limits.stop_grace for one in waiting), default=0.0)
    for severity, what, hint in units.judge(units.ask(), grace):
        yield Finding(severity, "systemd", what, hint)


def _git() -> Iterator[Finding]:
    if shutil.which("git") is None:
        yield Finding(
            "warning",
            "git",
            "git is not installed: code snapshots are chosen by file name in the script's folder, "
            "without a commit.",
            "Install git.",
        )
