"""Let a job run the present code on request, or name what has changed since its snapshot."""

import time

from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.source import replacement
from rekindle.daemon.source.present_code import Changes, Taken
from rekindle.jobs.job import Job, Source
from rekindle.state.errors import NotDone, SpecError
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE


class NotYet(Exception):
    """Report that a request waits for work in the background; it is carried out later."""


def settle(tools: Tools, job: JobRow, *, wanted: bool) -> str:
    """Take the present code if it is ``wanted``; return a sentence for the answer, or nothing.

    Raises:
        NotYet: the code is being read; nothing has been changed.
        NotDone: the code cannot be taken; the job keeps its code and its state.
    """
    if wanted and job.state in ACTIVE:
        raise NotDone(
            f"It is {job.state}, with the code that this attempt began with; nothing was changed.",
            hint="`rekindle stop` ends its attempt, `rekindle wait` waits for that; then "
            "`rekindle release --new-code` takes the present code.",
        )
    accepted = Job.read(tools.home.run(job.id).job_file)
    if accepted.source is None:
        if not wanted:
            return ""
        why = "it is a command" if accepted.command is not None else "live = true"
        return f"It runs the current code at each attempt anyway ({why})."
    if wanted:
        return _take(tools, job, accepted, accepted.source)
    changes = tools.code.changes(tools.request, accepted, tools.asked_at)
    if changes is None:
        raise NotYet
    return _name(job.id, accepted.source, changes)


def _take(tools: Tools, job: JobRow, accepted: Job, source: Source) -> str:
    before = replacement.earlier(accepted, job.attempts)
    outcome = tools.code.take(tools.request, accepted, before, tools.asked_at)
    if outcome is None:
        raise NotYet
    try:
        taken: Taken = outcome.get()
    except SpecError as error:
        raise NotDone(
            f"The present code cannot be taken: {error.what} It is {job.state} and keeps the code "
            f"of {_when(source)}.",
            hint=error.hint,
        ) from error
    if not taken.changes and not taken.changes.problem:
        if before != source.digest:  # a replacement waits for its first attempt
            replacement.take_back(tools.home, tools.ledger, accepted, taken.source)
        return f"Its code has not changed since the snapshot of {_when(source)}."
    # a replacement that a crash interrupted may be in the journal already
    tools.attempts.read(job)
    replacement.carry_out(
        tools.home,
        tools.ledger,
        accepted,
        taken.source,
        taken.changes,
        job.attempts,
        on_request=tools.on_request,
    )
    tools.attempts.read(job)
    return (
        f"It runs the present code from attempt {job.attempts + 1} on: "
        f"{taken.changes or taken.changes.problem}."
    )


def _name(job: str, source: Source, changes: Changes) -> str:
    if changes.problem:
        return (
            f"It continues with the code of {_when(source)}; whether the code has changed since "
            f"is not known ({changes.problem.rstrip('.')})."
        )
    if not changes:
        return ""
    return (
        f"Since the snapshot of {_when(source)}: {changes}. This job continues with the snapshot; "
        f"`rekindle retry {job} --new-code` takes the present code."
    )


def _when(source: Source) -> str:
    return time.strftime("%d %b %H:%M", time.localtime(source.taken_at))
