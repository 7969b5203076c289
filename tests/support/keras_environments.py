"""Environments with other versions of Python, TensorFlow and Keras, made when they are needed.

Each is a virtual environment in the user's cache folder, named by the digest of its pins. Their
packages come from the index that pip is configured for.
"""

import datetime as dt
import fcntl
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pythons


@dataclass(frozen=True)
class Environment:
    """Pin an environment.

    Attributes:
        python: major and minor number.
        later: packages installed after the others, without dependencies: they replace one.
        exact: it is resumed to the batch; otherwise from whole epochs.
        legacy: ``tf.keras`` is ``tf_keras``.
        loops: it has no Keras; loops are trained in it.
        backend: of Keras.
    """

    name: str
    python: tuple[int, int]
    packages: tuple[str, ...]
    later: tuple[str, ...] = ()
    exact: bool = True
    legacy: bool = False
    loops: bool = False
    backend: str = "tensorflow"

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of its jobs."""
        if self.backend != "tensorflow":
            return {"KERAS_BACKEND": self.backend}
        return {"TF_USE_LEGACY_KERAS": "1"} if self.legacy else {}

    @property
    def folder(self) -> Path:
        pins = repr((self.python, self.packages, self.later)).encode()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "rekindle" / "keras" / f"{self.name}-{hashlib.sha256(pins).hexdigest()[:8]}"

    @property
    def interpreter(self) -> Path:
        return self.folder / "bin" / "python"

    def find_python(self) -> str | None:
        return pythons.find(*self.python)

    def make(self) -> Path:
        """Create the environment unless it exists; return its interpreter."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        done = self.folder / ".done"
        with open(f"{self.folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                base = self.find_python()
                assert base is not None, f"no Python {self.python}"
                subprocess.run([base, "-m", "venv", "--clear", str(self.folder)], check=True)
                self._install(*self.packages)
                if self.later:
                    subprocess.run(
                        [
                            *(self.interpreter, "-m", "pip", "uninstall", "-q", "-y"),
                            *("keras", "keras-nightly"),
                        ],
                        check=True,
                    )
                    self._install("--no-deps", *self.later)
                done.touch()
        return self.interpreter

    def _install(self, *what: str) -> None:
        subprocess.run(
            [self.interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", *what],
            check=True,
        )


def _legacy(python: tuple[int, int], tensorflow: str, tf_keras: str, *more: str) -> Environment:
    return Environment(
        f"tf_keras-{tf_keras}",
        python,
        (f"tensorflow-cpu=={tensorflow}", f"tf_keras=={tf_keras}", *more),
        legacy=True,
    )


BOARD: Final = "tensorboard==2.20.0"
"""TensorFlow 2.21 no longer installs it."""


def _pair(python: tuple[int, int], tensorflow: str, keras: str, *more: str) -> Environment:
    return Environment(
        f"keras-{keras}", python, (f"tensorflow-cpu=={tensorflow}", f"keras=={keras}", *more)
    )


def _on_jax(python: tuple[int, int], keras: str, jax: str, *more: str) -> Environment:
    packages = (f"keras=={keras}", f"jax=={jax}", f"jaxlib=={jax}", *more)
    return Environment(f"keras-{keras}-jax", python, packages, backend="jax")


def _on_torch(keras: str) -> Environment:
    packages = (f"keras=={keras}", "torch==2.13.0", "numpy==2.3.4")
    return Environment(f"keras-{keras}-torch", (3, 11), packages, backend="torch")


ENVIRONMENTS: Final = {
    one.name: one
    for one in (
        Environment(
            "keras-3.4.1", (3, 10), ("tensorflow-cpu==2.16.2", "keras==3.4.1"), exact=False
        ),
        _pair((3, 11), "2.17.1", "3.5.0"),
        _pair((3, 10), "2.16.2", "3.6.0"),
        _pair((3, 12), "2.18.1", "3.7.0"),
        _pair((3, 11), "2.18.1", "3.8.0"),
        _pair((3, 10), "2.19.1", "3.9.2"),
        _pair((3, 11), "2.19.1", "3.10.0"),
        _pair((3, 13), "2.20.0", "3.11.3"),
        _pair((3, 12), "2.20.0", "3.12.1"),
        _pair((3, 13), "2.20.0", "3.13.2"),
        _pair((3, 12), "2.21.0", "3.14.1", BOARD),
        _pair((3, 13), "2.21.0", "3.15.1", BOARD),
        Environment("keras-2.12.0", (3, 10), ("tensorflow-cpu==2.12.1", "keras==2.12.0")),
        Environment("keras-2.13.1", (3, 10), ("tensorflow-cpu==2.13.1", "keras==2.13.1")),
        Environment("keras-2.14.0", (3, 11), ("tensorflow-cpu==2.14.1", "keras==2.14.0")),
        Environment("keras-2.15.0", (3, 10), ("tensorflow-cpu==2.15.1", "keras==2.15.0")),
        _legacy((3, 11), "2.16.2", "2.16.0"),
        _legacy((3, 10), "2.17.1", "2.17.0"),
        _legacy((3, 11), "2.18.1", "2.18.0"),
        _legacy((3, 11), "2.19.1", "2.19.0"),
        _legacy((3, 13), "2.20.0", "2.20.1"),
        _legacy((3, 11), "2.21.0", "2.21.0", BOARD),
        _on_jax((3, 12), "3.7.0", "0.4.35", "numpy==2.1.3"),
        _on_jax((3, 11), "3.10.0", "0.6.2", "numpy==2.3.4"),
        _on_jax((3, 12), "3.12.1", "0.8.1", "numpy==2.3.4"),
        _on_jax((3, 12), "3.14.1", "0.10.2", "tensorflow-cpu==2.21.0"),
        _on_jax((3, 13), "3.15.1", "0.10.2", "numpy==2.4.6"),
        _on_torch("3.7.0"),
        _on_torch("3.10.0"),
        _on_torch("3.12.1"),
        _on_torch("3.15.1"),
        Environment(
            "jax-0.10.2",
            (3, 12),
            ("jax==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6", "flax==0.12.8", "optax==0.2.8"),
            loops=True,
        ),
        Environment("torch-2.13.0", (3, 11), ("torch==2.13.0", "numpy==2.3.4"), loops=True),
        Environment(
            "keras-nightly",
            (3, 12),
            ("tf-nightly-cpu==2.22.0.dev20260905", BOARD),
            ("keras-nightly==3.16.0.dev2026102704",),
        ),
    )
}


def chosen(words: str) -> list[Environment]:
    """Choose environments: ``all``, names, or ``rotating``, another one each day."""
    if words == "all":
        return list(ENVIRONMENTS.values())
    if words == "rotating":
        here = [one for one in ENVIRONMENTS.values() if one.find_python()]
        return [here[dt.date.today().toordinal() % len(here)]] if here else []
    return [ENVIRONMENTS[name] for name in words.split(",") if name]


if __name__ == "__main__":
    for environment in chosen(",".join(sys.argv[1:]) or "all"):
        print(environment.name, environment.make())
