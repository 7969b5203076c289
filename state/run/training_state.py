"""Declare once what the JSON of a checkpoint's state holds, beside its arrays.

A stage of ``fit`` and a loop share one form; each component of a stage owns some of its keys.
Checkpoints of older versions lack some of them: read with ``get`` what is marked here.
"""

from typing import Any, TypedDict

Variable = tuple[str, list[int], str]
"""Path, shape and type; arrays lie under ``group/index`` and ``group/index/rREPLICA``."""


class PositionState(TypedDict):
    """Where the stage is.

    Attributes:
        step: batches trained in the whole run.
        epoch_step: batches trained of the epoch that runs.
        base: the step at which the epoch began; of loops, the stage.
        end: the stage is over.
    """

    stage: int
    epoch: int
    step: int
    epoch_step: int
    base: int
    end: bool


class Fingerprint(TypedDict, total=False):
    """What must be the same in every attempt; ``rates`` is missing in older checkpoints."""

    model: str
    layers: list[list[str]]
    optimizers: dict[str, list[Any]]
    rates: dict[str, float]
    plan: dict[str, Any]


class IteratorState(TypedDict):
    """Where the data of a ``fit`` is, in passes and batches."""

    created: int
    taken: int
    epoch_step: int
    steps_seen: int
    num_batches: int | None
    live: bool
    epochs_begun: int


class StreamState(TypedDict):
    """Where one stream of a loop is."""

    plan: dict[str, Any]
    passes: int
    taken: int
    live: bool
    begin: dict[str, Any]


class LoopState(TypedDict, total=False):
    """Where the code of a loop is; ``traces`` is missing in older checkpoints."""

    call: int
    exhausted: bool
    calls: list[int]
    passes: list[int]
    streams: dict[str, StreamState]
    random: dict[str, Any]
    traces: dict[str, list[Any]]


class TrainingState(TypedDict, total=False):
    """All of it.

    Attributes:
        generators: seed generators made in the process; missing in older checkpoints of loops.
        iterator, live, evals, draws, callbacks, epochs: of a ``fit``; ``draws`` and ``epochs``
            are missing in older checkpoints.
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
