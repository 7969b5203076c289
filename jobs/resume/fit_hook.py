"""Make ``fit`` of a Keras resumable right after its import; what follows a ``fit`` comes later.

A process may import two of them. What follows a training is imported at the first ``fit``, for the
Keras that it belongs to.
"""

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import rng
from rekindle.jobs.keras_compat import followed, keras_support
from rekindle.jobs.keras_compat.keras_support import NOT_FOLLOWED
from rekindle.jobs.seeding import trace_draws
from rekindle.state.errors import HookFailed, RekindleError


def compat_of(keras: Any) -> Any:
    """Return the module that knows the private parts of a Keras."""
    if keras_support.is_legacy(keras):
        from rekindle.jobs.keras_compat import legacy

        return legacy
    from rekindle.jobs.keras_compat import keras3

    return keras3


def install(session: Session, keras: Any) -> Callable[[], None]:
    """Make ``fit`` resumable in this process; return a function that undoes it.

    Call it right after Keras is imported: random generators are registered from then on.
    """
    compat = compat_of(keras)
    support = compat.support((keras_support.LOOP,))
    if support.level == keras_support.EPOCHS:
        session.warn(support.what, support.hint)
    if compat.LEGACY:
        compat.draw_from_variables()
    rng.watch_seed_generators(compat.SEED_GENERATORS, compat.existing_global_generator())
    if compat.BACKEND == keras_support.BACKEND:
        # late: it imports TensorFlow
        from rekindle.jobs.ends.uses import VariableUses

        session.stages.ends.notice_by(VariableUses())
    compat.watch_traces(trace_draws.watched)
    if "tensorflow" in sys.modules:
        watch_pipelines()
    stages: list[Any] = []

    @functools.wraps(compat.PLAIN_FIT)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not followed.choose(keras):
            session.report_unfollowed(
                f"This process trains with {_named(followed.chosen())} and with {_named(keras)}, "
                f"and only the first is followed: with {_named(keras)} {NOT_FOLLOWED}",
                "Train with one of them in each job.",
            )
            return compat.PLAIN_FIT(self, *args, **kwargs)
        if not stages:
            stages.append(_stages(session, keras))
        return stages[0].fit(self, *args, **kwargs)

    undo: Callable[[], None] = compat.replace_fit(fit)
    if keras.Model.fit is not fit:
        session.warn(
            "`Model.fit` could not be made resumable.", "Report this with the Keras version."
        )
    return undo


def watch_pipelines() -> None:
    """Register datasets and generators of TensorFlow, which the script has imported, from now on.

    Keras on another backend reads ``tf.data``, too.
    """
    from rekindle.jobs.data.pipeline import watching

    rng.watch_seed_generators()
    watching.watch()


def watch_seed_generators() -> None:
    """Register the random generators of each imported Keras from now on; import Keras if none is.

    Generators that a script makes before its loop are found by their number.
    """
    if not any(
        name in sys.modules for name in ("keras", "tf_keras", "tensorflow", *followed.OTHERS)
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module("keras")
    for name in ("keras", "tf_keras"):
        if name in sys.modules:
            compat = compat_of(sys.modules[name])
            rng.watch_seed_generators(compat.SEED_GENERATORS, compat.existing_global_generator())


def _named(keras: Any) -> str:
    if keras is None:
        return "a library without Keras"
    return f"{keras.__name__} {keras.__version__}"


def _stages(session: Session, keras: Any) -> Any:
    try:
        from rekindle.jobs.resume.fit import Stages
    except BaseException as error:
        failure = hook_failed(keras.__name__, str(keras.__version__), error)
        session.fail_permanently(failure)
        raise failure from error
    return Stages(session)


def hook_failed(name: str, version: str, error: BaseException) -> RekindleError:
    """Build the error that ends the job: without hooks each attempt would train from the start."""
    if isinstance(error, RekindleError):
        return error
    failed = keras_support.hook_failed(name, version, error)
    return HookFailed(failed.what, hint=failed.hint)
