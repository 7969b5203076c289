"""Read in the text of a script what an import cannot tell. A guess: the script is not run."""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.jobs.job import Job

_MOST_BYTES: Final = 1024 * 1024
_BACKEND: Final = re.compile(
    r"""environ(?:\.setdefault\(|\[)\s*["']KERAS_BACKEND["']\s*(?:\]\s*=|,)\s*["'](\w+)["']"""
)
_IMPORT: Final = re.compile(r"^\s*(?:import|from)\s+keras\b", re.MULTILINE)
_TF_KERAS: Final = re.compile(r"\btf\.keras\b|\btensorflow\.keras\b|\btensorflow import keras\b")
_LEARNS: Final = re.compile(r"\b(?:keras|tensorflow|tf_keras)\b")
_WRITES: Final = re.compile(
    r"""(?:ModelCheckpoint|BackupAndRestore|CSVLogger|TensorBoard|FileWriter|\.save|\.save_weights
    |\.export|savefig|\.savez?|\.to_csv|\.to_parquet|\.dump|makedirs|mkdir)
    \(\s*(?:filepath\s*=\s*|filename\s*=\s*|backup_dir\s*=\s*|log_dir\s*=\s*)?f?["'](?![/~"'])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class ScriptText:
    """Describe what the text of a script says.

    Attributes:
        backend: the value that it gives KERAS_BACKEND; None if it does not.
        tf_keras: it uses Keras through TensorFlow.
        learns: it names Keras or TensorFlow.
        writes: it writes a file at a relative path.
    """

    backend: str | None = None
    tf_keras: bool = False
    learns: bool = True
    writes: bool = False


def of(job: Job) -> ScriptText:
    """Read the script of a job; the defaults for a module or a command."""
    if job.script is None:
        return ScriptText()
    try:
        return _of_file(job.script, os.stat(job.script).st_mtime_ns)
    except OSError:
        return ScriptText()


@functools.lru_cache(maxsize=64)
def _of_file(path: str, mtime: int) -> ScriptText:
    """Read a file once while it does not change: thousands of jobs may run the same script."""
    with Path(path).open("rb") as file:
        return read(file.read(_MOST_BYTES).decode("utf-8", "replace"))


def read(text: str) -> ScriptText:
    """Read the text of a script."""
    imported = _IMPORT.search(text)
    # Keras reads the variable when it is imported; a later value changes nothing
    backend = _BACKEND.search(text, 0, imported.start() if imported else len(text))
    return ScriptText(
        backend=backend[1] if backend else None,
        tf_keras=_TF_KERAS.search(text) is not None,
        learns=_LEARNS.search(text) is not None,
        writes=_WRITES.search(text) is not None,
    )
