"""``warm_start``: the first stage begins with the weights of another job's checkpoint.

The daemon put that checkpoint into the run directory before the first attempt, so that
every attempt begins the same, whatever has become of the other job.
"""

import json
from typing import Any

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.journal_writer import tell
from rekindle.state.errors import CheckpointsUnreadable, StateMismatch
from rekindle.state.run import checkpoints, tensors
from rekindle.state.run.checkpoints import Checkpoint, Position

_HINT = (
    "Build the same model as the other job; a new head or frozen layers come after "
    "it, in the script, from an export of the other job (`rekindle export`)."
)


def apply(session: Session, stage: int, models: dict[str, Any]) -> list[str]:
    """Assigns the weights where the job asks for that; what was assigned, for the receipt.

    The optimizer stays fresh, and so do random states.

    Raises:
        CheckpointsUnreadable: what the daemon put there is damaged or missing.
        StateMismatch: the models are not the same; the first difference is named.
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
            f"The weights of {session.job.warm_start}, from which the job begins, cannot be "
            f"read: {error}.",
            where=folder,
            hint="Remove the folder and `rekindle release` the job: they are fetched once more.",
        ) from error
    counts = [
        _assign(label, list(model.variables), saved.get(label, []), arrays)
        for label, model in models.items()
    ]
    name = f"{source['job']}, {source['checkpoint']}"
    tell(f"begins with the weights of {name}.")
    return [f"{sum(counts)} weights of {name}"]


def _assign(label: str, here: list[Any], described: list[list[Any]], arrays: dict[str, Any]) -> int:
    """Same paths: by path. Otherwise by position, since layers are numbered by process."""
    mine = [variable for variable in here if not _is_seed(variable.path)]
    theirs = [(index, entry) for index, entry in enumerate(described) if not _is_seed(entry[0])]
    if {v.path for v in mine} == {entry[0] for _, entry in theirs} and (
        len({v.path for v in mine}) == len(mine)
    ):
        order = {entry[0]: (index, entry) for index, entry in theirs}
        theirs = [order[variable.path] for variable in mine]
    for variable, (_, (path, shape, dtype)) in zip(mine, theirs, strict=False):
        if list(variable.shape) != list(shape):
            raise _mismatch(
                f"{path} has shape {tuple(shape)} there, and {variable.path} has "
                f"{tuple(variable.shape)} here"
            )
        if str(variable.dtype) != dtype:
            raise _mismatch(
                f"{path} is {dtype} there, and {variable.path} is {variable.dtype} here"
            )
    if len(mine) != len(theirs):
        longer = (
            [v.path for v in mine] if len(mine) > len(theirs) else [entry[0] for _, entry in theirs]
        )
        raise _mismatch(
            f"the {label} has {len(theirs)} weights there and {len(mine)} here; "
            f"{longer[min(len(mine), len(theirs))]} has none to go with"
        )
    for variable, (index, _) in zip(mine, theirs, strict=True):
        array = arrays[f"{label}/{index:05d}"]
        wanted = _dtype(variable)
        variable.assign(array if array.dtype == wanted else array.view(wanted))
    return len(mine)


def _mismatch(found: str) -> StateMismatch:
    return StateMismatch(f"The job cannot begin with those weights: {found}.", hint=_HINT)


def _is_seed(path: str) -> bool:
    return str(path).endswith("seed_generator_state")


def _dtype(variable: Any) -> Any:
    value = variable._value
    component = next(iter(getattr(value, "values", None) or [value]))
    return component.dtype.as_numpy_dtype
