"""Python state of a stage: a component of ``fit`` and of loops."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from rekindle.jobs.capture import variables
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, ComponentBase
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.python_state import saved as records
from rekindle.jobs.python_state import trials
from rekindle.jobs.python_state.findings import advanced
from rekindle.jobs.python_state.keras_objects import KERAS, KINDS, VARIABLE, Classifier
from rekindle.jobs.python_state.reach import MOST, Reach
from rekindle.jobs.python_state.restore import Restorer
from rekindle.jobs.python_state.stack import NoStack
from rekindle.state.run.training_state import TrainingState

_NO_STATE: Final = (
    "builtins. _io. io. threading. _thread. weakref. _weakref. logging. socket. queue. "
    "module types. functools. _functools. concurrent. multiprocessing. subprocess. "
    "contextlib. tempfile. tensorflow. keras. tf_keras. tqdm. wandb. mlflow. comet_ml. "
    "neptune. clearml. jax. jaxlib. tensorboard. rich. rekindle. typing. abc. inspect. "
    "collections.abc. _abc. re. operator. itertools. "
)
"""Beginnings of the types that are no state: files, locks, loggers, functions, what libraries
hold for themselves."""
_STATE: Final = ("builtins.generator", "builtins.list_iterator", "itertools.")


class PythonState(ComponentBase):
    """Capture and restore what the roots of a stage reach; a component.

    Args:
        roots: objects by the path that names them, in the order of the script.
        saved: returns the variables that other components save.
        stack: finds the frames of the script that a loop runs in.
        beat: called while an iterator is read again; may end the process.
    """

    def __init__(
        self,
        roots: dict[str, Any],
        saved: Callable[[], list[Any]],
        stack: Callable[[], NoStack] = NoStack,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._roots = roots
        self._classifier = Classifier(saved, beat)
        self._found: dict[Caveat, None] = {}
        self._is_off = False
        self._stack = NoStack()
        self._closed: frozenset[int] = frozenset()
        # as the script made it, before `fit` or a callback changes anything
        self._entry = self._latest = Reach({}, self._classifier)
        with self._guard():
            self._stack = stack()
            self._entry = self._latest = self._walk()
        self._restorer: Restorer | None = None
        self._begun: set[records.Unsaved] | None = None
        # the step, and what it was traced with
        self._traced: tuple[Any, dict[str, Any]] | None = None

    def capture(self, arrays: Tensors) -> TrainingState:
        captured: TrainingState = {}
        if not self._is_off:
            with self._guard():
                captured = self._capture(arrays)
        return captured

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Restore in place; call after ``on_train_begin``, and once more within an epoch."""
        if not self._is_off:
            with self._guard():
                self._restore(saved, arrays, lenient=lenient)

    def restore_start(self, saved: TrainingState, arrays: Tensors) -> None:
        """Restore the state of the start of an epoch; the restore that follows is the one checked.

        What cannot be restored here is none of the checkpoint's.
        """
        kept = saved.get("python")
        if kept and not self._is_off:
            with self._guard():
                records_of = cast("records.PythonRecords", kept)
                Restorer(self._entry, self._walk, records_of, arrays, KINDS).restore()

    def caveats(self) -> list[Caveat]:
        return [*self._stack.caveats(), *self._found]

    def variables(self) -> list[Any]:
        """List the TensorFlow variables among what was reached last."""
        held = [node.value for node in self._latest.nodes.values() if node.kind is VARIABLE]
        return [part for one in held for part in variables.components(one)]

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Name an error and go on without Python state: no object of a script ends its training."""
        try:
            yield
        except Exception as error:
            self._is_off = True
            traceback.print_exc()
            self._add(
                "Python objects of the script could not be followed "
                f"({type(error).__name__}: {error}), so that their state is not restored",
                "report this with the traceback in the log; keep what training changes "
                f"{self._stack.home}",
            )

    def _capture(self, arrays: Tensors) -> TrainingState:
        now = self._walk()
        kept, unsaved = records.out(self._entry, now, arrays)
        is_first = self._begun is None
        if self._begun is None:
            # on_train_begin makes these again
            self._begun = set(unsaved)
        self._look_for_traced(now)
        self._found.update(dict.fromkeys(self._stack.traced(self._entry, now)))
        if self._restorer is not None and not is_first:
            self._found.update(dict.fromkeys(self._restorer.found.never_made(now.nodes)))
        for path, type_, is_iterator in unsaved:
            if self._stack.is_made_again(path):
                continue
            if is_iterator:
                if not is_first:
                    self._found[advanced(path)] = None
            elif (path, type_, False) not in self._begun and _is_state(type_):
                self._add(
                    f"{path} holds a {type_} that was made during the training, which is not saved",
                    "keep plain data, arrays or variables in it, or make it before the training",
                )
        for path in now.left_out[:1]:
            self._add(
                f"{path} and {len(now.left_out) - 1} more are beyond the {MOST:,} Python objects "
                "that are followed",
                "keep what training changes in fewer objects",
            )
        return {"python": {"begun": kept["begun"], "changed": kept["changed"]}}

    def _restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        kept = saved.get("python")
        if kept is None:
            return  # a checkpoint of an earlier version
        if self._restorer is None:
            self._restorer = Restorer(
                self._entry,
                self._walk,
                cast("records.PythonRecords", kept),
                {key: array for key, array in arrays.items() if key.startswith("python/")},
                KINDS,
            )
        restorer = self._restorer
        restorer.restore()
        self._found.update(dict.fromkeys(trials.caveats(self._entry)))
        if lenient:
            return
        self._found.update(
            dict.fromkeys(restorer.found.caveats(restorer.wrong(), self._stack.home))
        )

    def _look_for_traced(self, now: Reach) -> None:
        """Name attributes of the model that have changed since its step was traced with them."""
        model = self._roots.get("model")
        if model is None or not internals.TRACES or vars(model).get("_run_eagerly"):
            return
        parts = {
            path: node.digests()
            for path, node in now.nodes.items()
            if node.kind is KERAS and path.startswith("model")
        }
        step = getattr(model, "train_function", None)
        if step is None:
            return
        if self._traced is None or self._traced[0] is not step:
            # a step that a callback makes again is traced with what the model holds then
            self._traced = step, parts
        for path, digests in parts.items():
            before = self._traced[1].get(path, digests)
            if digests is before:
                continue
            for label in digests:
                if label in before and digests[label] != before[label]:
                    self._add(
                        f"{path}{label} was changed after the training step was traced, and a "
                        "relaunch traces it with the new value",
                        "make it a variable of the model, or compile with run_eagerly=True",
                    )

    def _walk(self) -> Reach:
        known = self._entry if self._entry.nodes else None
        roots = {**self._roots, **self._stack.roots()}
        closed, before = self._stack.closed(), self._classifier.known
        classify = self._classifier.look()
        same = closed == self._closed and classify.known == before
        self._closed = closed
        last = self._latest
        self._latest = Reach(roots, classify, known, closed, last if same else None)
        last.forget_readings()
        return self._latest

    def _add(self, what: str, remedy: str) -> None:
        self._found[Caveat(what, remedy)] = None


def named(callbacks: list[Any]) -> dict[str, Any]:
    """Name callbacks by their classes, several of one class by number."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        name = type(callback).__name__
        number = 1
        while (label := f"{name}#{number}" if number > 1 else name) in found:
            number += 1
        found[label] = callback
    return found


def _is_state(type_: str) -> bool:
    return type_.startswith(_STATE) or not type_.startswith(tuple(_NO_STATE.split()))
