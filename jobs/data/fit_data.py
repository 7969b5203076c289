"""Data of a ``fit``: training iterator, validation passes, and the RNG state of both."""

import types
from collections.abc import Callable
from typing import Any, Final

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, ComponentBase, Json
from rekindle.jobs.data import determinism
from rekindle.jobs.data.iterators import (
    EpochwiseIterator,
    EvalIterator,
    FitIterator,
    follows,
    is_of_dataset,
)
from rekindle.jobs.data.pipeline.hidden_state import HiddenState
from rekindle.jobs.data.pipeline.variables import seed_generators
from rekindle.jobs.data.rng_tracker import NUMPY, PYTHON, UNSEEDED, begin_with
from rekindle.jobs.data.sources import DataEvents
from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.state.run.training_state import Fingerprint, TrainingState

_EVAL_DRAWS: Final = Caveat(
    "The validation data draws from generators of its own, which are not restored",
    "let it draw from a generator that __getitem__ creates from the index",
)
_ARGUMENTS: Final = {PYTHON: "python", NUMPY: "numpy", UNSEEDED: "made_unseeded"}


class FitData(ComponentBase):
    """Capture and restore the position in the data; a component of a ``fit``.

    Args:
        seed: of the job, and the stage.
        validation: the ``validation_data`` of ``fit``.
        beat: called while data is read again; may end the process.
        boundary: called between two executions with the batches trained of the epoch.
        batches_over: called when all batches of an epoch are trained, before its validation.
    """

    def __init__(
        self,
        seed: tuple[int, int],
        validation: Any,
        beat: Callable[[], None],
        boundary: Callable[[], None],
        batches_over: Callable[[], None],
    ) -> None:
        self._seed = seed
        self._validation = validation
        self._beat = beat
        self._events = DataEvents(boundary, batches_over, self._pass_begins, beat)
        self.train: FitIterator | EpochwiseIterator | None = None
        self._eval: EvalIterator | None = None
        self._evals_replayed = 0
        self._live: Json = {}
        self._live_arrays: Tensors = {}
        self._seed_generators: list[int] = []
        self._found: list[Caveat] = []
        self.hidden = HiddenState()

    @property
    def iterator(self) -> FitIterator | EpochwiseIterator:
        """The iterator over training data, once it exists."""
        assert self.train is not None
        return self.train

    @property
    def exact(self) -> bool:
        """True if a stage can be resumed between any two batches."""
        return self.iterator.exact

    # creating iterators, in Keras' order

    def make_training(self, arguments: Json, saved: TrainingState, arrays: Tensors) -> Any:
        """Create the iterator over training data from arguments of ``TFEpochIterator``."""
        drawn = saved.get("draws")
        if drawn is not None and "made" in drawn:
            # Keras reads the first batches at once: they must draw the same as in the first attempt
            begin_with(drawn, arrays)
        kind = FitIterator if follows(arguments) else EpochwiseIterator
        self.train = kind(self._seed, self._events, **arguments)
        dataset = self.train.source.dataset if isinstance(self.train, FitIterator) else None
        if dataset is not None:
            self._seed_generators = seed_generators(dataset)
            if is_of_dataset(self.train):
                self._found += determinism.of_data(dataset, fills_caches=HiddenState.is_complete())
        if isinstance(self._validation, tf.data.Dataset):
            self._found += determinism.of_data(
                self._validation, fills_caches=HiddenState.is_complete()
            )
        self.hidden.open(dataset, self._validation, self._reads)
        if isinstance(self._validation, types.GeneratorType):
            self._found.append(
                Caveat(
                    "A generator as validation data is prefetched to an unknown position",
                    "use arrays, a tf.data.Dataset or a PyDataset",
                )
            )
        return self.train

    def make_validation(self, arguments: Json) -> Any:
        """Create the iterator over validation data."""
        self._eval = EvalIterator(self.hidden.begin_validation, self._evals_replayed, **arguments)
        if self._eval.own_generators:
            self._found.append(_EVAL_DRAWS)
        return self._eval

    def close(self) -> None:
        """Stop reading training data."""
        if self.train is None:
            return
        self.train.close()
        if self.train.abandon():
            self.hidden.end_pass()
        self.hidden.close()

    def validation_over(self) -> None:
        """End a validation, which may have left batches."""
        if self._eval is not None and self._eval.has_drawn():
            self._found.append(_EVAL_DRAWS)
        if self._eval is not None and self._eval.abandon():
            self.hidden.end_validation()

    def _reads(self) -> bool:
        return isinstance(self.train, FitIterator) and self.train.reads

    def _pass_begins(self) -> None:
        """Record the state at the start of a pass, from which the pass is read again."""
        self._live_arrays = {}
        self._live = {
            "evals": self.evals,
            "hidden": self.hidden.begin_pass(self._live_arrays),
            "seeds": rng.seed_states(self._live_arrays, "live", only=self._seed_generators),
        }

    # for other components

    @property
    def evals(self) -> int:
        """Number of passes over validation data so far."""
        return self._eval.created if self._eval is not None else self._evals_replayed

    def seed_generators(self) -> list[int]:
        """Return the numbers of the seed generators that the data draws from."""
        return self._seed_generators

    def drawn(self) -> dict[str, Any]:
        """Return RNG states as of the last trained batch, whatever was prefetched."""
        drawn = self.iterator.drawn()
        return {name: drawn[kind] for kind, name in _ARGUMENTS.items() if kind in drawn}

    # component

    def capture(self, arrays: Tensors) -> TrainingState:
        arrays.update(self._live_arrays)
        return {
            "iterator": self.iterator.position(),
            "live": self._live,
            "evals": self.evals,
            "hidden": self.hidden.capture(arrays),
            "draws": self.iterator.draws(arrays),
        }

    def seek(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        live, at = saved["live"], saved.get("hidden")
        replay = at is None or "shuffles" not in at  # an older checkpoint, another TensorFlow
        if at is not None:
            self.hidden.fill(at, arrays, self._beat)

        def before_live() -> None:
            if replay:
                self._replay_evals(live.get("evals", 0))
            self.hidden.restore_pass(live.get("hidden", {}), arrays)
            rng.restore_seed_states(live.get("seeds", []), arrays)

        self.iterator.seek(
            saved["iterator"], before_live, saved.get("draws"), arrays, replay=replay
        )
        self._live = live
        self._live_arrays = {key: value for key, value in arrays.items() if key.startswith("live/")}
        self._restore_evals(saved["evals"], replay=replay)
        if at is not None:
            self.hidden.restore(at, arrays)

    def restore_ended(self, saved: TrainingState, arrays: Tensors) -> None:
        """Restore the data as of the end of a finished stage: a later one may share its shuffle."""
        at = saved.get("hidden")
        replay = at is None or "shuffles" not in at
        self.iterator.restore_ended(saved["iterator"], saved.get("draws"), arrays, replay=replay)
        self._restore_evals(saved["evals"], replay=replay)
        seeds = saved["random"]["seeds"]
        rng.restore_seed_states([one for one in seeds if one[0] in self._seed_generators], arrays)
        if at is not None:
            self.hidden.restore_ended(at, arrays)

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        if "hidden" in saved:
            # on_epoch_begin, called again, may have begun iterators, which draw from shuffles
            self.hidden.restore(saved["hidden"], arrays)
        draws = saved.get("draws")
        if draws is not None:
            self.iterator.put_values(draws, arrays)
        self.iterator.check_again()

    def fingerprint(self) -> Fingerprint:
        return {"plan": self.iterator.fingerprint()}

    def caveats(self) -> list[Caveat]:
        for dataset in self.hidden.held_datasets():
            self._found += determinism.of_data(dataset, fills_caches=HiddenState.is_complete())
        raced = [determinism.SHARED_SHUFFLE] if self.hidden.is_raced() else []
        return [*self.iterator.caveats(), *self._found, *raced]

    def unchecked(self, saved: TrainingState) -> list[str]:
        return self.hidden.drawn_ahead()

    def receipt(self, saved: TrainingState) -> list[str]:
        return ["position in the data", *self.hidden.words()]

    def _restore_evals(self, count: int, *, replay: bool) -> None:
        if replay:
            self._replay_evals(count)
        self._evals_replayed = count

    def _replay_evals(self, count: int) -> None:
        """Repeat validation passes: the validation set may share a shuffle with training data."""
        for _ in range(count - self._evals_replayed):
            if isinstance(self._validation, tf.data.Dataset):
                iter(self._validation)
        self._evals_replayed = max(count, self._evals_replayed)
