"""Carrying out requests: what each verb means in each state of a job."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import structlog

from rekindle.daemon.attempts import Attempts
from rekindle.daemon.config import Retention
from rekindle.daemon.intake.requests import Request
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.upkeep import transfer
from rekindle.daemon.upkeep.pruning import Pruning
from rekindle.jobs import quantities
from rekindle.jobs.job import Job
from rekindle.state import checkpoints, durable, journal
from rekindle.state.ledger import Ledger
from rekindle.state.lifecycle import ACTIVE, TERMINAL, JobState
from rekindle.state.paths import Home
from rekindle.state.rows import JobRow


class Answers:
    """Each verb is carried out at most once in effect: a repeated request changes nothing."""

    def __init__(self, home: Home, ledger: Ledger, attempts: Attempts, pruning: Pruning,
                 queue: Queue) -> None:
        self._home = home
        self._queue = queue
        self._ledger = ledger
        self._attempts = attempts
        self._pruning = pruning
        self._log = structlog.get_logger()

    def carry_out(self, request: Request) -> str:
        """Does what is asked and says in a sentence what was done."""
        job = None if request.job is None else self._ledger.job(request.job)
        if request.job is None:
            answer = {"pause": self._pause, "resume": self._resume}[request.verb](request.fields)
        elif request.verb == "import":
            answer = transfer.settle(self._home, self._ledger, request.job,
                                    hold=bool(request.fields.get("hold")))
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
        self._ledger.add_event("request_answered", job=job.id if job else None,
                               data={"verb": request.verb, "answer": answer,
                                     "request": request.file.name})
        self._log.info("request_answered", job=request.job, verb=request.verb, answer=answer)
        return answer

    def _prune(self, fields: dict[str, Any]) -> str:
        only, age = fields.get("only"), fields.get("max_age")
        if only is not None and not (isinstance(only, list)
                                     and all(isinstance(name, str) for name in only)):
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
            self._attempts.stop(job, "hold", "It saves and is then held, on request.")
            return "It saves and is then held."
        self._ledger.set_state(job.id, JobState.HELD, "It was stopped on request before it ran.",
                               hint="`rekindle release` lets it go on.", now=time.time())
        return "It is held."

    def _cancel(self, job: JobRow, fields: dict[str, Any]) -> str:
        if job.state in TERMINAL:
            return f"It is {job.state} already."
        if job.state in ACTIVE:
            self._attempts.stop(job, "cancel", "It saves and is then cancelled, on request.")
            return "It saves and is then cancelled."
        self._ledger.set_state(job.id, JobState.CANCELLED, "It was cancelled on request.",
                               now=time.time())
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
            self._change(job, lambda accepted: accepted.replace(
                limits=dataclasses.replace(accepted.limits, max_runtime=seconds)))
        return self._back(job, "It was released on request.")

    def _retry(self, job: JobRow, fields: dict[str, Any]) -> str:
        again = {JobState.HELD, JobState.FAILED, JobState.CANCELLED, JobState.WAITING}
        scratch = bool(fields.get("from_scratch"))
        if scratch:
            again.add(JobState.DONE)
        if job.state not in again:
            return f"It is {job.state}; there is nothing to try again."
        if scratch:
            self._set_checkpoints_aside(job)
        if fields.get("allow_change"):
            self._change(job, lambda accepted: accepted.replace(allow_change=True))
        return self._back(job, "It is tried again from scratch, on request." if scratch
                           else "It is tried again on request.")

    def _priority(self, job: JobRow, fields: dict[str, Any]) -> str:
        value = fields.get("value")
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 10**9:
            return "The priority must be a whole number of at most ten digits."
        self._ledger.set_priority(job.id, value)
        return f"Its priority is {value}."

    def _back(self, job: JobRow, reason: str) -> str:
        self._ledger.set_state(job.id, JobState.QUEUED, reason, now=time.time(), failures=0)
        return reason

    def _set_checkpoints_aside(self, job: JobRow) -> None:
        """Scratch deletes nothing: what was there goes to quarantine with this reason."""
        run = self._home.run(job.id)
        reason = "set aside on request: the job starts from scratch"
        for checkpoint in checkpoints.scan(run.checkpoints):
            where = checkpoints.quarantine(checkpoint, reason)
            journal.append(run.journal, "checkpoint_refused", attempt=job.attempts,
                           name=checkpoint.name, reason=reason, quarantined_to=str(where))
        journal.append(run.journal, "scratch_requested", attempt=job.attempts)
        self._attempts.read(job)

    def _change(self, job: JobRow, change: Callable[[Job], Job]) -> None:
        """Changes the accepted spec of a job, as a person asked for it."""
        run = self._home.run(job.id)
        changed = change(Job.from_json(run.job_file.read_text()))
        durable.write_bytes(run.job_file, changed.to_json().encode(), 0o600)
        self._ledger.set_spec(job.id, changed.to_json(secrets=False))
