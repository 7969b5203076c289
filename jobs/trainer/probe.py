"""What an interpreter has to train with; run inside of it by `rekindle doctor`."""

import json
import platform
from typing import Any

from rekindle.jobs import provenance


def main() -> None:
    """Imports Keras as a script would, and prints what was found as one line of JSON."""
    found: dict[str, Any] = {"python": platform.python_version(), "packages": provenance.packages()}
    try:
        import keras

        from rekindle.jobs import keras_compat

        found["keras"] = keras.__version__
        found["backend"] = keras.config.backend()
        found["tested"] = list(keras_compat.TESTED)
    except BaseException as error:
        # whatever a broken installation raises is the answer
        found["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found), flush=True)
