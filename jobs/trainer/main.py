"""The trainer: runs the user's script as ``__main__`` with ``model.fit`` made resumable.

It runs in the user's interpreter, where only the standard library, numpy and Keras may be
expected. Keras is not imported here: the script does that, in its own order and with its
own environment, and an import hook makes ``fit`` resumable at that moment.
"""

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekindle.jobs import environment, heartbeat, journal_writer, provenance, stack_dump
from rekindle.jobs.attempt import safe_output, shutdown
from rekindle.jobs.job import Job
from rekindle.jobs.trainer import blame, hooks, script
from rekindle.jobs.trainer.source_snapshot import SourceSnapshot
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import entries, journal

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session

_TRACEBACK_LINES = 40
_EXIT_NOT_FLUSHED = 120
"""Python's own, where its last output could not be written."""


def main() -> NoReturn:
    """``trainer RUN_DIR ATTEMPT [-- ARGS]``: exits 0 done, 75 saved, 78 permanent, 1 crashed.

    With ARGS the script started itself again and asked for these arguments.
    """
    shutdown.install()
    stack_dump.register()
    safe_output.install()
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    # imported late: a SIGTERM before this line must already find its handler
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.resume.unfollowed import Unfollowed
    from rekindle.jobs.trainer import reexec

    try:
        job = Job.read(run.job_file)
        if sys.argv[3:4] == [reexec.ARGUMENTS]:
            job = job.replace(args=sys.argv[4:])
        session = Session.open(
            run, job, attempt, on_failure=lambda error: _refuse(run, attempt, error)
        )
        shutdown.on_answer(lambda: _tell_received(run, attempt))
        snapshot = SourceSnapshot.of(run, job, session.warn)
    except RekindleError as error:
        _refuse(run, attempt, error)
    session.beat("start")
    _tell_provenance(run, job, session)
    if snapshot is not None:
        _tell_changed(snapshot, session)
        snapshot.install()
    unfollowed = Unfollowed(session)
    hooks.install(job, session, unfollowed)
    reexec.install(job, sys.argv[1:3], session.report_unfollowed)
    try:
        try:
            script.run(job, snapshot)
        except SystemExit as leaving:
            if _status(leaving.code) != environment.EXIT_DONE:
                raise
        finally:
            unfollowed.check(final=True)
        session.stages.settle()
    except SystemExit as leaving:
        code = _status(leaving.code)
        if code != environment.EXIT_SAVED or not shutdown.requested():
            _print_message(leaving.code)
            _report(run, attempt, session, leaving)
        _finish(code)
    except RekindleError as error:
        _refuse(run, attempt, error)
    except BaseException as error:
        _report(run, attempt, session, error)
        _print_exception(error)
        if isinstance(error, KeyboardInterrupt):
            _end_by(signal.SIGINT)
        _finish(1)
    if not shutdown.answered():
        session.beat(heartbeat.ENDED)
    # as a plain script ends: exit handlers run, threads are joined, streams are flushed
    sys.exit(environment.EXIT_DONE)


def _tell_provenance(run: Run, job: Job, session: "Session") -> None:
    """Journals what this attempt runs on; a change since the last one is said aloud."""
    about = provenance.collect(job)
    changed = provenance.changes(provenance.previous(run, session.attempt), about)
    for text in changed:
        session.note_change(text)
    with contextlib.suppress(OSError):
        journal.append(
            run.journal, attempt=session.attempt, **entries.provenance(changed=changed, **about)
        )
    if changed:
        session.warn(
            f"Changed since the last attempt: {', '.join(changed)}.",
            "The result may differ from that of an undisturbed run.",
        )


def _tell_changed(snapshot: SourceSnapshot, session: "Session") -> None:
    changed = snapshot.changed()
    if changed:
        names = ", ".join(changed[:5]) + (" and others" if len(changed) > 5 else "")
        session.warn(
            f"Changed since the job was accepted: {names}.",
            "Code comes from the snapshot, but the script reads these files as they are now.",
        )


def _refuse(run: Run, attempt: int, error: RekindleError) -> NoReturn:
    """Ends with *permanent*: going on without being told to would lose or repeat work."""
    journal_writer.tell(str(error))
    with contextlib.suppress(OSError):
        journal.append(
            run.journal,
            attempt=attempt,
            **entries.failed(
                error_type=type(error).__name__,
                message=error.what,
                hint=error.hint,
                traceback="",
                epoch=0,
                step=0,
            ),
        )
    _finish(environment.EXIT_PERMANENT)


def _report(run: Run, attempt: int, session: "Session", error: BaseException) -> None:
    """Tells in the journal what ended the script, for ``show`` and for the verdict."""
    lines = traceback.format_exception(error)
    text = "".join(lines).splitlines()[-_TRACEBACK_LINES:]
    with contextlib.suppress(OSError):
        journal.append(
            run.journal,
            attempt=attempt,
            **entries.failed(
                error_type=type(error).__name__,
                message=_text(error),
                traceback="\n".join(text),
                epoch=session.progress.epoch,
                step=session.progress.step,
                trained=session.trained,
                within=session.stages.is_from_stage(error),
                at=blame.place(error),
                passing=blame.may_pass(error),
            ),
        )


def _tell_received(run: Run, attempt: int) -> None:
    """Journals that SIGTERM came to a handler of the script's own, which may end the process.

    Not through the session's record: a signal may come while that is being written.
    """
    with contextlib.suppress(OSError):
        journal.append(run.journal, attempt=attempt, **entries.stop_received())


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be read)"


def _status(code: object) -> int:
    """Compute the exit status that Python gives a process that ends by ``SystemExit``."""
    if code is None:
        return environment.EXIT_DONE
    if not isinstance(code, int):
        return 1
    return code & 0xFF if abs(code) < 2**63 else 255


def _print_message(code: object) -> None:
    """Print what a script gave to ``sys.exit`` in place of a number, as Python does."""
    if code is None or isinstance(code, int):
        return
    try:
        print(code, file=sys.stderr)
    except Exception:
        journal_writer.tell(str(code))


def _print_exception(error: BaseException) -> None:
    """Print what ends the script, by the script's own ``sys.excepthook`` where it has one."""
    try:
        if sys.stderr is None or getattr(sys.stderr, "closed", False):
            raise ValueError("standard error is closed")
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        journal_writer.tell("".join(traceback.format_exception(error)))


def _end_by(signum: signal.Signals) -> None:
    """End the process as Python ends by an interrupt that nobody caught."""
    safe_output.flush()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _finish(code: int) -> NoReturn:
    """Ends the process after a failure, and without waiting for a thread of the script's."""
    flushed = safe_output.flush()
    ours = (environment.EXIT_SAVED, environment.EXIT_PERMANENT)
    os._exit(code if flushed or code in ours else _EXIT_NOT_FLUSHED)
