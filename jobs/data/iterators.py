"""Iterators over the data of a ``fit``: those of the Keras that is followed."""

from typing import TYPE_CHECKING, Any

from rekindle.jobs.keras_compat import internals

__all__ = [
    "CallbackIterator",
    "EpochwiseIterator",
    "EvalIterator",
    "FitIterator",
    "follows",
    "is_of_dataset",
]

if TYPE_CHECKING or not internals.LEGACY:
    from rekindle.jobs.data.keras3.epoch_iterator import EpochwiseIterator
    from rekindle.jobs.data.keras3.fit_iterator import CallbackIterator, EvalIterator, FitIterator
else:
    from rekindle.jobs.data.legacy.epochwise import EpochwiseHandler as EpochwiseIterator
    from rekindle.jobs.data.legacy.handler import CallbackHandler as CallbackIterator
    from rekindle.jobs.data.legacy.handler import EvalHandler as EvalIterator
    from rekindle.jobs.data.legacy.handler import TrainingHandler as FitIterator


def follows(arguments: dict[str, Any]) -> bool:
    """Return whether a ``fit`` with these data can begin at any batch; otherwise at any epoch."""
    return internals.follows(arguments["x"], arguments.get("y"))


def is_of_dataset(iterator: Any) -> bool:
    """Return whether an iterator reads a ``tf.data.Dataset`` of the script."""
    return isinstance(iterator.data_adapter, internals.TFDatasetAdapter)
