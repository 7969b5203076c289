"""Inspect an interpreter's packages for training; run inside of it by `rekindle doctor`."""

import json
import platform
from typing import Any

from rekindle.jobs import provenance


def main() -> None:
    """Import Keras as a script would, and print the findings as one line of JSON."""
    found: dict[str, Any] = {"python": platform.python_version(), "packages": provenance.packages()}
    try:
        import keras

        from rekindle.jobs import keras_compat

        found["keras"] = keras.__version__
        found["backend"] = keras.config.backend()
        found["tested"] = list(keras_compat.TESTED)
    except BaseException as error:
        # a broken installation may raise anything: the exception is the finding
        found["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found), flush=True)
