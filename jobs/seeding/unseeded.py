"""Seed what a script or a library makes without a seed the same in every attempt.

The n-th generator of a kind gets the n-th seed. The counts are a part of the random state, so that
a generator made during the training gets the same seed after a relaunch. The worker processes of a
pool have numbers of their own, so that they differ from each other; any other forked child gets
seeds of the operating system, as without rekindle.

This module imports neither numpy nor TensorFlow: it is called during their first imports.
"""

import functools
import hashlib
import os
import random
import secrets
import sys
from typing import Any, Final

DEFAULT_RNG: Final = "default_rng"
NUMPY: Final = "numpy"
PYTHON: Final = "python"
TENSORFLOW: Final = "tensorflow"

_counts: dict[str, int] = {}
_KEY: Final = 0x7E4D1E
_owner = os.getpid()
_wrapped: set[str] = set()
"""Kinds whose functions are replaced: once in a process, also where a spare has done it."""


def counts() -> dict[str, int]:
    """Count the seeds given so far, by kind."""
    return dict(_counts)


def restore(saved: dict[str, int]) -> None:
    """Continue after the seeds that an earlier attempt has given."""
    _counts.clear()
    _counts.update(saved)


def of_python(job_seed: int) -> None:
    """Seed ``random.Random()`` and ``random.seed()``, except those of the standard library.

    Names of temporary files must differ between processes.
    """
    if PYTHON in _wrapped:
        return
    _wrapped.add(PYTHON)
    plain = random.Random.seed

    @functools.wraps(plain)
    def seed(self: Any, a: Any = None, *args: Any, **kwargs: Any) -> None:
        if a is None and not _called_by_standard_library():
            a = _bits(job_seed, PYTHON, 256)
        plain(self, a, *args, **kwargs)

    random.Random.seed = seed  # type: ignore[method-assign]
    random.seed = random._inst.seed


def of_numpy(numpy: Any, job_seed: int) -> None:
    """Seed ``default_rng()``, ``RandomState()``, ``SeedSequence()`` and bit generators."""
    if NUMPY in _wrapped:
        return
    _wrapped.add(NUMPY)
    plain = numpy.random.default_rng

    @functools.wraps(plain)
    def default_rng(seed: Any = None) -> Any:
        if seed is None and os.getpid() == _owner:
            number = _next(DEFAULT_RNG)
            seed = numpy.random.SeedSequence([job_seed % 2**64, _KEY, number])
        return plain(seed)  # in a worker process SeedSequence asks for bits

    numpy.random.default_rng = default_rng
    # the only place where numpy asks the operating system
    source: Any = sys.modules.get("numpy.random.bit_generator")
    if source is not None and hasattr(source, "randbits"):
        source.randbits = lambda bits: _bits(job_seed, NUMPY, bits)


def of_tensorflow(job_seed: int) -> None:
    """Seed ``tf.random.Generator.from_non_deterministic_state()``."""
    import tensorflow as tf
    from tensorflow.python.ops import stateful_random_ops

    plain = stateful_random_ops.non_deterministic_ints

    @functools.wraps(plain)
    def non_deterministic_ints(shape: Any, dtype: Any = tf.int64) -> Any:
        # a graph draws others each time it runs: determinism names that
        if not tf.executing_eagerly():
            return plain(shape, dtype)
        count = tf.TensorShape(shape).num_elements()
        values = [_bits(job_seed, TENSORFLOW, 62) for _ in range(count)]
        return tf.cast(tf.reshape(tf.constant(values, tf.int64), shape), dtype)

    stateful_random_ops.non_deterministic_ints = non_deterministic_ints


def _next(kind: str) -> int:
    number = _counts.get(kind, 0)
    _counts[kind] = number + 1
    return number


def _bits(job_seed: int, kind: str, bits: int) -> int:
    """Derive the next number of ``bits`` bits of a kind."""
    worker = _worker()
    if worker is None:
        return secrets.randbits(bits)
    text = f"{job_seed} {kind}{worker} {_next(kind)}".encode()
    return int.from_bytes(hashlib.shake_256(text).digest((bits + 7) // 8), "big") % (1 << bits)


def _worker() -> str | None:
    """Name the worker process of a pool; empty in the trainer, None in another forked child."""
    if os.getpid() == _owner:
        return ""
    process: Any = sys.modules.get("multiprocessing.process")
    numbers = process.current_process()._identity if process is not None else ()
    return " in " + "-".join(map(str, numbers)) if numbers else None


def _called_by_standard_library() -> bool:
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "random":
        frame = frame.f_back  # type: ignore[assignment]
    name = str(frame.f_globals.get("__name__", "")) if frame is not None else ""
    return name != "__main__" and name.partition(".")[0] in sys.stdlib_module_names
