"""Declare which code may import what, and in which process it runs; hold the tree to it.

The tables at the top are the contracts.
"""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
import pythons

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("state", "jobs", "daemon")

# ---- the contracts

MAY_IMPORT = {"state": {"state"}, "jobs": {"state", "jobs"}, "daemon": {"state", "jobs", "daemon"}}
"""state <- jobs <- daemon."""

MODULES_PER_FOLDER = 12
CROWDED = {"daemon/verbs"}
"""Folders beyond that: one file per verb."""

ENTRIES = {"jobs/__init__.py", "daemon/__main__.py"}
"""Facades that belong to no folder's layer: `resumable` for scripts, `python -m`."""

TRAINS = frozenset({"numpy", "keras", "tensorflow", "ml_dtypes"})
SERVES = frozenset(
    {
        "apprise",
        "argcomplete",
        "jinja2",
        "matplotlib",
        "nbconvert",
        "pynvml",
        "rich",
        "structlog",
        "tenacity",
        "watchdog",
        "yaml",
    }
)


@dataclass(frozen=True, slots=True)
class Process:
    """Name the modules that a kind of process starts from, and all that these may load.

    `ours` and `libraries` hold for everything that is reached, deferred imports included.
    """

    starts: tuple[str, ...]
    libraries: frozenset[str]
    ours: tuple[str, ...]


SUPPORT = tuple(f"jobs/keras_compat/{name}.py" for name in ("__init__", "keras_support", "known"))
SHARED = ("jobs/__init__.py", "jobs/[a-z]*.py", *SUPPORT, "state/*")
SPARE = (
    *(f"jobs/handover/{name}.py" for name in ("__init__", "channel")),
    *(f"jobs/spare/{name}.py" for name in ("__init__", "held")),
)
"""Of a warm spare, what is not in the spare itself."""
PROCESSES = {
    # `python -I -S`: lives where nothing is installed, and stays small
    "keeper": Process(
        ("jobs/keeper/*", "jobs/standby/*"),
        frozenset(),
        ("jobs/keeper/*", "jobs/standby/*", "jobs/handover/*", *SPARE, *SHARED),
    ),
    # what saves, prunes and stops serves every framework
    "attempt": Process(
        ("jobs/attempt/*",),
        frozenset({"numpy", "tensorflow"}),
        (
            "jobs/attempt/*",
            "jobs/handover/*",
            "jobs/saving/*",
            "jobs/weights/__init__.py",
            "jobs/weights/device_copies.py",
            "jobs/weights/finiteness.py",
            "jobs/evidence/*",
            "jobs/capture/__init__.py",
            "jobs/capture/codec.py",
            *(f"jobs/ends/{name}.py" for name in ("__init__", "limit", "stage_ends")),
            "jobs/stages/__init__.py",
            *(
                f"jobs/stages/{name}.py"
                for name in ("decision", "equal_stages", "key", "match", "records", "stage_table")
            ),
            *SHARED,
        ),
    ),
    # in the user's interpreter: nothing of ours is installed there
    "trainer": Process(("jobs/*",), TRAINS, ("jobs/*", "state/*")),
    # no numpy, no TensorFlow: they would cost half a gigabyte, and a GPU
    "daemon": Process(
        ("daemon/*",),
        SERVES,
        (
            "daemon/*",
            *SPARE,
            *SHARED,
            "jobs/keeper/__init__.py",
            "jobs/keeper/command.py",
            "jobs/keeper/memory_limit.py",
            "jobs/keeper/spawn.py",
        ),
    ),
}
JOB_SCRIPTS = {"daemon/demo/demo_script.py"}
"""Files that the daemon hands out as a job and never imports."""

NEVER_IN_A_DAEMON = {("daemon/demo/report.py", "state/run/tensors.py")}
"""Deferred imports of a verb that never runs in a daemon: the demo compares two models."""

ONLY_IN = {
    # the parser of specs is the daemon's; keeper and trainer read the accepted job.json
    "yaml": ("daemon/spec/*",),
    "tomllib": ("daemon/spec/*", "daemon/intake/submit.py"),
    "pynvml": ("daemon/gpus/nvml.py",),
    # extras: what lacks them names them
    "apprise": ("daemon/notify/sender.py",),
    "nbconvert": ("daemon/submission/notebook.py",),
    # Keras' private training loop: one place to look at when Keras changes
    "keras.src": ("jobs/keras_compat/keras3.py", "jobs/keras_compat/backends/of_*.py"),
}
"""Modules that only some files may import."""

OLD_PYTHON = (3, 10)
"""The oldest Python of a job: what keeper and trainer load parses and imports there."""

# ---- the tree


class Import(NamedTuple):
    """One import: what a file names, where, and whether it is for the type checker only."""

    name: str
    line: int
    typing_only: bool


def files() -> list[str]:
    """List the modules of the three parts, relative to the root."""
    return sorted(
        p.relative_to(ROOT).as_posix() for part in PARTS for p in (ROOT / part).rglob("*.py")
    )


FILES = files()
NAMES = {
    "rekindle." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): file
    for file in FILES
}


@functools.cache
def imports(file: str) -> tuple[Import, ...]:
    """Find every import of a file, wherever it stands in it."""
    return tuple(read_imports((ROOT / file).read_text(), file))


def read_imports(text: str, file: str) -> Iterator[Import]:
    tree = ast.parse(text, file)
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in typing_only)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", node.lineno, id(node) in typing_only)


def target(name: str) -> str | None:
    """Give the file that an imported name lies in, if it is ours."""
    return NAMES.get(name) or NAMES.get(name.rpartition(".")[0])


def arrows(file: str) -> set[str]:
    """Give the files of ours that a file imports when it runs."""
    found = {target(one.name) for one in imports(file) if not one.typing_only}
    return {other for other in found if other is not None and other != file}


def graph() -> dict[str, set[str]]:
    return {file: arrows(file) for file in FILES if file not in ENTRIES}


def by_folder(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """Fold a graph of files into one of their folders."""
    folders: dict[str, set[str]] = {}
    for file, others in modules.items():
        here = str(Path(file).parent)
        there = {str(Path(other).parent) for other in others if other not in ENTRIES}
        folders.setdefault(here, set()).update(there - {here})
    return folders


def circles(arrows_of: dict[str, set[str]]) -> list[list[str]]:
    """Find the sets of nodes that reach each other."""
    reach: dict[str, set[str]] = {}
    for start, first in arrows_of.items():
        seen: set[str] = set()
        ahead = list(first)
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                ahead.extend(arrows_of.get(node, ()))
        reach[start] = seen
    found = {
        tuple(sorted(b for b in reach[a] if a in reach.get(b, ()))) for a in reach if a in reach[a]
    }
    return [list(one) for one in sorted(found)]


def loaded(process: Process) -> set[str]:
    """Give all files that a process can come to load."""
    seen: set[str] = set()
    ahead = [f for f in FILES if matches(f, process.starts) and f not in JOB_SCRIPTS]
    while ahead:
        file = ahead.pop()
        if file in seen:
            continue
        seen.add(file)
        packages = {f"{parent}/__init__.py" for parent in map(str, Path(file).parents)}
        ahead.extend(packages & set(FILES))
        if file not in ENTRIES:
            ahead.extend(to for to in arrows(file) if (file, to) not in NEVER_IN_A_DAEMON)
    return seen


def matches(file: str, patterns: Collection[str]) -> bool:
    """Tell whether a file fits one of the patterns; `*.py` stays within its folder."""
    return any(
        fnmatch(file, pattern)
        and (not pattern.endswith("*.py") or file.count("/") == pattern.count("/"))
        for pattern in patterns
    )


# ---- the tests


def test_imports_point_from_daemon_to_jobs_to_state() -> None:
    wrong = [
        f"{file}:{one.line} imports {one.name}"
        for file in FILES
        for one in imports(file)
        if one.name.startswith("rekindle.")
        and one.name.split(".")[1] not in MAY_IMPORT[file.split("/")[0]]
    ]
    assert [] == wrong


def test_no_folder_is_crowded() -> None:
    count: dict[str, int] = {}
    for file in FILES:
        if not file.endswith(("__init__.py", "__main__.py")):
            folder = str(Path(file).parent)
            count[folder] = count.get(folder, 0) + 1
    crowded = {folder for folder, modules in count.items() if modules > MODULES_PER_FOLDER}
    assert crowded == CROWDED


def test_modules_import_each_other_in_no_circle() -> None:
    """Deferred imports count; those for the type checker alone do not."""
    assert [] == circles(graph())


def test_folders_import_each_other_in_no_circle() -> None:
    assert [] == circles(by_folder(graph()))


def test_every_folder_is_in_the_table_of_the_architecture() -> None:
    """With the process that runs it."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert [] == sorted(folder for folder in by_folder(graph()) if f"`{folder}`" not in rows)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_loads_only_its_libraries(name: str) -> None:
    process = PROCESSES[name]
    allowed = sys.stdlib_module_names | process.libraries | {"rekindle"}
    wrong = [
        f"{file}:{one.line} imports {one.name}"
        for file in sorted(loaded(process))
        for one in imports(file)
        if one.name.split(".")[0] not in allowed and not one.typing_only
    ]
    assert [] == wrong


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_loads_only_its_folders(name: str) -> None:
    process = PROCESSES[name]
    assert [] == sorted(file for file in loaded(process) if not matches(file, process.ours))


@pytest.mark.parametrize("name", ONLY_IN)
def test_a_module_is_imported_only_where_it_may_be(name: str) -> None:
    users = {
        f"{file}:{one.line}": file
        for file in FILES
        for one in imports(file)
        if f"{one.name}.".startswith(f"{name}.")
    }
    assert users, "nothing imports it: remove the row"
    assert [] == [place for place, file in users.items() if not matches(file, ONLY_IN[name])]


TEXTS = ("**/*.py", "*.toml", "docs/**/*.md", "*.md", "systemd/*", "Makefile")


@pytest.mark.parametrize("pattern", TEXTS)
def test_a_module_that_a_text_names_exists(pattern: str) -> None:
    """A renamed module is renamed in strings and documents, too."""
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in ROOT.glob(pattern)
        if not {".venv", ".importroot"} & set(path.parts) and path != Path(__file__)
        for name in re.findall(r"\brekindle(?:\.[a-z]\w*){2,}", path.read_text())
        if not exists(name)
    ]
    assert [] == wrong


def exists(name: str) -> bool:
    """Tell whether a dotted name is a module, or something in one."""
    module, _, inside = name.rpartition(".")
    if name.split(".")[1] not in PARTS or name in NAMES:
        return True
    if module not in NAMES:
        return False
    file = NAMES[module]
    return not file.endswith("__init__.py") or inside in (ROOT / file).read_text()


def test_what_a_job_loads_parses_as_the_oldest_python() -> None:
    wrong = []
    for file in sorted(loaded(PROCESSES["keeper"]) | loaded(PROCESSES["trainer"])):
        try:
            ast.parse((ROOT / file).read_text(), file, feature_version=OLD_PYTHON)
        except SyntaxError as error:
            wrong.append(f"{file}:{error.lineno}: {error.msg}")
    assert [] == wrong


def test_what_a_job_loads_imports_in_the_oldest_python() -> None:
    """Up to the import of a library that is not installed there."""
    python = pythons.find(*OLD_PYTHON)
    if python is None:
        pytest.skip("needs a Python {}.{}".format(*OLD_PYTHON))
    modules = loaded(PROCESSES["keeper"]) | loaded(PROCESSES["trainer"])
    assert_imports([python], modules, missing=TRAINS)


def test_the_keeper_imports_without_site_packages() -> None:
    assert_imports([sys.executable, "-I", "-S"], loaded(PROCESSES["keeper"]))


def test_the_daemon_and_its_verbs_load_no_numeric_library() -> None:
    """Seen in a process: an import by `exec` or by a library would escape the tables."""
    modules = loaded(PROCESSES["daemon"]) - {"daemon/__main__.py"}
    assert_imports([sys.executable], modules, absent=TRAINS | {"matplotlib"})


def assert_imports(
    python: list[str],
    modules: Collection[str],
    *,
    missing: Collection[str] = (),
    absent: Collection[str] = (),
) -> None:
    """Import modules as a job's interpreter does: nothing of ours is installed there."""
    code = (
        "import importlib, sys, traceback, types\n"
        "r = types.ModuleType('rekindle'); r.__path__ = [sys.argv[1]]\n"
        "sys.modules['rekindle'] = r\n"
        "for name in sys.argv[2:]:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        f"        if error.name.partition('.')[0] not in {set(missing)!r}: traceback.print_exc()\n"
        "    except Exception:\n        traceback.print_exc()\n"
        f"print(sorted(set(sys.modules) & {set(absent)!r}))\n"
    )
    names = sorted(name for name, file in NAMES.items() if file in modules)
    assert len(names) > 15
    ran = subprocess.run(
        [*python, "-c", code, str(ROOT), *names], capture_output=True, text=True, check=False
    )
    assert (0, "[]", "") == (ran.returncode, ran.stdout.strip(), ran.stderr)
