"""The source of arrays, of the backend of Keras."""

from typing import TYPE_CHECKING

from rekindle.jobs.keras_compat import keras3

__all__ = ["ArraySource"]

if TYPE_CHECKING or keras3.BACKEND == keras3.TENSORFLOW:
    from rekindle.jobs.data.keras3.array_source import ArraySource
else:
    from rekindle.jobs.data.keras3.eager_sources import EagerArrays as ArraySource
