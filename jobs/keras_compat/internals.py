"""Parts of the Keras that is followed: the same names for Keras 3 and for legacy Keras.

Import it only where a training is followed: the first import decides
(:mod:`rekindle.jobs.keras_compat.followed`).
"""

# the same names in both, which a test compares
# ruff: noqa: F403
from typing import TYPE_CHECKING

from rekindle.jobs.keras_compat import followed

if TYPE_CHECKING:
    from rekindle.jobs.keras_compat.keras3 import *
elif followed.is_absent():
    from rekindle.jobs.keras_compat.none import *
elif followed.is_legacy():
    from rekindle.jobs.keras_compat.legacy import *
else:
    from rekindle.jobs.keras_compat.keras3 import *
