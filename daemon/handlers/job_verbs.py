"""Carry out the verbs about one job in any state; each returns a sentence on what was done."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rekindle.daemon.handlers.tools import Tools
from rekindle.jobs import quantities
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, TERMINAL, JobState
from rekindle.state.run import checkpoints, journal

Fields = Mapping[str, Any]
_MAX_PRIORITY: Final = 10**9
_RETRIED: Final = frozenset({JobState.HELD, JobState.FAILED, JobState.CANCELLED, JobState.WAITING})


def stop(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Save, end and hold a job."""
    if job.state in TERMINAL or job.state == JobState.HELD:
        return f"It is {job.state} already."
    if job.state in ACTIVE:
        answer = tools.attempts.saved(job).when_asked("is then held")
        tools.attempts.stop(
            job, "hold", f"Stopped {tools.on_request}. {answer}", asked_by=tools.asked_by
        )
        return answer
    tools.ledger.set_state(
        job.id,
        JobState.HELD,
        f"It was stopped {tools.on_request} before it ran.",
        hint="`rekindle release` resumes it.",
        now=time.time(),
    )
    return "It is held."


def cancel(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Save, end and cancel a job."""
    if job.state in TERMINAL:
        return f"It is {job.state} already."
    if job.state in ACTIVE:
        answer = tools.attempts.saved(job).when_asked("is then cancelled")
        tools.attempts.stop(
            job, "cancel", f"Cancelled {tools.on_request}. {answer}", asked_by=tools.asked_by
        )
        return answer
    tools.ledger.set_state(
        job.id, JobState.CANCELLED, f"It was cancelled {tools.on_request}.", now=time.time()
    )
    return "It is cancelled."


def release(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Queue a held job, with ``max_runtime`` as its new limit if it is given."""
    if job.state != JobState.HELD:
        return f"It is {job.state}; there is nothing to release."
    longer = fields.get("max_runtime")
    if longer is not None:
        try:
            seconds = quantities.seconds(longer if isinstance(longer, str) else "")
        except ValueError as error:
            return f"The max_runtime is invalid: {error}."
        _change(
            tools,
            job,
            lambda accepted: accepted.replace(
                limits=dataclasses.replace(accepted.limits, max_runtime=seconds)
            ),
        )
    return _queue(tools, job, f"It was released {tools.on_request}.")


def retry(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Queue a job that does not run; ``from_scratch`` sets its checkpoints aside."""
    scratch = bool(fields.get("from_scratch"))
    # a done job has a hint only if it may have more to train; the hint then says `retry`
    is_retried = job.state in _RETRIED or (job.state == JobState.DONE and bool(scratch or job.hint))
    if not is_retried:
        return f"It is {job.state}; there is nothing to retry."
    if scratch:
        _set_checkpoints_aside(tools, job)
    if fields.get("allow_change"):
        _change(tools, job, lambda accepted: accepted.replace(allow_change=True))
    return _queue(
        tools,
        job,
        f"It is retried from scratch {tools.on_request}."
        if scratch
        else f"It is retried {tools.on_request}.",
    )


def priority(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Set the priority of a job."""
    value = fields.get("value")
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_PRIORITY:
        return "The priority must be a whole number of at most ten digits."
    tools.ledger.set_priority(job.id, value)
    return f"Its priority is {value}."


HANDLERS: Final[Mapping[str, Callable[[Tools, JobRow, Fields], str]]] = {
    "stop": stop,
    "cancel": cancel,
    "release": release,
    "retry": retry,
    "priority": priority,
}


def _queue(tools: Tools, job: JobRow, reason: str) -> str:
    # the file may have been corrected, or damaged, since it was entered into the ledger
    accepted = Job.read(tools.home.run(job.id).job_file).to_json(secrets=False)
    if accepted != tools.ledger.spec_text(job.id):
        tools.ledger.set_spec(job.id, accepted)
    tools.ledger.set_state(job.id, JobState.QUEUED, reason, now=time.time(), failures=0)
    return reason


def _set_checkpoints_aside(tools: Tools, job: JobRow) -> None:
    """Move all checkpoints to quarantine with this reason: `--from-scratch` deletes nothing."""
    run = tools.home.run(job.id)
    reason = "set aside on request: the job starts from scratch"
    for checkpoint in checkpoints.scan(run.checkpoints):
        where = checkpoints.quarantine(checkpoint, reason)
        journal.append(
            run.journal,
            "checkpoint_refused",
            attempt=job.attempts,
            name=checkpoint.name,
            reason=reason,
            quarantined_to=str(where),
        )
    journal.append(run.journal, "scratch_requested", attempt=job.attempts)
    tools.attempts.read(job)


def _change(tools: Tools, job: JobRow, change: Callable[[Job], Job]) -> None:
    """Change the accepted spec of a job on a person's request."""
    run = tools.home.run(job.id)
    changed = change(Job.read(run.job_file))
    durable.write_bytes(run.job_file, changed.to_json().encode(), 0o600)
    tools.ledger.set_spec(job.id, changed.to_json(secrets=False))
