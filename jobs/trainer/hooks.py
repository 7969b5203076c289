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
from rekindle.jobs.keras_compat import keras_support
from rekindle.jobs.seeding import unseeded
from rekindle.jobs.trainer.after_import import AfterImport
from rekindle.state.errors import HookFailed, RekindleError

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.resume.unfollowed import Unfollowed


def install(job: Job, session: "Session", unfollowed: "Unfollowed") -> None:
    """Seed the generators of ``random`` now, and those of each library when it is imported.

    An import of numpy here would come before the script can set the environment variables that
    its libraries read once.
    """
    random.seed(job.seed)
    unseeded.of_python(job.seed)
    hooks = AfterImport(lambda name, error: session.fail_permanently(_hook_failed(name, error)))
    hooks.add("numpy", lambda numpy: _seed_numpy(numpy, job.seed))
    # TensorFlow imports Keras while it is only partly executed itself
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


def _seed_numpy(numpy: types.ModuleType, seed: int) -> None:
    numpy.random.seed(seed % 2**32)
    unseeded.of_numpy(numpy, seed)


def _hook_keras(
    keras: types.ModuleType, session: "Session", seed: int, unfollowed: "Unfollowed"
) -> None:
    """Make ``fit`` resumable, or report training as not followed."""
    if keras_support.is_legacy(keras):
        _watch(session, unfollowed.hook_legacy, keras)
        return
    support = keras_support.decide(keras.__version__, keras.config.backend(), unknown={})
    if support.level == keras_support.UNFOLLOWED:
        session.report_unfollowed(support.what, support.hint)
        return
    from rekindle.jobs.resume import fit

    keras.utils.set_random_seed(seed)
    unseeded.of_tensorflow(seed)
    fit.install(session)
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
    """Build the error that ends the job: without hooks each attempt would train from the start."""
    if isinstance(error, RekindleError):
        return error
    module = sys.modules.get(name)
    release = getattr(module, "__version__", "of an unknown version")
    failed = keras_support.hook_failed(name, release, error)
    return HookFailed(failed.what, hint=failed.hint)
