"""Seed random generators and make ``fit`` resumable when the script imports its libraries.

Keras is not imported here: the script imports it, in its own order and with its own
environment. Trainer and exporter install the same hooks.
"""

import functools
import random
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

from rekindle.jobs.job import Job
from rekindle.jobs.keras_compat import followed, keras_support
from rekindle.jobs.seeding import unseeded
from rekindle.jobs.trainer.after_import import AfterImport
from rekindle.state.errors import RekindleError

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.trainer.unfollowed import Unfollowed

_seeded: list[int] = []
"""The seed that the first Keras was given: a second one must not undo what the script has set."""


def seed_early(seed: int) -> Callable[[], None]:
    """Seed numpy as soon as a spare imports it; return a function that stops waiting for it."""
    hooks = AfterImport(lambda name, error: None)
    hooks.add("numpy", lambda numpy: _seed_numpy(numpy, seed))
    hooks.install()
    return hooks.remove


def install(job: Job, session: "Session", unfollowed: "Unfollowed") -> AfterImport:
    """Seed the generators of ``random`` now, and those of each library when it is imported.

    An import of numpy here would come before the script can set the environment variables that
    its libraries read once.
    """
    random.seed(job.seed)
    unseeded.of_python(job.seed)
    hooks = AfterImport(lambda name, error: session.fail_permanently(_hook_failed(name, error)))
    hooks.add("numpy", lambda numpy: _seed_numpy(numpy, job.seed))
    # TensorFlow imports Keras while it is only partly executed itself
    for name in ("keras", "tf_keras"):
        hooks.add(
            name,
            lambda keras: _hook_keras(keras, session, job.seed, unfollowed),
            outside=("tensorflow",),
        )
    for name, hook in (
        ("tensorflow", lambda tensorflow: _hook_tensorflow(tensorflow, job.seed, unfollowed)),
        ("tensorflow.python.keras.engine.training", unfollowed.hook_legacy),
        ("torch", unfollowed.hook_torch),
    ):
        hooks.add(name, functools.partial(_watch, session, hook), outside=("tensorflow",))
    hooks.install()
    return hooks


def _seed_numpy(numpy: types.ModuleType, seed: int) -> None:
    numpy.random.seed(seed % 2**32)
    unseeded.of_numpy(numpy, seed)


def _hook_tensorflow(tensorflow: types.ModuleType, seed: int, unfollowed: "Unfollowed") -> None:
    """Seed TensorFlow and follow its pipelines where Keras, on another backend, came before it."""
    unfollowed.hook_tensorflow(tensorflow)
    if _seeded and followed.runs_elsewhere():
        from rekindle.jobs.resume import fit_hook

        tensorflow.random.set_seed(seed)
        unseeded.of_tensorflow(seed)
        fit_hook.watch_pipelines()


def _hook_keras(
    keras: types.ModuleType, session: "Session", seed: int, unfollowed: "Unfollowed"
) -> None:
    """Make ``fit`` resumable, or report training as not followed."""
    version = str(keras.__version__)
    if keras_support.is_legacy(keras):
        support = keras_support.decide_legacy(keras.__name__, version, unknown={})
        if support.level == keras_support.UNFOLLOWED:
            _watch(session, unfollowed.hook_legacy, keras)
            return
    else:
        support = keras_support.decide(version, keras.config.backend(), unknown={})
        if support.level == keras_support.UNFOLLOWED:
            session.report_unfollowed(support.what, support.hint)
            return
    from rekindle.jobs.resume import fit_hook

    if not _seeded:
        _seeded.append(seed)
        fit_hook.compat_of(keras).seed(seed)
        if "tensorflow" in sys.modules:
            unseeded.of_tensorflow(seed)
    fit_hook.install(session, keras)
    _watch(session, unfollowed.hook_keras, keras)


def _watch(
    session: "Session", hook: Callable[[types.ModuleType], None], module: types.ModuleType
) -> None:
    """Watch a library for training that is not followed; a failure to do so ends no job."""
    try:
        hook(module)
    except Exception as error:
        session.warn(
            f"Training outside of `fit` and `resumable` in {module.__name__} cannot be "
            f"detected ({type(error).__name__}: {error}).",
            f"Such training is not saved; report this with the version of {module.__name__}.",
        )


def _hook_failed(name: str, error: BaseException) -> RekindleError:
    from rekindle.jobs.resume import fit_hook

    release = getattr(sys.modules.get(name), "__version__", "of an unknown version")
    return fit_hook.hook_failed(name, release, error)
