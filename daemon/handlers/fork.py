"""Make a new job that begins from a checkpoint of another one, with other arguments."""

import functools
import os
import shlex
import shutil
import time
from collections.abc import Mapping
from typing import Any, Final

from rekindle.daemon.handlers.new_code import NotYet
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.intake import requests
from rekindle.daemon.spec.job_fields import read_name
from rekindle.daemon.spec.kinds import Wrong
from rekindle.daemon.transfer import forked, transfer
from rekindle.jobs.job import Fork, Job
from rekindle.state import crash_points, durable
from rekindle.state.counted import counted
from rekindle.state.errors import NotDone, UsageError
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import NEW_FORK, Run
from rekindle.state.run.checkpoints import Position

_MOST_ARGUMENTS: Final = 10_000


def fork(tools: Tools, job: JobRow, fields: Mapping[str, Any]) -> str:
    """Make the new job, once for each request; the other job is read only.

    Raises:
        NotYet: its checkpoint is being verified and linked.
        UsageError, NotDone, NotFound: there is nothing to fork.
    """
    token = requests.claim_of(tools.request)
    known = tools.ledger.find_claim(token)
    if known is not None:
        return _answer(Job.read(tools.home.run(known).job_file))
    which, args, name = _checked(job.id, fields)
    parent = tools.home.run(job.id)
    accepted = Job.read(parent.job_file)
    if accepted.command is not None:
        raise NotDone(
            "It runs a command, whose checkpoints only the command understands.",
            hint=f"`rekindle show {job.id}` lists its checkpoints; submit the command again, and "
            "let it read one of them.",
        )
    _refuse_beyond_limit(tools)
    new = Run(tools.home.runs / f"{NEW_FORK}{token}")
    prepare = functools.partial(forked.prepare, parent, new, which)
    outcome = tools.background.ask(("fork", token), prepare)
    if outcome is None:
        raise NotYet
    at: Position = outcome.get()
    made = _job(tools, accepted, at, args, name, replace=fields.get("replace") is True)
    _accept(tools, parent, new, made)
    return _answer(made)


def _checked(job: str, fields: Mapping[str, Any]) -> tuple[int | str | None, list[str], str | None]:
    which, args, name = fields.get("which"), fields.get("args", []), fields.get("name")
    known = isinstance(which, str) and Position.parse(which) is not None
    number = isinstance(which, int) and not isinstance(which, bool) and which >= 0
    if which is not None and not known and not number:
        raise UsageError(
            f"{str(which)[:80]!r} is neither a number of epochs nor the name of a checkpoint.",
            hint=f"`rekindle show {job}` lists its checkpoints; `rekindle fork {job}:3` begins "
            f"after 3 epochs, `rekindle fork {job}` with the newest.",
        )
    if (
        not isinstance(args, list)
        or len(args) > _MOST_ARGUMENTS
        or not all(isinstance(one, str) and "\0" not in one for one in args)
    ):
        raise UsageError(
            "The arguments must be texts.",
            hint=f"Write them after `--`: `rekindle fork {job} -- --lr 0.01`.",
        )
    try:
        return which, args, None if name is None else read_name(name)
    except Wrong as error:
        what = f"{str(name)[:80]!r} cannot be the name of a job."
        raise UsageError(what, hint=error.hint) from None


def _refuse_beyond_limit(tools: Tools) -> None:
    most, uid = tools.max_waiting, tools.asked_uid
    if most is not None and uid is not None and tools.ledger.count_waiting(uid) >= most:
        raise NotDone(
            f"{tools.asked_by} has {most} of {counted(most, 'job')} that may wait.",
            hint="Fork it again when some of them have started, or ask the administrator for a "
            "larger `max_waiting` in rekindle.toml.",
        )


def _job(
    tools: Tools, parent: Job, at: Position, args: list[str], name: str | None, *, replace: bool
) -> Job:
    """Compose the new job: that of the parent, with arguments behind its own."""
    name = name or parent.name
    number = tools.home.free_number(name, tools.ledger.highest_number(name))
    token = requests.claim_of(tools.request)
    now = time.time()
    return parent.replace(
        name=name,
        id=f"{name}-{number}",
        claim=token,
        submitted_at=now,
        uid=tools.asked_uid,
        user=tools.asked_by or None,
        args=args if replace else [*parent.args, *args],
        after=[],
        warm_start=None,
        allow_change=False,
        new_code=None,
        extension=None,
        grid=None,
        fork=Fork(
            token, parent.id, at.name, at.stage, at.epoch, at.step, at.end, [*parent.args], now
        ),
    )


def _accept(tools: Tools, parent: Run, new: Run, job: Job) -> None:
    """Commit the run directory by one rename, and enter it into the ledger."""
    durable.write_bytes(new.job_file, job.to_json().encode(), 0o600)
    for spec in parent.root.glob("spec.*"):
        shutil.copyfile(spec, new.root / spec.name)
        (new.root / spec.name).chmod(0o600)
    if job.source is not None and not new.source.is_symlink():
        os.symlink(os.readlink(parent.source), new.source)
    durable.fsync_folder(new.root)
    crash_points.reached("fork_prepared")
    os.rename(new.root, tools.home.runs / job.id)
    durable.fsync_folder(tools.home.runs)
    crash_points.reached("fork_accepted")
    transfer.enter(tools.home, tools.ledger, job)


def _answer(job: Job) -> str:
    origin = job.fork
    assert origin is not None
    runs = job.script or job.module or ""
    return (
        f"{job.id} begins from {origin.job}, {origin.checkpoint} "
        f"({counted(origin.epoch, 'epoch')}, step {origin.step}), and runs "
        f"{os.path.basename(runs)} {shlex.join(job.args)}".rstrip()
        + ". Its result will not be that of a run from the start."
    )
