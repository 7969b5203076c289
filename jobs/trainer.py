"""The trainer: runs the user's script as ``__main__`` with ``model.fit`` made resumable.

It runs in the user's interpreter, where only the standard library, numpy and Keras may be
expected. Keras is not imported here: the script does that, in its own order and with its
own environment, and an import hook makes ``fit`` resumable at that moment.
"""

import contextlib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import runpy
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rekindle.jobs import environment, output, provenance, stacks, stop
from rekindle.jobs.frozen import Frozen
from rekindle.jobs.job import Job
from rekindle.state import journal
from rekindle.state.errors import RekindleError, StateMismatch
from rekindle.state.paths import Run

if TYPE_CHECKING:
    from rekindle.jobs.session import Session

_TRACEBACK_LINES = 40


def main() -> NoReturn:
    """``trainer RUN_DIR ATTEMPT``: exits 0 done, 75 saved, 78 permanent, 1 crashed."""
    stop.install()
    stacks.register()
    output.install()
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    # imported late: a SIGTERM before this line must already find its handler
    from rekindle.jobs.session import Session

    try:
        job = Job.from_json(run.job_file.read_text())
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
    seed(job, session)
    try:
        run_script(job, frozen)
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


def seed(job: Job, session: "Session") -> None:
    """Seeds random generators as they appear, and makes ``fit`` resumable when it does.

    Importing numpy here would be before the script can set the environment variables that
    its libraries read once.
    """
    random.seed(job.seed)
    _AfterImport("numpy", lambda numpy: _seed_numpy(numpy, job.seed))
    _AfterImport("tensorflow", lambda tensorflow: None)
    _AfterImport("keras", lambda keras: _make_fit_resumable(keras, session, job.seed))


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


class _AfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls ``action`` once, right after ``name`` was imported by whoever imports it first."""

    def __init__(self, name: str, action: Callable[[types.ModuleType], None]) -> None:
        self._name = name
        self._action = action
        self._loader: importlib.abc.Loader | None = None
        sys.meta_path.insert(0, self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        assert self._loader is not None
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        assert self._loader is not None
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        # loading makes objects by the hundred thousand and frees none: looking through them
        # again and again is a fifth to a half of the time of a relaunch
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._loader.exec_module(module)
        finally:
            if collecting:
                gc.enable()
        self._action(module)


def _seed_numpy(numpy: types.ModuleType, seed: int) -> None:
    from rekindle.jobs import unseeded

    numpy.random.seed(seed % 2**32)
    unseeded.make_repeatable(numpy, seed)


def _make_fit_resumable(keras: types.ModuleType, session: "Session", seed: int) -> None:
    backend = keras.config.backend()
    if backend != "tensorflow":
        session.warn(f"Keras runs on {backend}, where `fit` cannot be made resumable.",
                     "Set KERAS_BACKEND=tensorflow.")
        return
    try:
        from rekindle.jobs import fit
    except (ImportError, AttributeError) as error:
        # going on would train from the start in every attempt, and say so to nobody
        found = StateMismatch(
            f"This Keras ({keras.__version__}) has no training loop that could be made resumable "
            f"({error}).", hint="Install Keras 3.8 or newer; 3.11 and newer go on in mid-epoch.")
        session.refuse(found)
        raise found from error
    keras.utils.set_random_seed(seed)
    fit.install(session)


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
