"""``rekindle shell``: open a shell in which everything is as in a job, except that it is none."""

import argparse
import contextlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Final

from rekindle.daemon import config, daemon_status
from rekindle.daemon.client import lookup
from rekindle.jobs import environment
from rekindle.jobs.job import Job
from rekindle.jobs.keeper import spawn
from rekindle.state import accounts
from rekindle.state.errors import NotDone, NotFound
from rekindle.state.ledger.reader import Reader
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE
from rekindle.state.paths import Home, Run

SNAPSHOT: Final = "REKINDLE_SNAPSHOT"
"""The folder of the snapshot of the job's code, in the shell."""
_OF_THE_TERMINAL: Final = ("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_job(parser)
    parser.usage = "rekindle shell [-h] [--home DIR] job [-- COMMAND ...]"
    parser.description = (
        "Open a shell with the environment variables, Python, folder, GPUs and code of a job; a "
        "command after `--` runs in place of the shell. What runs in it is no attempt of the job: "
        f"it writes no checkpoint. Python imports the job's snapshot, which is in ${SNAPSHOT}."
    )


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    book = lookup.ledger(home)
    try:
        job = lookup.job(book, args.job)
        gpus, notes = _gpus(book, job)
    finally:
        book.close()
    run = home.run(job.id)
    accepted = _read(run)
    variables, source = _variables(home, run, accepted, job, gpus)
    shell = os.environ.get("SHELL") or "/bin/sh"
    command = args.rest or [shell]
    variables["SHELL"] = shell
    for line in (*_banner(accepted, variables, source), *notes):
        print(f"rekindle: {line}", file=sys.stderr)
    try:
        os.chdir(accepted.workdir)
    except OSError as error:
        raise NotFound(
            f"The job's folder cannot be entered: {error.strerror}.",
            where=accepted.workdir,
            hint=f"`rekindle show {job.id}` says where the job runs.",
        ) from error
    if (mask := _umask(home, accepted)) is not None:
        os.umask(mask)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606  the command is the point
    except OSError as error:
        raise NotFound(
            f"Cannot run {command[0]}: {error.strerror}.",
            hint=f"`rekindle shell {job.id} -- /bin/sh` opens another shell.",
        ) from error


def _read(run: Run) -> Job:
    """Read the accepted job, whose `env` may hold secrets.

    Raises:
        NotDone: it belongs to another user.
    """
    try:
        return Job.read(run.job_file)
    except PermissionError as error:
        owner = accounts.user_name(run.root.stat().st_uid)
        raise NotDone(
            f"Only {owner}, as whom the job runs, may read its environment.",
            where=run.job_file,
            hint=f"Call the verb as that user: `sudo -u {owner} rekindle shell {run.id}`.",
        ) from error


def _variables(
    home: Home, run: Run, job: Job, row: JobRow, gpus: list[str] | None
) -> tuple[dict[str, str], str]:
    """Build the environment; return with it a phrase that says where it is from."""
    serving = daemon_status.find(home)
    found = None if serving is None else _environ(serving.pid)
    source = "the daemon's environment" if found is not None else "your environment: no daemon runs"
    inherited = dict(os.environ) if found is None else found
    for name in environment.OF_A_JOB:
        inherited.pop(name, None)
    if gpus is not None:
        inherited[environment.GPUS] = ",".join(gpus)
    made = spawn.variables(job, run, max(row.attempts, 1), None, inherited)
    for name in environment.OF_A_JOB:
        made.pop(name, None)
    made |= {name: os.environ[name] for name in _OF_THE_TERMINAL if name in os.environ}
    python = Path(job.python or sys.executable)
    made["PATH"] = os.pathsep.join([str(python.parent), made.get("PATH", os.defpath)])
    if (python.parent.parent / "pyvenv.cfg").exists():
        made["VIRTUAL_ENV"] = str(python.parent.parent)
    return made | _code(run, job, made.get("PYTHONPATH", "")), source


def _code(run: Run, job: Job, path: str) -> dict[str, str]:
    """Let Python import the snapshot before the present files; nothing for a job without one."""
    if job.source is None:
        return {}
    tree = os.path.realpath(run.source)
    if not os.path.isdir(tree):
        raise NotFound(
            "The snapshot of the job's code does not exist.",
            where=run.source,
            hint="Restore it from a backup, or submit the job again.",
        )
    folder = os.path.dirname(job.source.script or "")
    if job.source.script is None:
        inside = os.path.relpath(os.path.realpath(job.workdir), job.source.root)
        folder = "" if inside.startswith("..") else inside
    first = os.path.normpath(os.path.join(tree, folder))
    last = os.path.normpath(os.path.join(job.source.root, folder))
    parts = [first, *path.split(os.pathsep), last]
    return {
        SNAPSHOT: tree,
        "PYTHONPATH": os.pathsep.join(part for part in parts if part),
        # otherwise the present files in the current folder come first
        "PYTHONSAFEPATH": "1",
    }


def _umask(home: Home, job: Job) -> int | None:
    """Return the umask of an attempt: that of the spec, of `rekindle.toml`, or of the daemon."""
    if job.umask is not None:
        return job.umask
    known = config.read(home).umask
    serving = daemon_status.find(home)
    if known is not None or serving is None:
        return known
    with contextlib.suppress(OSError):
        found = re.search(r"^Umask:\s*([0-7]+)$", _status(serving.pid), re.MULTILINE)
        return int(found[1], 8) if found else None
    return None


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _environ(pid: int) -> dict[str, str] | None:
    """Read the environment that a process was started with; None where this user may not."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in os.fsdecode(data).split("\0"))
    return {name: value for name, mark, value in pairs if mark}


def _gpus(book: Reader, job: JobRow) -> tuple[list[str] | None, list[str]]:
    """Return the GPUs of the last attempt, and a warning for each that is in use."""
    last = book.attempt(job.id, job.attempts) if job.attempts else None
    if last is None:
        return [], ["it has not run yet: no GPU is given to it."]
    notes = []
    for other in book.jobs(states=ACTIVE):
        turn = book.attempt(other.id, other.attempts)
        shared = [uuid for uuid in (turn and turn.gpus) or [] if uuid in (last.gpus or [])]
        notes += [f"warning: {uuid} is now used by {other.id}." for uuid in shared]
    return last.gpus, notes


def _banner(job: Job, variables: dict[str, str], source: str) -> list[str]:
    """Describe the shell, and how the job is called."""
    gpus = variables.get("CUDA_VISIBLE_DEVICES")
    shown = {None: "all", "-1": "none", "": "none"}.get(gpus, gpus)
    about = f"{source}, folder {job.workdir}, GPUs: {shown}"
    lines = [f"shell of {job.id}: {about}. It is no attempt: nothing is saved."]
    if job.command is not None:
        return [*lines, f"the job runs: {shlex.join(job.command)}"]
    call = f"-m {job.module}"
    if job.script is not None:
        inside = job.source.script if job.source is not None else None
        call = f'"${SNAPSHOT}"/{shlex.quote(inside)}' if inside else shlex.quote(job.script)
    # the whole path: a ~/.bashrc that puts pyenv or conda in front has the last word on PATH
    python = shlex.quote(job.python or sys.executable)
    return [*lines, f"the job runs: {python} {call} {shlex.join(job.args)}".rstrip()]
