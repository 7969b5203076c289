"""Declare the JSON of a checkpoint's state, beside its arrays.

A stage of ``fit`` and a loop share one form; each component of a stage owns some of its keys.
Checkpoints of older versions lack the keys marked here: read those with ``get``.
"""

from typing import Any, TypedDict

Variable = tuple[str, list[int], str]
"""Path, shape and type; arrays are named ``group/index`` and ``group/index/rREPLICA``."""


class PositionState(TypedDict):
    """Position in the stage.

    Attributes:
        step: batches trained in the whole run.
        epoch_step: batches trained in the current epoch.
        base: step at which the epoch began; of loops, the stage.
        end: the stage has ended.
    """

    stage: int
    epoch: int
    step: int
    epoch_step: int
    base: int
    end: bool


class Fingerprint(TypedDict, total=False):
    """Properties that must be equal in every attempt; older checkpoints lack ``rates``."""

    model: str
    layers: list[list[str]]
    optimizers: dict[str, list[Any]]
    rates: dict[str, float]
    plan: dict[str, Any]


class IteratorState(TypedDict):
    """Position in the data of a ``fit``, in passes and batches."""

    created: int
    taken: int
    epoch_step: int
    steps_seen: int
    num_batches: int | None
    live: bool
    epochs_begun: int


class StreamState(TypedDict):
    """Position in one stream of a loop."""

    plan: dict[str, Any]
    passes: int
    taken: int
    live: bool
    begin: dict[str, Any]


class LoopState(TypedDict, total=False):
    """Position in the code of a loop; older checkpoints lack ``traces``."""

    call: int
    exhausted: bool
    calls: list[int]
    passes: list[int]
    streams: dict[str, StreamState]
    random: dict[str, Any]
    traces: dict[str, list[Any]]


class TrainingState(TypedDict, total=False):
    """The whole training state.

    Attributes:
        generators: number of seed generators made; older checkpoints of loops lack it.
        iterator, live, evals, draws, callbacks, epochs: of a ``fit``; older checkpoints lack
            ``draws`` and ``epochs``.
        loop, state: of a loop.
        inexact: caveats as text.
        versions: of Keras and TensorFlow.
    """

    position: PositionState
    fingerprint: Fingerprint
    variables: dict[str, list[Any]]
    random: dict[str, Any]
    generators: int
    stop_training: bool
    logs: dict[str, Any]
    inexact: list[str]
    versions: dict[str, str]
    iterator: IteratorState
    live: dict[str, Any]
    evals: int
    draws: dict[str, Any] | None
    callbacks: list[Any]
    epochs: int
    loop: LoopState
    state: dict[str, Any]
