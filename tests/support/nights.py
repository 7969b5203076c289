"""Home whose jobs are quick trainings without Keras, and its invariants at the end."""

import ctypes
import hashlib
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from rig import ROOT, Rig, wait_for

from rekindle.daemon.intake import requests
from rekindle.daemon.verify import verify
from rekindle.jobs import process
from rekindle.state.run import journal

PLAIN = ROOT / "tests" / "faults" / "plain.py"


class Night(Rig):
    """Extend a rig with plain trainings to submit."""

    def __init__(self, root: Path, work: Path) -> None:
        super().__init__(root)
        self.work = work

    def submit(self, name: str, *, args: str = "", spec: str = "") -> Path:
        """Drop a job; return the folder that it runs in.

        Args:
            args: options of plain.py.
            spec: further tables of the spec.
        """
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        retry = "" if "[retry]" in spec else '[retry]\nbackoff = "100ms..200ms"\n'
        self.drop(
            f'name = "{name}"\nscript = "{PLAIN}"\nworkdir = "{folder}"\nlive = true\n'
            f"args = {json.dumps(args.split())}\n{retry}{spec}",
            f"{name}.toml",
        )
        return folder

    def submit_command(self, name: str, *words: str, spec: str = "") -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, *words]
        self.drop(
            f'name = "{name}"\ncommand = {json.dumps(argv)}\nworkdir = "{self.work}"\n'
            f'[retry]\nbackoff = "100ms..200ms"\n{spec}',
            f"{name}.toml",
        )

    def until_idle(self, *options: str, seconds: float = 90, **env: str) -> None:
        assert self.start("--until-idle", *options, **env).wait(seconds) == 0, self.said()

    def said(self) -> str:
        return self.log.read_text()[-4000:] if self.log.exists() else ""

    def step(self, job: str, beyond: int, seconds: float = 60) -> None:
        """Wait until the job has trained more than ``beyond`` steps."""
        folder = self.work / job.rpartition("-")[0]
        wait_for(lambda: len(steps(folder)) > beyond, f"step {beyond} of {job}", seconds)

    def states(self) -> dict[str, str]:
        """Read each job's state from the ledger; the command line would take 0.1 s."""
        try:
            with sqlite3.connect(f"file:{self.home.ledger}?mode=ro", uri=True) as db:
                return dict(db.execute("SELECT id, state FROM jobs").fetchall())
        except sqlite3.OperationalError:
            return {}  # a daemon is creating it

    def request(self, verb: str, job: str, **fields: Any) -> None:
        requests.write(self.home, verb, job, **fields)

    def invariants(self) -> None:
        """Check what must always hold: one job for each spec, one lock, a consistent home."""
        with sqlite3.connect(self.home.ledger) as db:
            claims = [row[0] for row in db.execute("SELECT claim FROM jobs")]
        assert len(claims) == len(set(claims)), "a spec became two jobs"
        for run in self.runs():
            assert overlapping(journal.replay(run.journal).entries) == [], run.id
        assert [f for f in verify.verify(self.home) if f.severity == "error"] == []


def overlapping(entries: list[dict[str, Any]]) -> list[int]:
    """List attempts that began before the previous one and its processes had ended."""
    found, open_attempt = [], None
    for entry in entries:
        if entry["kind"] == "attempt_started":
            if (
                open_attempt is not None
                and process.Identity(
                    open_attempt["trainer_pid"],
                    open_attempt["trainer_start"] or 0,
                    open_attempt["boot_id"],
                ).alive()
            ):
                found.append(entry["attempt"])
            open_attempt = entry
        elif entry["kind"] == "attempt_ended":
            open_attempt = None
    return found


def steps(folder: Path) -> list[tuple[int, int]]:
    """List the steps trained in ``folder``, as (attempt, step), in order."""
    file = folder / "steps.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(a), int(s)) for a, _, s in (line.partition(" ") for line in lines)]


def result(count: int) -> str:
    """Compute the result of plain.py after ``count`` steps, whatever interrupted it."""
    digest = ""
    for step in range(count):
        digest = hashlib.sha256(f"{digest} {step}".encode()).hexdigest()
    return digest


def stolen(pid: int, path: Path) -> int:
    """A file descriptor of this process for what ``pid`` has open as ``path``."""
    number = next(
        int(fd.name) for fd in os.scandir(f"/proc/{pid}/fd") if os.readlink(fd.path) == str(path)
    )
    pidfd = os.pidfd_open(pid)
    try:
        found = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)  # pidfd_getfd
        if found < 0:
            pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        return int(found)
    finally:
        os.close(pidfd)
