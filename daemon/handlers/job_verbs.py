"""Carry out the verbs about one job in any state; each returns a sentence on what was done."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rekindle.daemon.handlers import new_code
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.queueing.wants import is_used_up
from rekindle.jobs import quantities
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import NotDone, UsageError
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, TERMINAL, JobState
from rekindle.state.run import checkpoints, journal

Fields = Mapping[str, Any]
_MAX_PRIORITY: Final = 10**9
_RETRY: Final = {
    JobState.DONE: "`rekindle retry --from-scratch` trains it again from the beginning.",
    JobState.FAILED: "`rekindle retry` runs it again.",
    JobState.CANCELLED: "`rekindle retry` runs it again.",
}


def stop(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Save, end and hold a job."""
    if job.state == JobState.HELD:
        return "It is held already."
    if job.state in TERMINAL:
        raise NotDone(
            f"It is {job.state} already; there is nothing to stop.",
            hint="`rekindle show` has its result.",
        )
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
    if job.state == JobState.CANCELLED:
        return "It is cancelled already."
    if job.state in TERMINAL:
        raise NotDone(
            f"It is {job.state} already; there is nothing to cancel.",
            hint="`rekindle show` has its result.",
        )
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
    """Let a held job continue, with ``max_runtime`` as its new limit if it is given.

    A job that is still stopping is queued once its attempt has ended. With ``new_code`` it runs
    the present code, also if it waits for its start.
    """
    seconds = _max_runtime(fields)
    wanted = bool(fields.get("new_code"))
    if job.state in TERMINAL:
        raise NotDone(
            f"It is {job.state}; only a held job can be released.", hint=_RETRY[job.state]
        )
    if job.state == JobState.STOPPING and job.wish == "cancel":
        raise NotDone("It is being cancelled.", hint="`rekindle retry` runs it again.")
    if job.state == JobState.HELD:
        require_time(tools, job, seconds)
    code = (
        new_code.settle(tools, job, wanted=wanted) if wanted or job.state == JobState.HELD else ""
    )
    if seconds is not None:
        change(
            tools,
            job,
            lambda accepted: accepted.replace(
                limits=dataclasses.replace(accepted.limits, max_runtime=seconds)
            ),
        )
    if job.state == JobState.STOPPING:
        return _queue_after_stop(tools, job, longer=seconds is not None)
    if job.state != JobState.HELD:
        return f"It is {job.state}; it is not held. {code}".rstrip()
    return f"{put_into_queue(tools, job, f'It was released {tools.on_request}.')} {code}".rstrip()


def retry(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Queue a job that does not run; ``from_scratch`` sets its checkpoints aside.

    A job that is still stopping is queued once its attempt has ended. With ``new_code`` it runs
    the present code.
    """
    scratch, wanted = bool(fields.get("from_scratch")), bool(fields.get("new_code"))
    _refuse_retry(job, scratch=scratch)
    if job.state not in (JobState.QUEUED, JobState.STOPPING):
        require_time(tools, job, None)
    code = new_code.settle(tools, job, wanted=wanted) if wanted or job.state not in ACTIVE else ""
    if scratch:
        _set_checkpoints_aside(tools, job)
        change(tools, job, lambda accepted: accepted.replace(extension=None, fork=None))
    if fields.get("allow_change"):
        change(tools, job, lambda accepted: accepted.replace(allow_change=True))
    if job.state == JobState.STOPPING:
        return _queue_after_stop(tools, job)
    if job.state == JobState.QUEUED:
        return f"It is queued already. {code}".rstrip()
    how = "retried from scratch" if scratch else "retried"
    return f"{put_into_queue(tools, job, f'It is {how} {tools.on_request}.')} {code}".rstrip()


def _refuse_retry(job: JobRow, *, scratch: bool) -> None:
    """Refuse to retry a job in a state that does not allow it.

    Raises:
        NotDone: the job runs, is done, has no time left, or stops while its checkpoints are to be
            set aside.
    """
    # a done job has a hint only if it may have more to train; the hint then says `retry`
    if job.state == JobState.DONE and not (scratch or job.hint):
        raise NotDone("It is done; there is nothing to retry.", hint=_RETRY[job.state])
    if job.state in (JobState.STARTING, JobState.RUNNING):
        raise NotDone(
            f"It is {job.state}; there is nothing to retry.",
            hint="`rekindle stop` ends its attempt; then `rekindle retry` starts another one.",
        )
    if job.state == JobState.STOPPING and scratch:
        raise NotDone(
            "It is stopping; it may still write checkpoints, so none is set aside.",
            hint="`rekindle wait` waits for its end; then `rekindle retry --from-scratch`.",
        )
    if job.state == JobState.STOPPING and job.wish == "runtime":
        raise _no_time_left()


def priority(tools: Tools, job: JobRow, fields: Fields) -> str:
    """Set the priority of a job."""
    value = fields.get("value")
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_PRIORITY:
        raise UsageError(
            "The priority must be a whole number of at most ten digits.",
            hint="Write for example `rekindle priority JOB 5`.",
        )
    tools.ledger.set_priority(job.id, value)
    return f"Its priority is {value}."


HANDLERS: Final[Mapping[str, Callable[[Tools, JobRow, Fields], str]]] = {
    "stop": stop,
    "cancel": cancel,
    "release": release,
    "retry": retry,
    "priority": priority,
}


def _max_runtime(fields: Fields) -> float | None:
    longer = fields.get("max_runtime")
    if longer is None:
        return None
    try:
        return quantities.seconds(longer if isinstance(longer, str) else "")
    except ValueError as error:
        raise UsageError(
            f"The max_runtime is invalid: {error}.", hint="Write for example --max-runtime 12h."
        ) from None


def _no_time_left() -> NotDone:
    return NotDone(
        "It has reached its `max_runtime`: the queue would hold it again.",
        hint="`rekindle release JOB --max-runtime 12h` resumes it with a new limit.",
    )


def _queue_after_stop(tools: Tools, job: JobRow, *, longer: bool = False) -> str:
    """Let a stopping job be queued at the end of its attempt; the ledger remembers it.

    Args:
        longer: a new limit of its running time was given.
    """
    if job.wish == "runtime" and not longer:
        raise _no_time_left()
    answer = "It is still stopping; it returns to the queue when its attempt has ended."
    if job.wish not in ("window", "pause", "release"):
        tools.attempts.resume_after_stop(job, answer, tools.asked_by)
    return answer


def require_time(tools: Tools, job: JobRow, seconds: float | None) -> None:
    """Refuse to queue a job that has reached its `max_runtime`: the queue would hold it again.

    Args:
        seconds: its new limit; None for that of its spec.

    Raises:
        NotDone: it has no time left.
    """
    most = seconds
    if most is None:
        most = Job.read(tools.home.run(job.id).job_file).limits.max_runtime
    if most is not None and is_used_up(most, tools.ledger.runtime(job.id)):
        raise _no_time_left()


def put_into_queue(tools: Tools, job: JobRow, reason: str) -> str:
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


def change(tools: Tools, job: JobRow, change: Callable[[Job], Job]) -> None:
    """Change the accepted spec of a job on a person's request."""
    run = tools.home.run(job.id)
    changed = change(Job.read(run.job_file))
    durable.write_bytes(run.job_file, changed.to_json().encode(), 0o600)
    tools.ledger.set_spec(job.id, changed.to_json(secrets=False))
