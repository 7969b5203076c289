"""Describe TensorFlow and the GPUs that it sees; run in a job's interpreter by `verify-resume`."""

import contextlib
import json
import os
import platform
from typing import Any, Final

from rekindle.jobs import provenance

SETTINGS: Final = (
    "TF_DETERMINISTIC_OPS",
    "TF_CUDNN_DETERMINISTIC",
    "TF_CUDNN_USE_AUTOTUNE",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "NVIDIA_TF32_OVERRIDE",
    "KERAS_BACKEND",
    "TF_FORCE_GPU_ALLOW_GROWTH",
)
"""Environment variables that decide the numbers, or which of them can be repeated."""


def main() -> None:
    """Import TensorFlow as a script would, and print what it says as one line of JSON."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": provenance.packages(),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }
    try:
        found.update(_tensorflow())
    except BaseException as error:
        # a broken installation may raise anything: the exception is the finding
        found["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found), flush=True)


def _tensorflow() -> dict[str, Any]:
    import keras
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    devices = tf.config.list_physical_devices("GPU")
    found: dict[str, Any] = {
        "backend": keras.config.backend(),
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "gpus": [_device(tf, device) for device in devices],
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "jit": bool(tf.config.optimizer.get_jit()),
    }
    with contextlib.suppress(ImportError, AttributeError):
        from tensorflow.python.framework import config

        found["op_determinism"] = config.is_op_determinism_enabled()
    return found


def _device(tf: Any, device: Any) -> dict[str, Any]:
    details = tf.config.experimental.get_device_details(device)
    capability = details.get("compute_capability")
    return {
        "name": str(details.get("device_name", "unknown")),
        "capability": ".".join(map(str, capability)) if capability else "unknown",
    }
