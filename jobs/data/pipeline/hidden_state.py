"""Hidden state of the pipelines of a stage: capture it, and restore it to the start of a pass."""

from collections.abc import Callable, Iterable
from typing import Any

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.pipeline import caches, held, shuffles
from rekindle.jobs.data.pipeline.shuffles import Draws, Positions
from rekindle.jobs.data.pipeline.variables import PipelineVariables
from rekindle.state.counted import counted


class HiddenState:
    """Capture and restore what iterators share: shuffles, caches, variables of functions.

    What an iterator draws while it is read is drawn ahead, in threads. So a checkpoint holds the
    state at the start of the pass, from which it is read again; and the current state of all that
    only callbacks and validations draw from.
    """

    def __init__(self) -> None:
        self._data: tuple[Any, Any] = (None, None)
        self._train = Draws(None)
        self._eval = Draws(None)
        self._variables = PipelineVariables(None)
        self._begin: Positions = {}
        self._eval_begin: Positions = {}
        self._filled = 0
        self._held: set[int] = set()

    @staticmethod
    def is_complete() -> bool:
        """Return whether shuffles and caches can be restored with this TensorFlow."""
        return shuffles.supported()

    def open(self, train: Any, validation: Any, reads: Callable[[], bool]) -> None:
        """Look at the datasets of a ``fit``; None for other kinds of data.

        Args:
            reads: returns whether a pass over the training data is begun and not read to its end.
        """
        self._data = train, validation
        self._train = Draws(train)
        self._eval = Draws(validation)
        self._variables = PipelineVariables(train)
        held.forget_ended()
        again = self._train.later - self._train.cached
        held.beside(lambda: again if reads() else set())

    def words(self) -> list[str]:
        """List what was restored, for a receipt."""
        return [f"{counted(self._filled, 'filled cache')}"] if self._filled else []

    def held_datasets(self) -> list[Any]:
        """List the datasets of iterators that the script takes from, each once."""
        found = [(number, data) for number, data in held.datasets() if number not in self._held]
        self._held.update(number for number, _ in found)
        return [data for _, data in found]

    def is_raced(self) -> bool:
        """Return whether an iterator draws from a shuffle that another one reads ahead from."""
        return held.shares(self._train.later)

    def drawn_ahead(self) -> list[str]:
        """List the keys of arrays that the threads of a pipeline may change at any time."""
        return [f"pipeline/{number}" for number in sorted(self._variables.counted)]

    def begin_pass(self, arrays: Tensors) -> Json:
        """Return the state before a pass over the training data begins."""
        variables = self._variables.capture(arrays, "live/variables")
        if not shuffles.supported():
            return {"variables": variables}
        self._begin = self._positions(())
        return {"variables": variables, "shuffles": self._begin}

    def restore_pass(self, saved: Json, arrays: Tensors) -> None:
        """Restore the state before a pass over the training data."""
        self._variables.restore(arrays, "live/variables", counted=True)
        self._begin = dict(saved.get("shuffles", {}))
        shuffles.seek(self._begin)

    def capture(self, arrays: Tensors) -> Json:
        """Return the current state; without shuffles and caches where those cannot be read."""
        variables = self._variables.capture(arrays, "pipeline")
        if not shuffles.supported():
            return {"variables": variables}
        return {
            "variables": variables,
            "shuffles": self._positions(self._train.later | held.read_ahead()),
            "caches": caches.capture(arrays),
        }

    def fill(self, saved: Json, arrays: Tensors, beat: Callable[[], None]) -> None:
        """Fill the caches that earlier attempts had filled; call before anything is read."""
        caches.load(saved.get("caches", {}), arrays)
        self._filled += sum(caches.fill(dataset, beat) for dataset in self._data)

    def restore(self, saved: Json, arrays: Tensors) -> None:
        """Restore the current state, once the pass is read again."""
        self._variables.restore(arrays, "pipeline", counted=False)
        positions = saved.get("shuffles", {})
        ahead = self._train.later | held.read_ahead()
        shuffles.seek({name: at for name, at in positions.items() if name not in ahead})

    def restore_ended(self, saved: Json, arrays: Tensors) -> None:
        """Restore the state as of the end of a finished stage."""
        caches.load(saved.get("caches", {}), arrays)
        self._variables.restore(arrays, "pipeline", counted=True)
        shuffles.seek(saved.get("shuffles", {}))

    def begin_validation(self) -> None:
        """Note the positions before a validation begins."""
        held.drawing(self._eval.names - self._eval.cached)
        if shuffles.supported():
            self._eval_begin = shuffles.positions(self._eval.later - self._train.later)

    def end_validation(self) -> None:
        """Undo what was drawn for batches that a validation only prefetched.

        How many those are differs each time. The iterator must have been deleted.
        """
        self._settle(self._eval_begin)

    def end_pass(self) -> None:
        """Undo what was drawn for batches of an unfinished pass that were only prefetched.

        The iterator must have been deleted.
        """
        self._settle({name: at for name, at in self._begin.items() if name in self._train.later})

    def close(self) -> None:
        """Count all positions as current: no iterator over training data is left."""
        self._train = Draws(None)
        held.beside(None)

    def _settle(self, begin: Positions) -> None:
        # two numbers for each shuffle: as if the pass had ended within its first repetition
        shuffles.seek({name: at + 2 for name, at in begin.items()})

    def _positions(self, without: Iterable[str]) -> Positions:
        return shuffles.positions(set(shuffles.live()) - set(without))
