"""Make a job of a run from another host that waits in `imports/`, exactly once.

`import-run` leaves a verified run there under a token, and a request. Only the daemon assigns
numbers, so that no two jobs share one: the run's `job.json` gets its new id, one rename makes it
`runs/<id>`, and the ledger ingests its whole journal. After a crash the token in `job.json`
identifies an import that is half done.
"""

import os
import re
import time
from typing import Final

from rekindle.daemon.verify import rebuild
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import NotDone, NotFound, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home, Run

_TOKEN: Final = re.compile(r"[0-9a-f]+-import")


def settle(home: Home, ledger: Ledger, token: str, *, hold: bool) -> str:
    """Make a job of the run that waits under ``token``; return the result as a sentence.

    Args:
        hold: leave the job held; otherwise it is queued, unless it has ended.

    Raises:
        NotFound, NotDone: there is no such import, or it is no valid job.
        OSError: the home cannot be written.
    """
    if not _TOKEN.fullmatch(token):
        raise _no_import(token)
    waiting = home.imports / token
    job_id = ledger.find_claim(token)
    if job_id is None:
        if not waiting.is_dir():
            raise _no_import(token)
        try:
            job = Job.read(waiting / "job.json")
        except (OSError, SpecError) as error:
            raise NotDone(
                f"The import has no valid job: {error}",
                hint="Export it again on the other host: `rekindle export-run JOB --to F.tar`.",
            ) from error
        job_id = _accept(home, ledger, waiting, job)
    row = ledger.job(job_id)
    assert row is not None
    if row.state in TERMINAL:
        return f"Imported as {job_id}, {row.state}."
    if hold or row.state not in (JobState.HELD, JobState.WAITING):
        return f"Imported as {job_id}, {row.state}."
    ledger.set_state(
        job_id, JobState.QUEUED, "Imported from another host; ready to resume.", now=time.time()
    )
    return f"Imported as {job_id}; it is queued and resumes from its last checkpoint."


def _no_import(token: str) -> NotFound:
    return NotFound(
        f"There is no import {token}.", hint="`rekindle import-run FILE.tar` imports a job."
    )


def _accept(home: Home, ledger: Ledger, waiting: os.PathLike[str], job: Job) -> str:
    number = home.free_number(job.name, ledger.highest_number(job.name))
    job = job.replace(id=f"{job.name}-{number}")
    here = Run(home.imports / os.path.basename(waiting))
    durable.write_bytes(here.job_file, job.to_json().encode(), 0o600)
    os.rename(here.root, home.runs / job.id)
    durable.fsync_folder(home.runs)
    enter(home, ledger, job)
    return job.id


def enter(home: Home, ledger: Ledger, job: Job) -> None:
    """Enter a run with its history into the ledger, in one transaction."""
    with ledger.transaction():
        rebuild.enter(ledger, home.run(job.id), job)
