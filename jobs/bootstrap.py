"""Start keeper and trainer in an interpreter where rekindle is not installed.

``rekindle`` is entered into ``sys.modules`` as a package whose path is the folder of this code.
``sys.path`` stays the user's: no module of rekindle can shadow one of theirs, and no package
installed beside rekindle becomes importable for them.
"""

from pathlib import Path
from typing import Final

# removes the current folder first: a user's `types.py` there must not be imported here
_CODE: Final = (
    # an older Python would fail in the middle of our modules, with an unrelated traceback
    "import sys;v=sys.version_info[:2];"
    "v<(3,10) and (sys.stderr.write('rekindle: a job needs Python 3.10 or newer; '"
    "'%s is Python %d.%d.\\n'%((sys.executable,)+v)),sys.exit(78));"
    "sys.path[:1]=[] if sys.path[:1]==[''] else sys.path[:1];"
    "import types;r=types.ModuleType('rekindle');r.__path__=[sys.argv.pop(1)];"
    "sys.modules['rekindle']=r;"
    "import importlib;importlib.import_module(sys.argv.pop(1)).main()"
)


def command(python: str, module: str, *args: str, options: tuple[str, ...] = ()) -> list[str]:
    """Build the argument list that runs ``main()`` of ``module`` in the interpreter ``python``."""
    folder = Path(__file__).resolve().parent.parent
    return [python, *options, "-c", _CODE, str(folder), module, *args]
