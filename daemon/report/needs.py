"""List what needs a person, each with the one command to type."""

import re
from dataclasses import dataclass
from typing import Final

from rekindle.daemon.client.lines import plain
from rekindle.daemon.report.facts import Facts, JobFacts
from rekindle.state.hints import name_job
from rekindle.state.lifecycle import ACTIVE, WAITS, JobState

_COMMAND: Final = re.compile(r"`((?:sudo )?rekindle [^`]+)`")
_ENDS_A_WAIT: Final = ("rekindle release ", "rekindle retry ")
"""Commands that let a job continue: of several in a hint the one that solves it."""


@dataclass(frozen=True, slots=True)
class Need:
    """Say what a person has to decide.

    Attributes:
        about: the id of a job, or what else.
        job: it is about a job.
        text: what happened.
        hint: what to do, with all choices.
        command: the one to type.
    """

    about: str
    job: bool
    text: str
    hint: str
    command: str


def needs(facts: Facts) -> tuple[Need, ...]:
    """List them: held jobs, failed ones, results to look at, and what stops the queue."""
    found = [_held(one) for one in facts.jobs if one.row.state == JobState.HELD]
    found += [_failed(one) for one in facts.jobs if one.row.state == JobState.FAILED]
    found += [need for one in facts.jobs if (need := _doubtful(one)) is not None]
    return (*found, *_home(facts))


def command_in(hint: str, default: str) -> str:
    """Return the command of a hint that lets a job continue, else its first one."""
    commands = _COMMAND.findall(hint)
    for begin in _ENDS_A_WAIT:
        for command in commands:
            if command.startswith(begin):
                return str(command)
    return str(commands[0]) if commands else default


def _held(one: JobFacts) -> Need:
    job, hint = one.row, _hint(one)
    command = command_in(hint, f"rekindle release {job.id}")
    return Need(job.id, True, plain(job.reason), hint, command)


def _failed(one: JobFacts) -> Need:
    job, hint = one.row, _hint(one)
    command = command_in(hint, f"rekindle retry {job.id}")
    return Need(job.id, True, plain(job.reason), hint, command)


def _hint(one: JobFacts) -> str:
    # a ledger of an older version has hints without the job
    return plain(name_job(one.row.hint, one.row.id))


def _doubtful(one: JobFacts) -> Need | None:
    """Find a job whose result a person should look at, though it runs or is done."""
    job = one.row
    if job.state in (JobState.HELD, JobState.FAILED, JobState.CANCELLED) or not one.turns:
        return None
    if job.state == JobState.DONE and _ENDS_A_WAIT[1] in job.hint:
        # it ended well by its exit code, and inside of a training
        hint = _hint(one)
        return Need(job.id, True, plain(job.reason), hint, command_in(hint, ""))
    last = one.turns[-1]
    look = f"rekindle show {job.id}"
    if last.unfollowed:
        hint = f"`{look}` says what is not followed."
        return Need(job.id, True, plain(last.unfollowed), hint, look)
    differed = next(
        (found for turn in reversed(one.turns) if (found := turn.said("differed_in"))), None
    )
    if differed is None:
        return None
    text = f"Not identical: repeated steps differ since attempt {differed}."
    return Need(job.id, True, text, f"`{look}` names the first step that differs.", look)


def _home(facts: Facts) -> list[Need]:
    home, found = facts.home, []
    for gpu in home.gpus:
        if gpu.set_aside:
            hint = f"When it is repaired, `{gpu.way_back}` uses it again."
            found.append(Need(f"GPU {gpu.label}", False, f"{plain(gpu.text)}.", hint, gpu.way_back))
    for name, why in home.not_taken.items():
        hint = f"It stays in {home.home.inbox} until then; `rekindle doctor` looks for causes."
        found.append(Need(plain(name), False, f"Not taken: {plain(why)}", hint, "rekindle doctor"))
    if home.paused is not None:
        text = "The queue is paused" + (f" by {plain(home.paused.by)}" if home.paused.by else "")
        hint = "`rekindle resume` resumes it."
        found.append(Need("queue", False, f"{text}.", hint, "rekindle resume"))
    if home.trouble:
        hint = "`rekindle doctor` says what to do."
        found.append(Need("queue", False, plain(home.trouble), hint, "rekindle doctor"))
    if home.full:
        hint = "`rekindle prune --yes` removes checkpoints that are not needed."
        found.append(Need("disk", False, "The disk is full.", hint, "rekindle prune --yes"))
    open_jobs = sum(facts.counts.get(state, 0) for state in (*ACTIVE, *WAITS))
    if not home.served and home.starting is None and (open_jobs or home.waiting):
        text = "No daemon is running: nothing that waits will start."
        hint = "`rekindle run` starts one."
        found.append(Need("daemon", False, text, hint, "rekindle run"))
    return found
