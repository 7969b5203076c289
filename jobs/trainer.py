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
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekindle.jobs import environment, output, provenance, stacks, stop
from rekindle.jobs.after_import import AfterImport
from rekindle.jobs.frozen import Frozen
from rekindle.jobs.job import Job
from rekindle.state import journal
from rekindle.state.errors import HookFailed, RekindleError
from rekindle.state.paths import Run

if TYPE_CHECKING:
    from rekindle.jobs.session import Session
    from rekindle.jobs.unfollowed import Unfollowed

_TRACEBACK_LINES = 40


def main() -> NoReturn:
    """``trainer RUN_DIR ATTEMPT``: exits 0 done, 75 saved, 78 permanent, 1 crashed."""
    stop.install()
    stacks.register()
    output.install()
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    # imported late: a SIGTERM before this line must already find its handler
    from rekindle.jobs.session import Session
    from rekindle.jobs.unfollowed import Unfollowed

    try:
        job = Job.read(run.job_file)
        session = Session.open(run, job, attempt)
        session.refusal = lambda error: _refuse(run, attempt, error)
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
    try:
        try:
            run_script(job, frozen)
        finally:
            unfollowed.check(final=True)
        session.settle()
    except SystemExit as leaving:
        code = leaving.code
        if code is None or code == environment.EXIT_DONE:
            session.settle()
            _finish(environment.EXIT_DONE)
        if code == environment.EXIT_SAVED and stop.requested():
            _finish(environment.EXIT_SAVED)
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
        _report(run, attempt, session, leaving)
        _finish(code)
    except RekindleError as error:
        _refuse(run, attempt, error)
    except BaseException as error:
        traceback.print_exception(error)
        _report(run, attempt, session, error)
        _finish(1)
    _finish(environment.EXIT_DONE)


def seed(job: Job, session: "Session", unfollowed: "Unfollowed") -> None:
    """Seeds random generators as they appear, and makes ``fit`` resumable when it does.

    Importing numpy here would be before the script can set the environment variables that
    its libraries read once.
    """
    random.seed(job.seed)
    hooks = AfterImport(lambda name, error: session.refuse(_hook_failed(name, error)))
    hooks.add("numpy", lambda numpy: _seed_numpy(numpy, job.seed))
    # TensorFlow imports Keras while it is half executed itself
    hooks.add("keras", lambda keras: _hook_keras(keras, session, job.seed, unfollowed),
              outside=("tensorflow",))
    for name, hook in (("tensorflow", unfollowed.hook_tensorflow),
                       ("tf_keras", unfollowed.hook_legacy), ("torch", unfollowed.hook_torch)):
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
        journal.append(run.journal, "provenance", attempt=session.attempt,
                       changed=session.changed, **about)
    if session.changed:
        session.warn(f"Changed since the last attempt: {', '.join(session.changed)}.",
                     "The result may differ from that of an undisturbed run.")


def _tell_changed(frozen: Frozen, session: "Session") -> None:
    changed = frozen.changed()
    if changed:
        names = ", ".join(changed[:5]) + (" and others" if len(changed) > 5 else "")
        session.warn(f"Changed since the job was accepted: {names}.",
                     "Code comes from the snapshot, but the script reads these files as they "
                     "are now.")


def _seed_numpy(numpy: types.ModuleType, seed: int) -> None:
    from rekindle.jobs import unseeded

    numpy.random.seed(seed % 2**32)
    unseeded.make_repeatable(numpy, seed)


def _hook_keras(keras: types.ModuleType, session: "Session", seed: int,
                unfollowed: "Unfollowed") -> None:
    """Make ``fit`` resumable, or see to it that training is reported as not followed."""
    if int(keras.__version__.partition(".")[0]) < 3:
        _watch(session, unfollowed.hook_legacy, keras)
        return
    backend = keras.config.backend()
    if backend != "tensorflow":
        session.report_unfollowed(
            f"Keras runs on {backend}, where `fit` cannot be made resumable: "
            "this training is not followed; nothing of it is saved.",
            "Set KERAS_BACKEND=tensorflow.")
        return
    from rekindle.jobs import fit

    keras.utils.set_random_seed(seed)
    fit.install(session)
    _watch(session, unfollowed.hook_keras, keras)


def _watch(session: "Session", hook: Callable[[types.ModuleType], None],
           module: types.ModuleType) -> None:
    """Notice training that is not followed; that it cannot be noticed must not end a job."""
    try:
        hook(module)
    except Exception as error:
        session.warn(f"Training outside of `fit` and `resumable` in {module.__name__} will not be "
                     f"noticed ({type(error).__name__}: {error}).",
                     "Nothing of such training is saved; report this with the version.")


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
             "Python, then `rekindle release JOB`.")


def _refuse(run: Run, attempt: int, error: RekindleError) -> NoReturn:
    """Ends with *permanent*: going on without being told to would lose or repeat work."""
    print(f"rekindle: {error}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        journal.append(run.journal, "failed", attempt=attempt, error_type=type(error).__name__,
                       message=error.what, hint=error.hint, traceback="", epoch=0, step=0)
    _finish(environment.EXIT_PERMANENT)


def _report(run: Run, attempt: int, session: "Session", error: BaseException) -> None:
    """Tells in the journal what ended the script, for ``show`` and for the verdict."""
    lines = traceback.format_exception(error)
    text = "".join(lines).splitlines()[-_TRACEBACK_LINES:]
    with contextlib.suppress(OSError):
        journal.append(run.journal, "failed", attempt=attempt, error_type=type(error).__name__,
                       message=str(error), traceback="\n".join(text), epoch=session.epoch,
                       step=session.step, trained=session.trained)


def _finish(code: int) -> NoReturn:
    """Ends the process as a plain script would end: exit handlers run, threads are joined."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == environment.EXIT_DONE:
        sys.exit(0)
    # after a failure a thread of the user's must not keep the attempt alive
    os._exit(code)
