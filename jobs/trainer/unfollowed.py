"""Detect training outside of a stage, which is not saved, and report it.

A gradient with respect to variables, or ``train_on_batch``, is a sign of training. One sign alone
may be a warm-up or a saliency map; a training shows several, an optimizer whose step count
advances, or CPU time. The keeper detects processes without these hooks (other interpreters, JAX).
"""

import contextlib
import functools
import importlib
import os
import threading
import time
import weakref
from typing import Any, Final

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.keras_compat import keras_support
from rekindle.jobs.keras_compat.keras_support import HINT, NOT_FOLLOWED

_LOOK_S: Final = 1.0
_CALLS: Final = 3
_STEPS: Final = 2
_TRACED_CPU_S: Final = 10.0
"""CPU time after a gradient in a graph that counts as training without an optimizer's steps."""
_TRACED_END_CPU_S: Final = 2.0


class Unfollowed:
    """Detect unfollowed training in one process; call the ``hook_`` methods after the imports."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._owner = os.getpid()
        self._optimizers: list[weakref.ref[Any]] = []
        self._calls = 0
        self._cause = ""
        self._hints: dict[str, str] = {}
        self._steps_before: dict[int, int] = {}
        self._traced_at: float | None = None
        self._reported = False
        self._watching = False
        session.stages.listen(self.check, self._rebase)

    # hooks

    def hook_tensorflow(self, tensorflow: Any) -> None:
        """Watch gradients with respect to variables."""
        tape = tensorflow.GradientTape
        plain = tape.gradient

        # functools.wraps copies __module__, so that AutoGraph treats it as TensorFlow's own
        @functools.wraps(plain)
        def gradient(this: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_outside() and _has_variable(tensorflow, sources):
                self._sign(
                    "Gradients are computed outside of `fit` and `resumable`",
                    traced=not tensorflow.executing_eagerly(),
                )
            return plain(this, target, sources, *args, **kwargs)

        tape.gradient = gradient
        # sessions of TensorFlow 1: building the operation of a step is evidence enough
        self._watch_method(
            tensorflow.compat.v1.train.Optimizer,
            "apply_gradients",
            "An optimizer of TensorFlow 1 is used",
            weight=_CALLS,
        )

    def hook_keras(self, keras: Any) -> None:
        """Watch ``train_on_batch``, and register all optimizers."""
        from rekindle.jobs.resume import fit_hook

        for kind in fit_hook.compat_of(keras).OPTIMIZERS:
            self._register(kind)
        self._watch_method(
            keras.Model,
            "train_on_batch",
            "`train_on_batch` is called outside of `fit`",
            weight=_CALLS - 1,
        )

    def hook_legacy(self, keras: Any) -> None:
        """Watch the training methods of a Keras that is not followed.

        Args:
            keras: one of before 2.12, or the old copy inside of TensorFlow
                (``tensorflow.python.keras``), as its ``engine.training``.
        """
        release = getattr(keras, "__version__", "2 inside of TensorFlow")
        where = keras_support.trains_alone(keras.__name__, release)
        self._hints[where] = keras_support.decide_legacy(keras.__name__, release).hint
        for name in ("fit", "fit_generator", "train_on_batch"):
            if hasattr(keras.Model, name):
                self._watch_method(keras.Model, name, where, weight=_CALLS)

    def hook_torch(self, torch: Any) -> None:
        """Watch the steps of all optimizers of PyTorch."""
        torch.manual_seed(self._session.job.seed)
        optimizer = importlib.import_module("torch.optim.optimizer")
        register = getattr(optimizer, "register_optimizer_step_post_hook", None)
        if register is not None:
            register(
                lambda *_: (
                    self._sign("PyTorch optimizes outside of `fit` and `resumable`")
                    if self._is_outside()
                    else None
                )
            )

    def _register(self, kind: Any) -> None:
        made = kind.__init__

        @functools.wraps(made)
        def init(this: Any, *args: Any, **kwargs: Any) -> None:
            self._optimizers.append(weakref.ref(this))
            made(this, *args, **kwargs)

        kind.__init__ = init

    def _watch_method(self, kind: Any, name: str, cause: str, *, weight: int) -> None:
        plain = getattr(kind, name)

        @functools.wraps(plain)
        def method(this: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_outside():
                self._sign(cause, weight=weight)
            return plain(this, *args, **kwargs)

        setattr(kind, name, method)

    # signs

    def check(self, *, final: bool = False) -> None:
        """Report unfollowed training once there is enough evidence.

        Args:
            final: the script ends; weaker evidence is enough.
        """
        if self._reported or not self._cause or not self._is_outside():
            return
        spent = 0.0 if self._traced_at is None else time.process_time() - self._traced_at
        if (
            self._calls >= _CALLS
            or self._steps() >= _STEPS
            or spent >= (_TRACED_END_CPU_S if final else _TRACED_CPU_S)
        ):
            self._reported = True
            hint = self._hints.get(self._cause, HINT)
            self._session.report_unfollowed(f"{self._cause}: {NOT_FOLLOWED}", hint)

    def _is_outside(self) -> bool:
        return not self._session.stages.inside and os.getpid() == self._owner

    def _sign(self, cause: str, *, weight: int = 1, traced: bool = False) -> None:
        if self._reported:
            return
        if not self._cause:
            self._cause = cause
            self._rebase()
        if traced:
            self._traced_at = self._traced_at or time.process_time()
        else:
            self._calls += weight
        self.check()
        if not self._reported and not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, name="rekindle-unfollowed", daemon=True).start()

    def _watch(self) -> None:
        while not self._reported:
            time.sleep(_LOOK_S)
            self.check()

    def _rebase(self) -> None:
        """Count steps of optimizers from here: those of a stage are followed."""
        if self._cause and not self._reported:
            self._steps_before = self._iterations()

    def _steps(self) -> int:
        return max(
            (now - self._steps_before.get(key, 0) for key, now in self._iterations().items()),
            default=0,
        )

    def _iterations(self) -> dict[int, int]:
        found = {}
        for reference in self._optimizers:
            optimizer = reference()
            # those of legacy Keras create the count of their steps when it is read
            if optimizer is not None and (
                getattr(optimizer, "built", False) or vars(optimizer).get("_iterations") is not None
            ):
                # in a graph the value cannot be read
                with contextlib.suppress(
                    AttributeError, NotImplementedError, RuntimeError, TypeError
                ):
                    found[id(optimizer)] = int(optimizer.iterations.numpy())
        return found


def _has_variable(tensorflow: Any, sources: Any) -> bool:
    return any(
        getattr(source, "trainable", False) is True for source in tensorflow.nest.flatten(sources)
    )
