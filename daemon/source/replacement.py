"""Replace the snapshot of a job by a newer one, so that a crash leaves the old or the new one.

`job.json` decides: its replacement is the commit. The link `source` follows from it, and is set
again before an attempt starts; the ledger gets both in one transaction. The earlier snapshot is
kept for as long as the run directory exists, since the journal names it.
"""

import os
import time
from pathlib import Path
from typing import Final

from rekindle.daemon.source.present_code import Changes
from rekindle.daemon.source.store import folder_name, link_target
from rekindle.jobs.job import Job, NewCode, Source
from rekindle.state import crash_points, durable
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home, Run
from rekindle.state.run import entries, journal

_NAMED: Final = 50


def pending(job: Job, attempts: int) -> NewCode | None:
    """Return the replacement that no attempt has run yet."""
    new = job.new_code
    return new if new is not None and new.attempt > attempts else None


def earlier(job: Job, attempts: int) -> str:
    """Return the digest of the code that the last attempt ran, or would have run."""
    assert job.source is not None
    new = pending(job, attempts)
    return new.before if new is not None else job.source.digest


def carry_out(
    home: Home,
    ledger: Ledger,
    job: Job,
    source: Source,
    changes: Changes,
    attempts: int,
    *,
    on_request: str = "on request",
) -> None:
    """Make a job run a newer snapshot from its next attempt on; repeated after a crash.

    Raises:
        OSError: the run directory cannot be written; the job keeps the code that `job.json` names.
    """
    assert job.source is not None
    run = home.run(job.id)
    before = earlier(job, attempts)
    new = NewCode(
        at=time.time(),
        attempt=attempts + 1,
        before=before,
        after=source.digest,
        changed=list(changes.changed[:_NAMED]),
        added=list(changes.added[:_NAMED]),
        removed=list(changes.removed[:_NAMED]),
        changed_count=len(changes.changed),
        added_count=len(changes.added),
        removed_count=len(changes.removed),
    )
    for digest in {before, job.source.digest} - {source.digest}:
        _keep(home, run, digest)
    what = str(changes) or changes.problem
    _note(ledger, run, new, f"The present code replaced the snapshot {on_request}: {what}.")
    crash_points.reached("code_noted")
    replaced = job.replace(source=source, new_code=new)
    durable.write_bytes(run.job_file, replaced.to_json().encode(), 0o600)
    crash_points.reached("code_committed")
    relink(home, replaced)
    crash_points.reached("code_linked")
    ledger.set_spec(job.id, replaced.to_json(secrets=False))


def take_back(home: Home, ledger: Ledger, job: Job, source: Source) -> None:
    """Undo a replacement that no attempt has run: the present code is the earlier one again."""
    restored = job.replace(source=source, new_code=None)
    run = home.run(job.id)
    durable.write_bytes(run.job_file, restored.to_json().encode(), 0o600)
    relink(home, restored)
    ledger.set_spec(job.id, restored.to_json(secrets=False))


def relink(home: Home, job: Job) -> None:
    """Let the link of a run name the snapshot that its `job.json` names.

    Nothing is changed where there is no link, such as in a home that was copied without links, or
    where the snapshot is missing.
    """
    if job.source is None:
        return
    run = home.run(job.id)
    wanted = link_target(home.sources, job.source.digest)
    try:
        if Path(os.readlink(run.source)).parts[-2] == Path(wanted).parts[-2]:
            return
    except (OSError, IndexError):
        return
    if (run.root / wanted).is_dir():
        temporary = run.root / ".source.tmp"
        temporary.unlink(missing_ok=True)
        os.symlink(wanted, temporary)
        os.replace(temporary, run.source)
        durable.fsync_folder(run.root)


def _keep(home: Home, run: Run, digest: str) -> None:
    """Link an earlier snapshot into the run directory, so that it is not removed as unused."""
    run.earlier_code.mkdir(mode=0o750, exist_ok=True)
    link = run.earlier_code / folder_name(digest)
    if not os.path.lexists(link):
        os.symlink(link_target(home.sources, digest, up=3), link)
        durable.fsync_folder(run.earlier_code)
        durable.fsync_folder(run.root)


def _note(ledger: Ledger, run: Run, new: NewCode, message: str) -> None:
    """Journal a replacement, once also where it is repeated after a crash."""
    for event in ledger.events(run.id, kind=entries.code_replaced.name):
        known = event.data
        if (known.get("before"), known.get("after")) == (new.before, new.after) and (
            known.get("runs_from") == new.attempt
        ):
            return
    journal.append(
        run.journal,
        attempt=new.attempt - 1,
        **entries.code_replaced(
            message=message,
            runs_from=new.attempt,
            before=new.before,
            after=new.after,
            changed=new.changed,
            added=new.added,
            removed=new.removed,
            changed_count=new.changed_count,
            added_count=new.added_count,
            removed_count=new.removed_count,
        ),
    )
