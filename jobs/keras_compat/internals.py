"""Parts of the Keras that is followed: the same names for Keras 3, for legacy Keras, and for none.

The names are those of :mod:`rekindle.jobs.keras_compat.keras3`. Ask for them only where a training
is followed: the first one decides (:mod:`rekindle.jobs.keras_compat.followed`).
"""

# ruff: noqa: F403
import functools
from typing import TYPE_CHECKING, Any

from rekindle.jobs.keras_compat import followed

if TYPE_CHECKING:
    from rekindle.jobs.keras_compat.keras3 import *
else:

    @functools.cache
    def _followed() -> Any:
        if followed.is_absent():
            from rekindle.jobs.keras_compat import none

            return none
        if followed.is_legacy():
            from rekindle.jobs.keras_compat import legacy

            return legacy
        from rekindle.jobs.keras_compat import keras3

        return keras3

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # kept: it is not looked up again
        value = globals()[name] = getattr(_followed(), name)
        return value
