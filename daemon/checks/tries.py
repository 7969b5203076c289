"""Run all tries for the waiting jobs of a home, in the process that asks."""

import os
from collections.abc import Iterable, Iterator
from typing import Final

from rekindle.daemon.checks import folders, interpreters
from rekindle.daemon.checks.finding import ERROR, WARNING, Finding, Waiting
from rekindle.daemon.checks.interpreters import Limits, Report
from rekindle.daemon.intake import arrivals
from rekindle.daemon.spec import parse
from rekindle.jobs.job import Job
from rekindle.state.errors import RekindleError, SpecError
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

MOST_FINDINGS: Final = 200
"""Findings that a daemon passes on; ten thousand jobs may have as many."""


def of_jobs(home: Home, states: Iterable[tuple[str, JobState]]) -> list[Waiting]:
    """Read the accepted specs of jobs; one that cannot be read is reported by the daemon."""
    found = []
    for job_id, state in states:
        try:
            found.append(Waiting(job_id, Job.read(home.run(job_id).job_file), state))
        except (OSError, RekindleError):
            continue
    return found


def of_inbox(home: Home) -> tuple[list[Waiting], list[Finding]]:
    """Parse the specs in the inbox, and report those that will be refused."""
    waiting: list[Waiting] = []
    wrong: list[Finding] = []
    for name in arrivals.waiting(home):
        if not name.endswith(parse.SUFFIXES):
            continue
        path = home.inbox / name
        try:
            job = parse.parse(path.read_bytes()[: parse.MAX_BYTES + 1], path.name, home.inbox)
        except SpecError as error:
            wrong.append(
                Finding(ERROR, "spec", f"{path.name} will be refused: {error.what}", error.hint)
            )
        except OSError as error:
            what = f"{path.name} cannot be read: {error.strerror}."
            hint = f"Let the daemon's user read it: chmod g+r {path}, or remove it."
            wrong.append(Finding(ERROR, "spec", what, hint))
        else:
            waiting.append(Waiting(path.name, job))
    return waiting, wrong


def readable(home: Home, waiting: Iterable[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """Separate the jobs whose spec this process may read: the ledger has no secrets of `env`."""
    own: list[Waiting] = []
    closed: list[Waiting] = []
    for one in waiting:
        is_open = one.state is None or os.access(home.run(one.name).job_file, os.R_OK)
        (own if is_open else closed).append(one)
    return own, closed


def run(
    home: Home,
    waiting: list[Waiting],
    *,
    imports: bool,
    limits: Limits,
    report: Report = lambda _: None,
) -> Iterator[Finding]:
    """Yield what the folders and interpreters of jobs lack, for this process."""
    yield from folders.check(waiting)
    if imports:
        yield from interpreters.check(home, waiting, limits, report)


def to_run(waiting: Iterable[Waiting]) -> list[Waiting]:
    """Leave out the held jobs: they run when a person has released them."""
    return [one for one in waiting if one.state != JobState.HELD]


def bounded(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the first findings, and say how many more there are."""
    found = list(findings)
    if len(found) <= MOST_FINDINGS:
        return found
    more = f"{len(found) - MOST_FINDINGS} more findings are not listed."
    hint = "Repair the ones above, then run `rekindle doctor` again."
    return [*found[:MOST_FINDINGS], Finding(WARNING, "folder", more, hint)]
