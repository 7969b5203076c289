"""Which Keras is followed batch by batch: the versions, and the source of its training loop."""

import functools
import hashlib
import inspect
from typing import Final

import keras
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from keras.src.trainers.epoch_iterator import EpochIterator

TESTED: Final = ("3.15.1",)
"""Keras versions that the exactness suite was run with."""

_FOLLOWED: Final = "15eaf4a007e88f75"
"""Digest of Keras' own loop in those versions; see :func:`is_known`."""


@functools.cache
def loop_digest() -> str:
    """SHA-256 of the source of everything in Keras that the iterators here stand in for."""
    parts = (EpochIterator, TFEpochIterator)
    return hashlib.sha256("".join(inspect.getsource(part) for part in parts).encode()).hexdigest()[
        :16
    ]


def is_known() -> bool:
    """Whether Keras' loop is the one that is followed here, whatever its version is called."""
    try:
        return loop_digest() == _FOLLOWED
    except (OSError, TypeError):  # no source is installed
        return keras.__version__ in TESTED
