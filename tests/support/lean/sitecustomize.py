"""Hide from Keras and TensorFlow what they import only to offer it to a script.

Python loads this in every process that a test starts: it takes a third off the import of
TensorFlow. The script itself, and every other package, finds these modules as ever; Keras finds
those that ``$KERAS_FINDS`` names.
"""

import importlib.abc
import os
import sys

OFFERED = {"jax", "matplotlib", "pandas", "sklearn", "torch"}
OFFERED -= set(os.environ.get("KERAS_FINDS", "").split(","))


class Finder(importlib.abc.MetaPathFinder):
    """Refuse an import of an offered package that a module of Keras or TensorFlow makes."""

    def find_spec(self, name, path, target=None):
        if name in OFFERED and _importer() in ("keras", "tensorflow"):
            raise ModuleNotFoundError(f"{name} is hidden from Keras in this test", name=name)


def _importer():
    """Return the package of the innermost frame that is not of the import itself."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("importlib."):
            return name.partition(".")[0]
        frame = frame.f_back
    return None


sys.meta_path.insert(0, Finder())
