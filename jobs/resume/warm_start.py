"""Warm start: the first stage begins with the weights of another job's checkpoint.

The daemon copied that checkpoint into the run directory before the first attempt, so that every
attempt begins the same, even if the other job changes or is deleted.
"""

import json
from typing import Any

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture import variables
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.weights import raw_arrays
from rekindle.jobs.weights.seed_paths import is_seed
from rekindle.state.errors import CheckpointsUnreadable, StateMismatch
from rekindle.state.run import checkpoints, tensors
from rekindle.state.run.checkpoints import Checkpoint, Position

_HINT = (
    "Build the same model as the other job. For another head or frozen layers, load an export "
    "of it in the script instead: `rekindle export OTHER --to other.keras`."
)


def apply(session: Session, stage: int, models: dict[str, Any]) -> list[str]:
    """Assign the weights if the job has a warm start; return what was assigned, for the receipt.

    Optimizer and random states keep their initial values.

    Raises:
        CheckpointsUnreadable: the daemon's copy is damaged or missing.
        StateMismatch: the models differ; the first difference is named.
    """
    if session.job.warm_start is None or stage > 0:
        return []
    folder = session.run.warm_start
    try:
        source = json.loads(session.run.warm_start_source.read_bytes())
        position = Position.parse(source["checkpoint"])
        assert position is not None
        checkpoint = Checkpoint(folder / source["checkpoint"], position)
        reason = checkpoints.verify(checkpoint)
        if reason is not None:
            raise ValueError(reason)
        arrays, metadata = tensors.load(checkpoint.state)
        saved = json.loads(metadata["state"])["variables"]
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise CheckpointsUnreadable(
            f"The weights of {session.job.warm_start} for the warm start cannot be read: {error}.",
            where=folder,
            hint="Remove the folder, then `rekindle release`: the daemon copies them again.",
        ) from error
    counts = [
        _assign(label, internals.model_variables(model), saved.get(label, []), arrays)
        for label, model in models.items()
    ]
    name = f"{source['job']}, {source['checkpoint']}"
    log_line(f"warm start with the weights of {name}.")
    return [f"{sum(counts)} weights of {name}"]


def _assign(label: str, here: list[Any], described: list[list[Any]], arrays: dict[str, Any]) -> int:
    """Assign by path if all paths match, else by position: layer numbers differ by process."""
    mine = [variable for variable in here if not is_seed(variables.path_of(variable))]
    theirs = [(index, entry) for index, entry in enumerate(described) if not is_seed(entry[0])]
    if {variables.path_of(v) for v in mine} == {entry[0] for _, entry in theirs} and (
        len({variables.path_of(v) for v in mine}) == len(mine)
    ):
        order = {entry[0]: (index, entry) for index, entry in theirs}
        theirs = [order[variables.path_of(variable)] for variable in mine]
    for variable, (_, (path, shape, dtype)) in zip(mine, theirs, strict=False):
        if list(variable.shape) != list(shape):
            raise _mismatch(
                f"{path} has shape {tuple(shape)} there, but {variables.path_of(variable)} has "
                f"{tuple(variable.shape)} here"
            )
        if variables.dtype_of(variable) != dtype:
            raise _mismatch(
                f"{path} is {dtype} there, but {variables.path_of(variable)} is "
                f"{variables.dtype_of(variable)} here"
            )
    if len(mine) != len(theirs):
        longer = (
            [variables.path_of(v) for v in mine]
            if len(mine) > len(theirs)
            else [entry[0] for _, entry in theirs]
        )
        raise _mismatch(
            f"the {label} has {len(theirs)} weights there and {len(mine)} here; "
            f"{longer[min(len(mine), len(theirs))]} has no counterpart"
        )
    for variable, (index, _) in zip(mine, theirs, strict=True):
        array = arrays[f"{label}/{index:05d}"]
        wanted = _dtype(variable)
        variable.assign(array if array.dtype == wanted else array.view(wanted))
    return len(mine)


def _mismatch(found: str) -> StateMismatch:
    return StateMismatch(
        f"The weights for the warm start do not fit the model: {found}.", hint=_HINT
    )


def _dtype(variable: Any) -> Any:
    return raw_arrays.numpy_type(variables.components(variable)[0])
