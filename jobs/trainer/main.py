"""Run the user's script as ``__main__``, with ``model.fit`` made resumable.

The trainer runs in the user's interpreter, which may have only the standard library, numpy and
Keras. Keras is not imported here: the script imports it, in its own order and with its own
environment, and an import hook makes ``fit`` resumable at that moment.
"""

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekindle.jobs import environment, heartbeat, journal_writer, process, provenance, stack_dump
from rekindle.jobs.attempt import safe_output, shutdown
from rekindle.jobs.handover.channel import Channel
from rekindle.jobs.job import Job
from rekindle.jobs.trainer import blame, hooks, script
from rekindle.jobs.trainer.source_snapshot import SourceSnapshot
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import entries, journal

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.spare.preloaded import Preloaded

_TRACEBACK_LINES = 40
_EXIT_NOT_FLUSHED = 120
"""Exit code of Python if its last output could not be written."""


def main() -> NoReturn:
    """Run ``trainer RUN_DIR ATTEMPT SOCKET [-- ARGS]``.

    Exit 0 done, 75 saved, 78 permanent, 1 crashed. SOCKET is a descriptor for the keeper. With ARGS
    the script has started itself again with these arguments. With a socket in the place of standard
    input it is a spare, and waits for its attempt.
    """
    shutdown.install()
    stack_dump.register()
    safe_output.install()
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    # late: the handler of SIGTERM must be installed before these slow imports
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.files import clock, leftovers
    from rekindle.jobs.files.appended import Appended
    from rekindle.jobs.files.results import Results
    from rekindle.jobs.files.written import WRITTEN
    from rekindle.jobs.handover.snapshots import Keeper
    from rekindle.jobs.spare.recorder import Recorder
    from rekindle.jobs.trainer import reexec, required_gpu
    from rekindle.jobs.trainer.unfollowed import Unfollowed

    preloaded = _wait_as_spare() if process.holds_socket(os.getpid(), 0) else None
    try:
        job = Job.read(run.job_file)
        if sys.argv[4:5] == [reexec.ARGUMENTS]:
            job = job.replace(args=sys.argv[5:])
        session = Session.open(
            run,
            job,
            attempt,
            on_failure=lambda error: _refuse(run, attempt, error),
            keeper=Keeper(int(sys.argv[3])),
        )
        shutdown.on_answer(lambda: _record_stop(run, attempt))
        snapshot = SourceSnapshot.of(run, job, session.warn)
    except RekindleError as error:
        _refuse(run, attempt, error)
    session.beat("start")
    _record_provenance(run, job, session)
    if snapshot is not None:
        _warn_changed(snapshot, session)
        snapshot.install()
    unfollowed = Unfollowed(session)
    after_import = hooks.install(job, session, unfollowed)
    required_gpu.install(session)
    reexec.install(job, sys.argv[1:4], session.report_unfollowed)
    WRITTEN.install()
    results = Results(session)
    WRITTEN.outside(Appended(session).opened)
    WRITTEN.outside(results.opened)
    session.stages.listen(results.check, lambda: None)
    clock.install(session)
    recorder = Recorder(
        lambda modules, why: session.note(entries.imported(modules=modules, ended=why)), preloaded
    )
    session.stages.listen(lambda: recorder.end("it trains"), lambda: None)
    if preloaded is not None:
        preloaded.install(after_import.catch_up)
    try:
        try:
            script.run(job, snapshot, recorder.install)
        except SystemExit as leaving:
            if _status(leaving.code) != environment.EXIT_DONE:
                raise
        finally:
            unfollowed.check(final=True)
        session.stages.settle()
        results.check()
        if not shutdown.answered():
            session.stages.table.check_met()
    except SystemExit as leaving:
        code = _status(leaving.code)
        if code != environment.EXIT_SAVED or not shutdown.requested():
            _print_message(leaving.code)
            _report(run, attempt, session, leaving)
        _finish(code)
    except RekindleError as error:
        _refuse(run, attempt, error)
    except BaseException as error:
        explained = leftovers.explain(error, session, blame.place(error))
        _report(run, attempt, session, error, explained)
        _print_exception(error)
        if explained is not None:
            journal_writer.log_line(str(explained))
            _finish(environment.EXIT_PERMANENT)
        if isinstance(error, KeyboardInterrupt):
            _end_by(signal.SIGINT)
        _finish(1)
    if not shutdown.answered():
        session.beat(heartbeat.ENDED)
    # end like a plain script: exit handlers run, threads are joined, streams are flushed
    sys.exit(environment.EXIT_DONE)


def _wait_as_spare() -> "Preloaded":
    """Import the script's libraries, and wait until the keeper has an attempt for this process."""
    from rekindle.jobs.spare import waiting

    preloaded = waiting.wait(Channel.on(os.dup(0)), hooks.seed_early)
    # both hold copies of the descriptors that the attempt's log has replaced
    stack_dump.register()
    journal_writer.keep_log(1)
    return preloaded


def _record_provenance(run: Run, job: Job, session: "Session") -> None:
    """Record in the journal what this attempt runs on; warn of changes since the last one."""
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


def _warn_changed(snapshot: SourceSnapshot, session: "Session") -> None:
    changed = snapshot.changed()
    if changed:
        names = ", ".join(changed[:5]) + (" and others" if len(changed) > 5 else "")
        session.warn(
            f"Changed since the job was accepted: {names}.",
            "Code comes from the snapshot, but the script reads the current files.",
        )


def _refuse(run: Run, attempt: int, error: RekindleError) -> NoReturn:
    """End the attempt as *permanent*: continuing without a person's decision could lose work."""
    journal_writer.log_line(str(error))
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


def _report(
    run: Run,
    attempt: int,
    session: "Session",
    error: BaseException,
    explained: RekindleError | None = None,
) -> None:
    """Record in the journal what ended the script, for ``show`` and for the verdict.

    Args:
        explained: why a retry cannot help.
    """
    lines = traceback.format_exception(error)
    text = "".join(lines).splitlines()[-_TRACEBACK_LINES:]
    with contextlib.suppress(OSError):
        journal.append(
            run.journal,
            attempt=attempt,
            **entries.failed(
                error_type=type(explained or error).__name__,
                message=_text(error) if explained is None else explained.what,
                hint="" if explained is None else explained.hint,
                traceback="\n".join(text),
                epoch=session.progress.epoch,
                step=session.progress.step,
                trained=session.trained,
                within=session.stages.is_from_stage(error),
                at=blame.place(error),
                passing=blame.is_transient(error),
            ),
        )


def _record_stop(run: Run, attempt: int) -> None:
    """Record that the script's own handler received SIGTERM, which may end the process.

    It does not use the session's record: the signal may have interrupted a write of that.
    """
    with contextlib.suppress(OSError):
        journal.append(run.journal, attempt=attempt, **entries.stop_received())


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be read)"


def _status(code: object) -> int:
    """Compute the exit status of a process that ends by ``SystemExit``, as Python does."""
    if code is None:
        return environment.EXIT_DONE
    if not isinstance(code, int):
        return 1
    return code & 0xFF if abs(code) < 2**63 else 255


def _print_message(code: object) -> None:
    """Print a message that the script passed to ``sys.exit``, as Python does."""
    if code is None or isinstance(code, int):
        return
    try:
        print(code, file=sys.stderr)
    except Exception:
        journal_writer.log_line(str(code))


def _print_exception(error: BaseException) -> None:
    """Print the exception that ends the script, with the script's ``sys.excepthook`` if any."""
    try:
        if sys.stderr is None or getattr(sys.stderr, "closed", False):
            raise ValueError("standard error is closed")
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        journal_writer.log_line("".join(traceback.format_exception(error)))


def _end_by(signum: signal.Signals) -> None:
    """End the process as Python does after an uncaught interrupt."""
    safe_output.flush()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _finish(code: int) -> NoReturn:
    """End the process after a failure, without waiting for the script's threads."""
    flushed = safe_output.flush()
    ours = (environment.EXIT_SAVED, environment.EXIT_PERMANENT)
    os._exit(code if flushed or code in ours else _EXIT_NOT_FLUSHED)
