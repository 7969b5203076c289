"""Inspect an interpreter as a trainer would find it; run inside of it by `rekindle doctor`.

The answer goes to a file descriptor, since a `sitecustomize` or a library may print anything.
"""

import dataclasses
import json
import os
import platform
import sys
from typing import Any

from rekindle.jobs import provenance
from rekindle.jobs.keras_compat import keras_support
from rekindle.jobs.keras_compat.keras_support import BACKEND, BACKENDS, Support


def main() -> None:
    """Run ``probe FD FOLDER GPUS``: import Keras as a script in FOLDER would, and report.

    GPUS is the number that the spec asks for; ``-1`` where the devices do not matter.
    """
    fd, folder, gpus = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if folder:
        sys.path.insert(0, folder)  # a module there hides an installed one, as for the script
    os.write(fd, json.dumps(look(gpus)).encode())


def look(gpus: int) -> dict[str, Any]:
    """Describe Python, packages, Keras and, if asked for, why no GPU is visible."""
    found: dict[str, Any] = {"python": platform.python_version(), "packages": provenance.packages()}
    try:
        import keras

        found["support"] = dataclasses.asdict(_support(keras))
        found["legacy"] = _legacy(keras)
        found["gpu"] = _gpu(gpus)
    except BaseException as error:
        # a broken installation may raise anything: the exception is the finding
        found["error"] = f"{type(error).__name__}: {error}"
        backend = _wanted_backend(error)
        if backend not in BACKENDS:
            version = provenance.version("keras") or "3"
            found["support"] = dataclasses.asdict(keras_support.decide(version, backend))
    return found


def _support(keras: Any) -> Support:
    """Decide as the trainer does when the script imports this Keras."""
    if keras_support.is_legacy(keras):
        early = keras_support.decide_legacy(keras.__name__, keras.__version__, unknown={})
        if early.level == keras_support.UNFOLLOWED:
            return early
    elif (backend := keras.config.backend()) not in BACKENDS:
        return keras_support.decide(keras.__version__, backend)
    try:
        from rekindle.jobs.keras_compat import followed

        followed.choose(keras)
        from rekindle.jobs.keras_compat import internals
        from rekindle.jobs.resume import fit  # noqa: F401  whatever the trainer imports to hook it

        return internals.support()
    except BaseException as error:
        return keras_support.hook_failed(keras.__name__, keras.__version__, error)


def _legacy(keras: Any) -> dict[str, str] | None:
    """Describe ``tf.keras`` where it is another Keras than ``keras``: TF_USE_LEGACY_KERAS."""
    tensorflow: Any = sys.modules.get("tensorflow")
    if tensorflow is None or keras_support.is_legacy(keras):
        return None
    try:
        # tf_keras has no `__version__` where `tf.keras` leads
        top = str(tensorflow.keras.Model.__module__).partition(".")[0]
        other = sys.modules[top]
        if other is keras:
            return None
        from rekindle.jobs.resume import fit_hook

        support = fit_hook.compat_of(other).support()
    except BaseException as error:
        return {
            "what": f"`tf.keras` cannot be imported: {type(error).__name__}: {error}",
            "hint": "Remove TF_USE_LEGACY_KERAS from `env` in the spec, or install tf-keras.",
        }
    if not support.what:
        return None
    return {"what": f"`tf.keras`: {support.what}", "hint": support.hint}


def _gpu(gpus: int) -> dict[str, str] | None:
    if gpus < 0:
        return None
    from rekindle.jobs.trainer import required_gpu

    # the memory of the GPU may be another job's
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    found = required_gpu.look()
    lacking = None if found is None else required_gpu.missing(found, gpus, sys.executable)
    if lacking is None:
        return None
    return {"what": lacking.what, "hint": f"{lacking.remedy} {required_gpu.ON_CPU}"}


def _wanted_backend(error: BaseException) -> str:
    """Find the backend that Keras was to load when its import failed."""
    lacking = error.name if isinstance(error, ModuleNotFoundError) else None
    named = os.environ.get("KERAS_BACKEND")
    return named or (lacking if lacking in ("torch", "jax", "openvino") else BACKEND)
