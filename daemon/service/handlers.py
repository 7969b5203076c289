"""Carrying out requests: what each verb means in each state of a job."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog

from rekindle.daemon import errors
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.config import Retention
from rekindle.daemon.intake import requests
from rekindle.daemon.intake.requests import Request
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.transfer import transfer
from rekindle.jobs import quantities
from rekindle.jobs.job import Job
from rekindle.state import crash_points, durable
from rekindle.state.errors import RekindleError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, TERMINAL, JobState
from rekindle.state.paths import Home
from rekindle.state.run import checkpoints, journal


class Reject(Protocol):
    """Moves a file out of the inbox, to where its reason lies beside it."""

    def __call__(self, path: Path, what: str, *, hint: str) -> object: ...


class Answers:
    """Each verb is carried out at most once in effect: a repeated request changes nothing."""

    def __init__(
        self, home: Home, ledger: Ledger, attempts: Attempts, pruning: Pruning, queue: Queue
    ) -> None:
        self._home = home
        self._queue = queue
        self._ledger = ledger
        self._attempts = attempts
        self._pruning = pruning
        self._log = structlog.get_logger()

    def answer(self, files: Sequence[Path], reject: Reject) -> None:
        """Carries requests out in their order; one that cannot be holds up those of no other job.

        What fails for want of space, of the ledger or the like is kept for the next time, with
        all that was asked of the same job after it. Everything else is refused with its reason.

        Raises:
            Exception: the first that kept a request.
        """
        kept: Exception | None = None
        later: set[str | None] = set()
        for file in files:
            request = None
            try:
                request = self._read(file, reject)
                if request is not None and request.job not in later:
                    self._answer(request, reject)
            except Exception as error:
                kept = kept or error
                if errors.is_of_ledger(error):
                    break  # each of the others would wait for it in vain
                if request is not None and errors.is_transient(error):
                    later.add(request.job)
        if kept is not None:
            raise kept

    def _read(self, file: Path, reject: Reject) -> Request | None:
        try:
            return requests.read(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            if errors.is_transient(error):
                raise
            if isinstance(error, PermissionError):
                reject(
                    file,
                    "The request cannot be read by the daemon.",
                    hint="Use the verbs of `rekindle`, or give its group the right to read it.",
                )
            else:
                reject(
                    file,
                    f"It is not a request: {error}.",
                    hint="Use the verbs of `rekindle`; they write requests.",
                )
            return None

    def _answer(self, request: Request, reject: Reject) -> None:
        try:
            self.carry_out(request)
        except Exception as error:
            if errors.is_transient(error):
                raise
            if not isinstance(
                error,
                RekindleError | OSError | ValueError | TypeError | LookupError | OverflowError,
            ):
                self._log.exception("request_not_carried_out", file=request.file.name)
            what, hint = errors.describe(error)
            reject(request.file, f"It could not be carried out: {what}", hint=hint)
            return
        crash_points.reached("request_answered")
        request.file.unlink(missing_ok=True)
        crash_points.reached("request_removed")

    def carry_out(self, request: Request) -> str:
        """Does what is asked and says in a sentence what was done."""
        job = None if request.job is None else self._ledger.job(request.job)
        if request.job is None:
            answer = {"pause": self._pause, "resume": self._resume}[request.verb](request.fields)
        elif request.verb == "import":
            answer = transfer.settle(
                self._home, self._ledger, request.job, hold=bool(request.fields.get("hold"))
            )
        elif request.verb == "prune":
            answer = self._prune(request.fields)
        elif job is None:
            answer = f"There is no job {request.job}."
        else:
            answer = {
                "stop": self._stop,
                "cancel": self._cancel,
                "release": self._release,
                "retry": self._retry,
                "priority": self._priority,
            }[request.verb](job, request.fields)
        self._ledger.add_event(
            "request_answered",
            job=job.id if job else None,
            data={"verb": request.verb, "answer": answer, "request": request.file.name},
        )
        self._log.info("request_answered", job=request.job, verb=request.verb, answer=answer)
        return answer

    def _prune(self, fields: dict[str, Any]) -> str:
        only, age = fields.get("only"), fields.get("max_age")
        if only is not None and not (
            isinstance(only, list) and all(isinstance(name, str) for name in only)
        ):
            return "The jobs must be a list of ids."
        if age is None:
            return self._pruning.begin(only, Retention(max_bytes=0))
        if isinstance(age, bool) or not isinstance(age, int | float):
            return "The age must be a number of seconds."
        return self._pruning.begin(only, Retention(max_age=float(age)))

    def _pause(self, fields: dict[str, Any]) -> str:
        return self._queue.pause(free=bool(fields.get("now")))

    def _resume(self, fields: dict[str, Any]) -> str:
        gpu = fields.get("gpu")
        return self._queue.resume() if gpu is None else self._queue.take_back(str(gpu))

    def _stop(self, job: JobRow, fields: dict[str, Any]) -> str:
        if job.state in TERMINAL or job.state == JobState.HELD:
            return f"It is {job.state} already."
        if job.state in ACTIVE:
            answer = self._attempts.saved(job).when_asked("is then held")
            self._attempts.stop(job, "hold", f"Stopped on request. {answer}")
            return answer
        self._ledger.set_state(
            job.id,
            JobState.HELD,
            "It was stopped on request before it ran.",
            hint="`rekindle release` lets it go on.",
            now=time.time(),
        )
        return "It is held."

    def _cancel(self, job: JobRow, fields: dict[str, Any]) -> str:
        if job.state in TERMINAL:
            return f"It is {job.state} already."
        if job.state in ACTIVE:
            answer = self._attempts.saved(job).when_asked("is then cancelled")
            self._attempts.stop(job, "cancel", f"Cancelled on request. {answer}")
            return answer
        self._ledger.set_state(
            job.id, JobState.CANCELLED, "It was cancelled on request.", now=time.time()
        )
        return "It is cancelled."

    def _release(self, job: JobRow, fields: dict[str, Any]) -> str:
        if job.state != JobState.HELD:
            return f"It is not held but {job.state}."
        longer = fields.get("max_runtime")
        if longer is not None:
            try:
                seconds = quantities.seconds(longer if isinstance(longer, str) else "")
            except ValueError as error:
                return f"Its max_runtime is not understood: {error}."
            self._change(
                job,
                lambda accepted: accepted.replace(
                    limits=dataclasses.replace(accepted.limits, max_runtime=seconds)
                ),
            )
        return self._back(job, "It was released on request.")

    def _retry(self, job: JobRow, fields: dict[str, Any]) -> str:
        again = {JobState.HELD, JobState.FAILED, JobState.CANCELLED, JobState.WAITING}
        scratch = bool(fields.get("from_scratch"))
        # a job that is done has a hint only where it may have more to train, and that says `retry`
        if scratch or job.hint:
            again.add(JobState.DONE)
        if job.state not in again:
            return f"It is {job.state}; there is nothing to try again."
        if scratch:
            self._set_checkpoints_aside(job)
        if fields.get("allow_change"):
            self._change(job, lambda accepted: accepted.replace(allow_change=True))
        return self._back(
            job,
            "It is tried again from scratch, on request."
            if scratch
            else "It is tried again on request.",
        )

    def _priority(self, job: JobRow, fields: dict[str, Any]) -> str:
        value = fields.get("value")
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 10**9:
            return "The priority must be a whole number of at most ten digits."
        self._ledger.set_priority(job.id, value)
        return f"Its priority is {value}."

    def _back(self, job: JobRow, reason: str) -> str:
        # the file may have been put right, or damaged, since the ledger took it in
        accepted = Job.read(self._home.run(job.id).job_file).to_json(secrets=False)
        if accepted != self._ledger.spec_text(job.id):
            self._ledger.set_spec(job.id, accepted)
        self._ledger.set_state(job.id, JobState.QUEUED, reason, now=time.time(), failures=0)
        return reason

    def _set_checkpoints_aside(self, job: JobRow) -> None:
        """Scratch deletes nothing: what was there goes to quarantine with this reason."""
        run = self._home.run(job.id)
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
        self._attempts.read(job)

    def _change(self, job: JobRow, change: Callable[[Job], Job]) -> None:
        """Changes the accepted spec of a job, as a person asked for it."""
        run = self._home.run(job.id)
        changed = change(Job.read(run.job_file))
        durable.write_bytes(run.job_file, changed.to_json().encode(), 0o600)
        self._ledger.set_spec(job.id, changed.to_json(secrets=False))
