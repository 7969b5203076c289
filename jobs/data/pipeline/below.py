"""Random state below a dataset: what an iterator over it draws from."""

from typing import Any

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.pipeline import shuffles
from rekindle.jobs.data.pipeline.shuffles import Draws
from rekindle.jobs.data.pipeline.variables import PipelineVariables, seed_generators

State = tuple[Json, Tensors]


class Below:
    """Read and restore the shuffles, seed generators and variables below a dataset.

    Attributes:
        shuffles: their names.
        later: shuffles that an iterator draws from while it is read.
    """

    def __init__(self, dataset: Any) -> None:
        draws = Draws(dataset if shuffles.supported() else None)
        self.shuffles, self.later = draws.names, draws.later
        self._seeds = seed_generators(dataset)
        self._variables = PipelineVariables(dataset)

    @property
    def words(self) -> list[str]:
        """Name what is random, the same in each attempt."""
        found = [*sorted(self.shuffles), *map(str, self._seeds)]
        return [*found, "variables"] if self._variables.counted else found

    @property
    def state(self) -> State:
        """The current state; no thread may draw meanwhile."""
        arrays: Tensors = {}
        return {
            "shuffles": shuffles.positions(self.shuffles),
            "seeds": rng.seed_states(arrays, "seeds", only=self._seeds),
            "variables": self._variables.capture(arrays, "variables"),
        }, arrays

    def put_begun(self, state: State) -> None:
        """Restore only the shuffles that nothing draws from while it is read."""
        positions = state[0]["shuffles"]
        shuffles.seek({name: at for name, at in positions.items() if name not in self.later})

    def put(self, state: State) -> None:
        """Restore such a state."""
        values, arrays = state
        shuffles.seek(values["shuffles"])
        rng.restore_seed_states(values["seeds"], arrays)
        self._variables.restore(arrays, "variables", counted=True)


def is_same(one: State, other: State) -> bool:
    """Return whether two states are equal."""
    return one[0] == other[0] and all(
        one[1][key].tobytes() == other[1][key].tobytes() for key in one[1]
    )
