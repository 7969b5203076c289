"""Decide from its cause what follows the end of an attempt. Pure: no clock, no I/O."""

import dataclasses
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from rekindle.daemon.verdict.outcome import COUNTED, Ending, Failure
from rekindle.daemon.verdict.saved import NOTHING, Saved
from rekindle.jobs.environment import EXIT_DONE, EXIT_SAVED
from rekindle.jobs.job import RetryPolicy
from rekindle.state.errors import RekindleError
from rekindle.state.lifecycle import JobState
from rekindle.state.run import proof

STOP_REASONS: Final = ("hold", "release", "cancel", "window", "pause", "runtime", "gpu")
"""Why an attempt is asked to end before its job is done: three by a person, four by the queue."""
_NEEDS_A_PERSON = {
    "CheckpointsUnreadable",
    "ContainerDetached",
    "ContainerNotEnded",
    "GpuMissing",
    "HookFailed",
    "LeftBehind",
    "NonFinite",
    "OutputMoved",
    proof.ERROR,
    "SourceMissing",
    "SpecError",
    "StateMismatch",
}
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals that another process sends; a fault of the training's own may come again."""
FIRST_RETRY_S: Final = 1.0
"""Wait after the first failure without a new checkpoint: the cause of most, a kill, is over."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Name the next state of a job.

    Attributes:
        outcome: done, preempted, crashed, refused or lost: how the attempt is recorded.
        cause: the cause in the ledger's words.
        reason: a sentence for a person; never empty.
        failures: the new count of consecutive failures without progress.
        delay: seconds to wait before the next attempt; 0 for none.
    """

    state: JobState
    outcome: str
    cause: str
    reason: str
    failures: int
    hint: str = ""
    delay: float = 0.0


def decide(
    ending: Ending,
    *,
    policy: RetryPolicy,
    failures: int,
    stop_reason: str | None,
    boot_id: str,
    daemon_stopping: bool = False,
    keeper_message: str | None = None,
    job: str = "JOB",
    saved: Saved = Saved(),  # noqa: B008  frozen
    asked_by: str = "",
    snapshot: bool = False,
) -> Verdict:
    """Decide the next state of a job whose attempt has ended.

    Args:
        failures: consecutive failures before this attempt, without progress in between.
        stop_reason: one of :data:`STOP_REASONS` if it was asked to end, else None.
        boot_id: the current boot of the host.
        daemon_stopping: the daemon asked all attempts to end because it ends itself.
        keeper_message: the last line of the keeper's log if this daemon spawned it; else None.
        job: its id, for hints.
        saved: what a relaunch would find.
        asked_by: the name of the user who asked it to end; empty if unknown.
        snapshot: it runs a snapshot of its code, which a corrected script does not change.
    """
    return _with_unsaved(
        _decide(
            ending,
            policy,
            failures,
            stop_reason,
            boot_id,
            daemon_stopping,
            keeper_message,
            job,
            saved,
            on_request(asked_by),
            " --new-code" if snapshot else "",
        ),
        ending,
        saved,
    )


def _with_unsaved(verdict: Verdict, ending: Ending, saved: Saved) -> Verdict:
    """Add to any verdict which training is not saved."""
    relaunched = verdict.state in (JobState.QUEUED, JobState.WAITING)
    # before an exception at the first batch there was nothing to save
    trained = ending.started and (ending.failure is None or ending.failure.trained)
    if relaunched and trained and saved.checkpoint is None and NOTHING not in verdict.reason:
        verdict = with_note(verdict, f"{NOTHING.capitalize()}: it starts from the beginning.")
    return with_note(verdict, ending.unfollowed)


def _decide(
    ending: Ending,
    policy: RetryPolicy,
    failures: int,
    stop_reason: str | None,
    boot_id: str,
    daemon_stopping: bool,
    keeper_message: str | None,
    job: str,
    saved: Saved,
    on_request: str,
    option: str,
) -> Verdict:
    cause = ending.cause
    if cause == "done":
        return _done(ending, job)
    if stop_reason == "cancel":
        return Verdict(
            JobState.CANCELLED,
            _outcome(cause),
            "stopped",
            f"It was cancelled {on_request}.",
            failures,
        )
    if stop_reason == "hold":
        return Verdict(
            JobState.HELD,
            _outcome(cause),
            "stopped",
            f"It was stopped {on_request}; {saved.kept}.",
            failures,
            hint=saved.release,
        )
    if stop_reason is not None and (cause != "permanent" or _is_of_gpu(stop_reason, ending)):
        return _asked_to_end(stop_reason, ending, failures, saved)
    if not ending.started and cause == "lost" and keeper_message is not None:
        return _retry(
            ending,
            policy,
            failures,
            "Its keeper ended before the training was started"
            + (f": {keeper_message.rstrip('.')}." if keeper_message else "."),
            job,
        )
    if not ending.started and cause == "lost":
        return Verdict(
            JobState.QUEUED,
            "not started",
            "lost",
            "The attempt had not started when the daemon ended.",
            failures,
        )
    if cause in ("lost", "interrupted") and ending.boot_id != boot_id:
        return Verdict(
            JobState.QUEUED,
            "preempted",
            "preempted",
            f"The host was rebooted; {saved.resumes}.",
            failures,
        )
    if cause == "preempted":
        how = (
            " It did not save within its grace period."
            if ending.killed_after_grace
            else _exit_note(ending)
        )
        who = "The daemon was stopped" if daemon_stopping else "It was preempted"
        return Verdict(
            JobState.QUEUED, "preempted", "preempted", f"{who}; {saved.resumes}.{how}", failures
        )
    if cause == "permanent":
        return _permanent_error(ending, failures)
    if cause in COUNTED:
        return _counted(ending, policy, 0 if ending.progressed else failures, saved)
    return _failed(ending, policy, failures, job, option)


def with_note(verdict: Verdict, note: str) -> Verdict:
    """Append a sentence to the reason; an empty note changes nothing."""
    return dataclasses.replace(verdict, reason=f"{verdict.reason} {note}") if note else verdict


@dataclass(frozen=True, slots=True)
class Damage:
    """Describe a record of a run that cannot be used: the file, the fault and the remedy."""

    file: str
    what: str
    hint: str

    @classmethod
    def of(cls, file: Path, error: Exception) -> Self:
        """Describe the damage that an error at a file means."""
        if isinstance(error, RekindleError):
            return cls(file.name, error.what, f"{file}: {error.hint}")
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return cls(file.name, f"{what}.", f"Move {file} away, or restore it from a backup.")


def hold_damaged(verdict: Verdict, damage: Damage, job: str) -> Verdict:
    """Hold a job with an unreadable record: an attempt must not start with half of them."""
    return Verdict(
        JobState.HELD,
        verdict.outcome,
        verdict.cause,
        f"{verdict.reason} But its {damage.file} cannot be used: {damage.what}",
        verdict.failures,
        hint=f"{damage.hint} Then `rekindle release {job}`.",
    )


def on_request(asked_by: str) -> str:
    """Say on whose request something was done; without a name if it is unknown."""
    return f"on request of {asked_by}" if asked_by else "on request"


def gone(stop_reason: str | None, failures: int, asked_by: str = "") -> Verdict:
    """Decide about a job whose run directory was removed while it had an attempt."""
    if stop_reason == "cancel":
        reason = f"It was cancelled {on_request(asked_by)}."
        return Verdict(JobState.CANCELLED, "lost", "stopped", reason, failures)
    return Verdict(
        JobState.HELD,
        "lost",
        "lost",
        "Its run directory is gone.",
        failures,
        hint="Restore it from a backup, then `rekindle release`; or `rekindle cancel`, "
        "and submit the job again.",
    )


def _is_of_gpu(stop_reason: str, ending: Ending) -> bool:
    """Return whether a permanent error follows from the failed GPU: NaN, or no GPU at all."""
    kind = ending.failure.kind if ending.failure is not None else ""
    return stop_reason == "gpu" and kind in ("GpuMissing", "NonFinite")


def _asked_to_end(stop_reason: str, ending: Ending, failures: int, saved: Saved) -> Verdict:
    """Decide after the queue asked an attempt to end; its exit status is no failure."""
    outcome = _outcome(ending.cause)
    if stop_reason == "runtime":
        return Verdict(
            JobState.HELD,
            outcome,
            "max_runtime",
            f"It has reached its `max_runtime`; {saved.kept}.",
            failures,
            hint="`rekindle release JOB --max-runtime 12h` resumes it with a new limit.",
        )
    if stop_reason == "release":
        # a released job begins to count its failures again
        return Verdict(
            JobState.QUEUED, outcome, "stopped", f"It was stopped and released; {saved.resumes}.", 0
        )
    if stop_reason == "gpu":
        reason = f"Its GPU was set aside; {saved.resumes}."
        return Verdict(JobState.QUEUED, outcome, "gpu_fault", reason, failures)
    if stop_reason == "pause":
        return Verdict(
            JobState.QUEUED, outcome, "paused", f"The queue was paused; {saved.resumes}.", failures
        )
    return Verdict(
        JobState.QUEUED, outcome, "window", f"Its window has closed; {saved.resumes}.", failures
    )


def backoff(policy: RetryPolicy, failures: int) -> float:
    """Compute the seconds to wait after ``failures`` (1 or more) in a row.

    After the first the wait is short; from the second on it doubles, with jitter.
    """
    if failures <= 1:
        return min(FIRST_RETRY_S, policy.backoff_min)
    wait = wait_exponential(multiplier=policy.backoff_min, max=policy.backoff_max) + wait_random(
        0, policy.backoff_min
    )
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures - 1
    return min(wait(state), policy.backoff_max)


def _done(ending: Ending, job: str) -> Verdict:
    """Accept exit code 0 as the end, and name what a person may not expect of it."""
    reason, hint = "The script ended with exit code 0.", ""
    if ending.command:
        reason = "The command ended with exit code 0."
        if ending.stop_requested:
            reason = (
                "The command ended with exit code 0 after SIGTERM, which means that it is finished."
            )
            hint = (
                f"If it is not finished: let it exit with {EXIT_SAVED} after SIGTERM; "
                f"`rekindle retry {job}` starts it again."
            )
    elif ending.unfinished is not None:
        reason = (
            "The script ended with exit code 0 inside an unfinished training "
            f"({ending.unfinished})."
        )
        hint = f"To continue the training: `rekindle retry {job}`."
    return Verdict(JobState.DONE, "done", "done", reason, 0, hint=hint)


def _exit_note(ending: Ending) -> str:
    """Describe how the script ended on request if rekindle did not end it."""
    if ending.exit_code in (None, EXIT_SAVED):
        return ""
    where = f" inside an unfinished training ({ending.unfinished})" if ending.unfinished else ""
    return f" The script ended with exit code {ending.exit_code}{where} when it was asked to stop."


def _permanent_error(ending: Ending, failures: int) -> Verdict:
    failure = ending.failure
    reason = failure.message if failure else "The trainer reported a permanent error."
    hint = (failure.hint if failure else "") or "Read its log with `rekindle logs`."
    state = JobState.HELD if failure and failure.kind in _NEEDS_A_PERSON else JobState.FAILED
    cause = "non_finite" if failure and failure.kind == "NonFinite" else "permanent"
    return Verdict(state, "refused", cause, reason, failures, hint=hint)


def _counted(ending: Ending, policy: RetryPolicy, failures: int, saved: Saved) -> Verdict:
    """Retry after hangs and lack of memory or disk, each with its own count."""
    cause, count = ending.cause, 1 if ending.progressed else ending.same_before + 1
    outcome = {"hang": "hung", "interrupted": "lost"}.get(cause, "crashed")
    what, hint = _SHORT_OF[cause]
    if cause == "hang" and ending.where:
        what = f"It hung in the section {ending.where}."
    if cause == "host_oom" and ending.memory_limit is not None:
        limit = f"{ending.memory_limit / 2**30:.3g} GiB"
        what = f"It was killed for using too much memory (limit: {limit})."
    # one end of a container says nothing about the job
    if cause == "interrupted" and count == 1:
        return Verdict(JobState.QUEUED, outcome, cause, f"{what[:-1]}; {saved.resumes}.", failures)
    # a full disk is retried without limit: space comes back, and a try costs little
    if count >= policy.max_failures and cause != "disk_full":
        return Verdict(
            JobState.HELD, outcome, cause, f"{what} {_limit(policy, count)}.", failures, hint=hint
        )
    delay = backoff(policy, count)
    of = "" if cause == "disk_full" else f" of {policy.max_failures}"
    return Verdict(
        JobState.WAITING,
        outcome,
        cause,
        f"{what} It is retried in {delay:.0f} s (failure {count}{of}).",
        failures,
        hint=hint,
        delay=delay,
    )


_SHORT_OF = {
    "hang": ("It hung.", "`rekindle logs` shows where; `limits.hang_timeout` sets the limit."),
    "host_oom": (
        "The host ran out of memory.",
        "Raise `resources.memory` in its spec, or reduce the memory that the script uses.",
    ),
    "gpu_oom": (
        "The GPU ran out of memory.",
        "Reduce the batch size, or end other processes on the GPU (`nvidia-smi` lists them).",
    ),
    "disk_full": ("The disk was full.", "Free space on the disk that its message names."),
    "interrupted": (
        "Daemon and training were killed together (a container that was killed?).",
        "If the training fills the memory of the container: set `resources.memory` in its spec.",
    ),
}


def _failed(ending: Ending, policy: RetryPolicy, failures: int, job: str, option: str) -> Verdict:
    """Decide after a failure.

    Args:
        option: of `release` and `retry`, to run a corrected script.
    """
    if ending.exit_code == EXIT_SAVED:
        return _retry(
            ending,
            policy,
            failures,
            "It ended with exit code 75 (saved) without a request and without a new checkpoint.",
            job,
            option,
        )
    what = _what(ending)
    failure, previous = ending.failure, ending.previous
    if failure is None or _after_training(ending):
        if failure is not None and not failure.transient:
            return _held_after_training(ending, failures + 1, what, job, option)
        return _retry(ending, policy, failures, what, job, option)
    same = previous is not None and (
        (failure.kind, failure.message) == (previous.kind, previous.message)
    )
    native = failure.kind.startswith("SIG")
    anywhere = failure.trained or failure.step > 0
    if not same or previous is None:
        return _retry(ending, policy, failures, what, job, option)
    correct = (
        f"Correct the cause, then `rekindle release {job}{option}`; `rekindle show` has the "
        "traceback."
    )
    if ending.restarted and _ALREADY.search(f"{failure.kind}: {failure.message}"):
        named = _existing(failure)
        return _mistake(
            failures,
            f"It failed twice because {named or 'something'} of an earlier attempt "
            f"exists{_at(failure)}: {what}",
            f"Move {named or 'what the message names'} away, then "
            f"`rekindle release {job}{option}`. To survive a relaunch, let the script accept what "
            'exists (exist_ok=True, mode "w").',
        )
    if not (anywhere or previous.trained or native):
        if ending.restarted:
            return _mistake(
                failures,
                "The script, which has trained in an earlier attempt, failed twice in the same "
                f"way before it completed a step{_at(failure)}: {what}",
                correct,
            )
        return _mistake(
            failures,
            f"The script failed twice in the same way before it completed a step: {what}",
            f"Correct the script, then `rekindle retry {job}{option}`; `rekindle show` has the "
            "traceback.",
            JobState.FAILED,
        )
    if not failure.in_stage:
        return _mistake(
            failures,
            f"The script failed twice in the same way between its trainings{_at(failure)}: {what}",
            correct,
        )
    if anywhere and (failure.epoch, failure.step) == (previous.epoch, previous.step):
        return Verdict(
            JobState.HELD,
            "crashed",
            "poison",
            f"It failed twice at the same batch (epoch {failure.epoch + 1}, step "
            f"{failure.step}): {what}",
            failures + 1,
            hint="Check the data of that batch; `rekindle release` resumes the job.",
        )
    return _retry(ending, policy, failures, what, job, option)


def _mistake(failures: int, reason: str, hint: str, state: JobState = JobState.HELD) -> Verdict:
    return Verdict(state, "crashed", "mistake", reason, failures + 1, hint=hint)


_ALREADY: Final = re.compile(
    r"FileExistsError|AlreadyExistsError|\[Errno 17\]|already exists", re.IGNORECASE
)
_QUOTED: Final = re.compile(r"['\"`]([^'\"`\n]{1,200})['\"`]")


def _existing(failure: Failure) -> str:
    """Extract the name of the existing file from an exception's message; empty if none."""
    found = _ALREADY.search(failure.message)
    named = _QUOTED.search(failure.message, found.end() if found else 0)
    return named[1] if named else ""


def _at(failure: Failure) -> str:
    return f", at {failure.at}" if failure.at else ""


def _after_training(ending: Ending) -> bool:
    """Return whether all stages are finished and the script failed outside of them."""
    in_stage = ending.failure is not None and ending.failure.in_stage
    return bool(ending.finished) and ending.unfinished is None and not in_stage


def _held_after_training(ending: Ending, count: int, what: str, job: str, option: str) -> Verdict:
    """Hold a job whose training is finished: the model is saved, the rest needs a person."""
    stages = f" (stages 1 to {ending.finished})" if ending.finished > 1 else ""
    where = _at(ending.failure) if ending.failure is not None else ""
    return Verdict(
        JobState.HELD,
        "crashed",
        "after_training",
        f"Its training is finished{stages}; the script failed after it{where}: {what}",
        count,
        hint=f"The model is saved (checkpoint {ending.model}): `rekindle export {job} "
        f"--to {job}.keras` writes it. `rekindle release {job}{option}` runs the rest "
        "of the script again, without training.",
    )


def _retry(
    ending: Ending, policy: RetryPolicy, failures: int, what: str, job: str, option: str = ""
) -> Verdict:
    """Retry after a delay; hold after too many failures in a row without a new checkpoint."""
    count = 1 if ending.progressed else failures + 1
    outcome, cause = ("lost", "lost") if ending.cause == "lost" else ("crashed", "crash")
    if count >= policy.max_failures and _after_training(ending):
        return _held_after_training(ending, count, what, job, option)
    if count >= policy.max_failures:
        return Verdict(
            JobState.HELD,
            outcome,
            cause,
            f"{_limit(policy, count)}: {what}",
            count,
            hint="Read its log with `rekindle logs`, correct the cause, then "
            f"`rekindle release {job}{option}`.",
        )
    if ending.progressed and ending.signal in _FROM_OUTSIDE and not _after_training(ending):
        # killed after it had saved: a wait would only be lost time
        return Verdict(JobState.QUEUED, outcome, cause, f"{what} It is resumed at once.", count)
    delay = backoff(policy, count)
    return Verdict(
        JobState.WAITING,
        outcome,
        cause,
        f"{what} It is retried in {delay:.0f} s (failure {count} of {policy.max_failures}).",
        count,
        delay=delay,
    )


def _limit(policy: RetryPolicy, count: int) -> str:
    """State that the last failure that the spec allows has happened."""
    of = f" of {policy.max_failures}" if 0 < count <= policy.max_failures else ""
    return f"Failure {count}{of} in a row without a new checkpoint"


def _outcome(cause: str) -> str:
    return {
        "preempted": "preempted",
        "permanent": "refused",
        "hang": "hung",
        "lost": "lost",
        "interrupted": "lost",
    }.get(cause, "crashed")


def _what(ending: Ending) -> str:
    if ending.failure is not None and ending.signal is None:
        first = ending.failure.message.splitlines()[0][:200] if ending.failure.message else ""
        return f"{ending.failure.kind}: {first}".rstrip(": ") + "."
    if ending.cause == "lost":
        return "The attempt ended without a record of its end (its keeper was killed)."
    if ending.signal is not None:
        try:
            name = signal.Signals(ending.signal).name
        except ValueError:
            name = f"signal {ending.signal}"
        return f"The trainer was ended by {name}."
    if ending.exit_code == EXIT_DONE:
        return "The script ended with exit code 0 after SIGTERM, without a new checkpoint."
    if ending.exit_code is not None:
        return f"The trainer ended with exit code {ending.exit_code}."
    return "The trainer could not be started."
