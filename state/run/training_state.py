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
    """Properties that must be equal in every attempt.

    Older checkpoints lack ``keras``, ``backend``, ``rates``, ``auto_names`` and the fourth item of
    each layer.

    Attributes:
        keras: its version, which may differ.
        backend: of Keras.
        layers: class, name, digest of the settings, and that without automatic names.
        auto_names: canonical form of each automatic name; these may differ.
    """

    keras: str
    backend: str
    model: str
    layers: list[list[str]]
    auto_names: dict[str, str]
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


class StreamState(TypedDict, total=False):
    """Position in one stream of a loop; older checkpoints lack ``loader``."""

    plan: dict[str, Any]
    passes: int
    taken: int
    live: bool
    begin: dict[str, Any]
    loader: dict[str, Any]


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
        iterator, live, evals, hidden, draws, callbacks, epochs: of a ``fit``; older checkpoints
            lack ``hidden``, ``draws`` and ``epochs``.
        loop, state: of a loop.
        epoch_start: of a loop, what is small of the state at the start of its epoch; older
            checkpoints lack it.
        non_finite: arrays that are not finite by design, and the number of NaN in each; older
            checkpoints lack it, ``tables`` and ``traced``.
        traced: random states from which steps were traced that drew in it; only if there are any.
        tables: lookup tables of layers: name, digest, and arrays where training changes it.
        inexact: caveats as text.
        files, folders, paths: records of what the stage wrote, folders that the script made, and
            paths that it gave to callbacks; older checkpoints lack them.
        held: path and position of files that the script had opened before the stage.
        python: Python state; older checkpoints lack it.
        architecture: digest of the models' settings; older checkpoints lack it.
        dropped: of the end of a stage whose weights were dropped: the stage that began with them,
            and the digest of its entry.
        versions: of Keras and TensorFlow.
        fork: the token of the fork whose job has saved it; only in checkpoints of such jobs.
    """

    position: PositionState
    fingerprint: Fingerprint
    variables: dict[str, list[Any]]
    random: dict[str, Any]
    generators: int
    stop_training: bool
    logs: dict[str, Any]
    non_finite: dict[str, int]
    tables: list[Any]
    traced: dict[str, Any]
    inexact: list[str]
    versions: dict[str, str]
    iterator: IteratorState
    live: dict[str, Any]
    evals: int
    hidden: dict[str, Any]
    draws: dict[str, Any] | None
    callbacks: list[Any]
    epochs: int
    loop: LoopState
    state: dict[str, Any]
    epoch_start: dict[str, Any]
    python: dict[str, Any]
    architecture: str
    seeds_in_models: list[int]
    dropped: dict[str, Any]
    files: list[dict[str, Any]]
    folders: list[str]
    paths: list[Any]
    held: list[tuple[str, int]]
    fork: str
