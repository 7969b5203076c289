"""The trainer: runs the user's script as ``__main__`` with ``model.fit`` made resumable.

It runs in the user's interpreter, where only the standard library, numpy and Keras may be
expected. Keras is not imported here: the script does that, in its own order and with its
own environment, and an import hook makes ``fit`` resumable at that moment.
"""

import contextlib
import functools
import os
import random
import runpy
import signal
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekindle.jobs import environment, heartbeat, journal_writer, provenance, stack_dump
from rekindle.jobs.attempt import safe_output, shutdown
from rekindle.jobs.job import Job
from rekindle.jobs.trainer import blame
from rekindle.jobs.trainer.after_import import AfterImport
from rekindle.jobs.trainer.source_snapshot import Frozen
from rekindle.state.errors import HookFailed, RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import journal

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.resume.unfollowed import Unfollowed

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
        session = Session.open(run, job, attempt)
        session.refusal = lambda error: _refuse(run, attempt, error)
        shutdown.on_answer(lambda: _tell_received(run, attempt))
        frozen = Frozen.of(run, job, session.warn)
    except RekindleError as error:
        _refuse(run, attempt, error)
    session.beat("start")
    _tell_provenance(run, job, session)
    if frozen is not None:
        _tell_changed(frozen, session)
        frozen.install()
    unfollowed = Unfollowed(session)
    seed(job, session, unfollowed)
    reexec.install(job, sys.argv[1:3], session.report_unfollowed)
    try:
        try:
            run_script(job, frozen)
        except SystemExit as leaving:
            if _status(leaving.code) != environment.EXIT_DONE:
                raise
        finally:
            unfollowed.check(final=True)
        session.settle()
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


def seed(job: Job, session: "Session", unfollowed: "Unfollowed") -> None:
    """Seeds random generators as they appear, and makes ``fit`` resumable when it does.

    Importing numpy here would be before the script can set the environment variables that
    its libraries read once.
    """
    random.seed(job.seed)
    hooks = AfterImport(lambda name, error: session.refuse(_hook_failed(name, error)))
    hooks.add("numpy", lambda numpy: _seed_numpy(numpy, job.seed))
    # TensorFlow imports Keras while it is half executed itself
    hooks.add(
        "keras",
        lambda keras: _hook_keras(keras, session, job.seed, unfollowed),
        outside=("tensorflow",),
    )
    for name, hook in (
        ("tensorflow", unfollowed.hook_tensorflow),
        ("tf_keras", unfollowed.hook_legacy),
        ("tensorflow.python.keras.engine.training", unfollowed.hook_legacy),
        ("torch", unfollowed.hook_torch),
    ):
        hooks.add(name, functools.partial(_watch, session, hook), outside=("tensorflow",))
    hooks.install()


def run_script(job: Job, frozen: Frozen | None) -> None:
    """Runs the script or module of a job as ``__main__``."""
    if job.script is not None:
        if frozen is not None:
            folder, source = frozen.folder, frozen.script_source(job.script)
        else:
            folder = str(Path(job.script).resolve().parent)
            source = Path(job.script).read_bytes()
        sys.path.insert(0, folder)
        sys.argv = [job.script, *job.args]
        code = compile(source, job.script, "exec", dont_inherit=True)
        script = types.ModuleType("__main__")
        script.__dict__.update(__file__=job.script, __builtins__=__builtins__)
        sys.modules["__main__"] = script
        exec(code, script.__dict__)
    else:
        assert job.module is not None
        sys.path.insert(0, job.workdir)
        sys.argv = [job.module, *job.args]
        runpy.run_module(job.module, run_name="__main__", alter_sys=True)


def _tell_provenance(run: Run, job: Job, session: "Session") -> None:
    """Journals what this attempt runs on; a change since the last one is said aloud."""
    about = provenance.collect(job)
    session.changed = provenance.changes(provenance.previous(run, session.attempt), about)
    with contextlib.suppress(OSError):
        journal.append(
            run.journal, "provenance", attempt=session.attempt, changed=session.changed, **about
        )
    if session.changed:
        session.warn(
            f"Changed since the last attempt: {', '.join(session.changed)}.",
            "The result may differ from that of an undisturbed run.",
        )


def _tell_changed(frozen: Frozen, session: "Session") -> None:
    changed = frozen.changed()
    if changed:
        names = ", ".join(changed[:5]) + (" and others" if len(changed) > 5 else "")
        session.warn(
            f"Changed since the job was accepted: {names}.",
            "Code comes from the snapshot, but the script reads these files as they are now.",
        )


def _seed_numpy(numpy: types.ModuleType, seed: int) -> None:
    from rekindle.jobs.trainer import default_rng

    numpy.random.seed(seed % 2**32)
    default_rng.make_repeatable(numpy, seed)


def _hook_keras(
    keras: types.ModuleType, session: "Session", seed: int, unfollowed: "Unfollowed"
) -> None:
    """Make ``fit`` resumable, or see to it that training is reported as not followed."""
    if int(keras.__version__.partition(".")[0]) < 3:
        _watch(session, unfollowed.hook_legacy, keras)
        return
    backend = keras.config.backend()
    if backend != "tensorflow":
        from rekindle.jobs.resume.unfollowed import NOT_FOLLOWED

        session.report_unfollowed(
            f"Keras runs on {backend}, where `fit` cannot be made resumable: {NOT_FOLLOWED}",
            "Set KERAS_BACKEND=tensorflow.",
        )
        return
    from rekindle.jobs.resume import fit

    keras.utils.set_random_seed(seed)
    fit.install(session)
    _watch(session, unfollowed.hook_keras, keras)


def _watch(
    session: "Session", hook: Callable[[types.ModuleType], None], module: types.ModuleType
) -> None:
    """Notice training that is not followed; that it cannot be noticed must not end a job."""
    try:
        hook(module)
    except Exception as error:
        session.warn(
            f"Training outside of `fit` and `resumable` in {module.__name__} will not be "
            f"noticed ({type(error).__name__}: {error}).",
            "Nothing of such training is saved; report this with the version.",
        )


def _hook_failed(name: str, error: BaseException) -> RekindleError:
    """Say what stands in the way: going on would train from the start in every attempt."""
    if isinstance(error, RekindleError):
        return error
    module = sys.modules.get(name)
    release = getattr(module, "__version__", "of an unknown version")
    return HookFailed(
        f"The training loop of {name} {release} cannot be hooked "
        f"({type(error).__name__}: {error}); nothing was trained.",
        hint="Install Keras 3.8 or newer (3.11 and newer resume in mid-epoch) into the job's "
        "Python, then `rekindle release JOB`.",
    )


def _refuse(run: Run, attempt: int, error: RekindleError) -> NoReturn:
    """Ends with *permanent*: going on without being told to would lose or repeat work."""
    journal_writer.tell(str(error))
    with contextlib.suppress(OSError):
        journal.append(
            run.journal,
            "failed",
            attempt=attempt,
            error_type=type(error).__name__,
            message=error.what,
            hint=error.hint,
            traceback="",
            epoch=0,
            step=0,
        )
    _finish(environment.EXIT_PERMANENT)


def _report(run: Run, attempt: int, session: "Session", error: BaseException) -> None:
    """Tells in the journal what ended the script, for ``show`` and for the verdict."""
    lines = traceback.format_exception(error)
    text = "".join(lines).splitlines()[-_TRACEBACK_LINES:]
    with contextlib.suppress(OSError):
        journal.append(
            run.journal,
            "failed",
            attempt=attempt,
            error_type=type(error).__name__,
            message=_text(error),
            traceback="\n".join(text),
            epoch=session.epoch,
            step=session.step,
            trained=session.trained,
            within=session.is_from_stage(error),
            at=blame.place(error),
            passing=blame.may_pass(error),
        )


def _tell_received(run: Run, attempt: int) -> None:
    """Journals that SIGTERM came to a handler of the script's own, which may end the process.

    Not through the session's record: a signal may come while that is being written.
    """
    with contextlib.suppress(OSError):
        journal.append(run.journal, "stop_received", attempt=attempt)


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
