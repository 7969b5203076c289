"""Let a finished job train on for more epochs."""

import time
from collections.abc import Mapping
from typing import Any, Final

from rekindle.daemon.handlers import new_code
from rekindle.daemon.handlers.job_verbs import change, put_into_queue, require_time
from rekindle.daemon.handlers.tools import Tools
from rekindle.jobs.job import Extension, Job
from rekindle.state.counted import counted
from rekindle.state.errors import NotDone, UsageError
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, summary
from rekindle.state.run.checkpoints import Position

_MOST: Final = 10**9
_INSTEAD: Final = {
    JobState.HELD: "`rekindle release` resumes it; extend it once it is done.",
    JobState.FAILED: "`rekindle retry` runs it again; extend it once it is done.",
    JobState.CANCELLED: "`rekindle retry` runs it again; extend it once it is done.",
}


def extend(tools: Tools, job: JobRow, fields: Mapping[str, Any]) -> str:
    """Queue a job that is done, to train its last `fit` up to a larger number of epochs.

    Raises:
        UsageError: the number of epochs is none.
        NotDone: the job is not done, or its last training cannot train on.
    """
    epochs = fields.get("epochs")
    if not isinstance(epochs, int) or isinstance(epochs, bool) or not 0 < epochs <= _MOST:
        raise UsageError(
            "The number of epochs must be a whole number above 0.",
            hint="`rekindle extend JOB --epochs 20` trains up to 20 epochs in all.",
        )
    run = tools.home.run(job.id)
    accepted = Job.read(run.job_file)
    known = accepted.extension
    waits = known is not None and known.attempt > job.attempts and known.epochs == epochs
    if waits and job.state in (JobState.QUEUED, JobState.WAITING):
        return f"It is {job.state} already, to train up to {counted(epochs, 'epoch')}."
    if job.state != JobState.DONE:
        raise NotDone(
            f"It is {job.state}; only a job that is done can be extended.",
            hint=_INSTEAD.get(job.state, "`rekindle wait JOB` waits for its end."),
        )
    end = _find_end(run, job)
    if epochs <= end.epoch:
        raise NotDone(
            f"It has trained {counted(end.epoch, 'epoch')} already.",
            hint="`rekindle extend JOB --epochs N` counts the epochs in all.".replace(
                " N`", f" {max(2 * end.epoch, 1)}`"
            ),
        )
    require_time(tools, job, None)
    code = new_code.settle(tools, job, wanted=False)
    extension = Extension(time.time(), job.attempts + 1, end.stage, epochs, end.epoch)
    change(tools, job, lambda before: before.replace(extension=extension))
    said = put_into_queue(
        tools,
        job,
        f"It is extended from {end.epoch} to {counted(epochs, 'epoch')} {tools.on_request}.",
    )
    doubt = (
        f"Its result will not be that of a run of {counted(epochs, 'epoch')} from the start: "
        "schedules keep what the script planned; its receipt names them."
    )
    return " ".join(part for part in (said, _of_script(accepted, end), doubt, code) if part)


def _find_end(run: Run, job: JobRow) -> Position:
    """Find the end of the last training of a job.

    Raises:
        NotDone: there is none, or it is a loop of the script's own.
    """
    newest = next(iter(checkpoints.scan(run.checkpoints)), None)
    if newest is None or not newest.position.end:
        raise NotDone(
            "It has no checkpoint of a finished training to train on from.",
            hint="`rekindle retry JOB --from-scratch` trains it again from the beginning.",
        )
    at = newest.position
    for entry in summary.read(run).entries:
        if entry["kind"] == entries.stage_begun.name and (entry.get("stage") or 0) == at.stage:
            key = entry.get("key")
            if isinstance(key, dict) and key.get("kind") == "loop":
                raise NotDone(
                    "Its last training is a loop of the script's own, whose length the script "
                    "decides.",
                    hint=f'Submit the script with more epochs and `warm_start = "{job.id}"`, '
                    "which begins with the weights of this job.",
                )
    return at


def _of_script(job: Job, end: Position) -> str:
    """Say which `fit` trains on, and that the script is not given the new number."""
    which = f"Only its last `fit`, stage {end.stage}, trains on." if end.stage else ""
    given = f"The script is still called with {' '.join(job.args)}." if job.args else ""
    return " ".join(part for part in (which, given) if part)
