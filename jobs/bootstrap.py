"""How keeper and trainer are started in an interpreter where nothing of ours is installed.

``rekindle`` is entered into ``sys.modules`` as a package whose path is the folder that this
very code was loaded from. ``sys.path`` stays the user's: nothing of ours can shadow a
module of theirs, and nothing that is installed beside us becomes importable to them.
"""

from pathlib import Path
from typing import Final

# the current folder is dropped first: a user's `types.py` there must not be imported here
_CODE: Final = (
    "import sys;sys.path[:1]=[] if sys.path[:1]==[''] else sys.path[:1];"
    "import types;r=types.ModuleType('rekindle');r.__path__=[sys.argv.pop(1)];"
    "sys.modules['rekindle']=r;"
    "import importlib;importlib.import_module(sys.argv.pop(1)).main()"
)


def command(python: str, module: str, *args: str, options: tuple[str, ...] = ()) -> list[str]:
    """The argument list that runs ``main()`` of ``module`` in the interpreter ``python``."""
    folder = Path(__file__).resolve().parent.parent
    return [python, *options, "-c", _CODE, str(folder), module, *args]
