"""Make a script of a notebook: its cells in order, without what only a notebook can do."""

import io
import os
import re
import tokenize
import warnings
from pathlib import Path
from typing import Any, Final

from rekindle.daemon import extras
from rekindle.state.errors import NotFound, SpecError

_HEAD: Final = "# Made by `rekindle submit` from "
_DISPLAY: Final = """\
try:
    from IPython.display import display
except ImportError:
    display = print
"""
_SHOWS: Final = re.compile(
    r"[%!]\s*(matplotlib|load_ext|reload_ext|autoreload|config|tensorflow_version|tensorboard|pip3?"
    r"|conda|mamba|uv|nvidia-smi|ls|pwd|whos?|capture|time|timeit|prun|pylab|precision)\b.*"
)
"""Magics and commands that only show or install something: they are left out, and named."""
_TIMED: Final = re.compile(r"(\s*)%time\s+(\S.*)")
_TIMED_CELLS: Final = re.compile(r"%%(time|capture|timeit)\b.*")
_MAGIC: Final = re.compile(r"\s*[%!]")


def to_script(notebook: Path) -> tuple[Path, list[str]]:
    """Write the script beside the notebook; return it, with sentences on what was left out.

    Raises:
        ExtraMissing: nbconvert is not installed.
        NotFound: the notebook cannot be read.
        SpecError: a cell cannot run in a script.
    """
    try:
        from nbconvert.exporters import PythonExporter
    except ImportError:
        raise extras.missing("Submitting a notebook", "nbconvert", "notebook") from None
    left_out: list[str] = []

    def prepare(book: Any, resources: Any) -> Any:
        language = book.metadata.get("kernelspec", {}).get("language", "python")
        if language != "python":
            raise SpecError(
                f"The notebook is written in {language}.",
                where=notebook,
                hint="Only Python is followed; run it as a `command` in a spec.",
            )
        for number, cell in enumerate(book.cells, 1):
            if cell.cell_type == "code":
                cell.source = _plain(cell.source, notebook, number, left_out)
        return book, resources

    exporter = PythonExporter()
    exporter.register_preprocessor(prepare, enabled=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat warns of old notebooks that it reads well
            code, _ = exporter.from_filename(str(notebook))
    except OSError as error:
        raise NotFound(
            f"The notebook cannot be read: {error.strerror}.",
            where=notebook,
            hint="Name a notebook (*.ipynb), a script (*.py) or a spec (*.toml, *.yaml).",
        ) from error
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"This is not a notebook: {type(error).__name__}: {str(error)[:200]}.",
            where=notebook,
            hint="Open it in Jupyter and save it again.",
        ) from error
    script = notebook.with_name(f"{notebook.name}.py")
    _write(script, notebook, code)
    notes = [f"The cells of {notebook} are in {script}."]
    if left_out:
        notes.append(f"Left out: {'; '.join(left_out)}.")
    return script, notes


def _plain(source: str, notebook: Path, number: int, left_out: list[str]) -> str:
    """Return a cell as plain Python.

    Raises:
        SpecError: it needs a notebook, or is no Python.
    """
    if _problem(source) is None:
        return source
    lines: list[str] = []
    for line in source.splitlines():
        timed = _TIMED.fullmatch(line)
        if _is_within_text(lines):
            lines.append(line)
        elif timed is not None:
            lines.append(f"{timed[1]}{timed[2]}")
        elif not _MAGIC.match(line):
            lines.append(line)
        elif _SHOWS.fullmatch(line.strip()) or _TIMED_CELLS.fullmatch(line.strip()):
            left_out.append(f"cell {number}: {line.strip()}")
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}pass  # {line.strip()}")
        else:
            raise SpecError(
                f"Cell {number} has `{line.strip()[:80]}`, which only a notebook can do.",
                where=notebook,
                hint="Write it in Python (e.g. with `subprocess.run`), or remove it.",
            )
    plain = "\n".join(lines)
    problem = _problem(plain)
    if problem is not None:
        raise SpecError(
            f"Cell {number} is no Python: {problem.msg}, in line {problem.lineno} of the cell.",
            where=notebook,
            hint="Correct the cell. `await` outside of a function works in notebooks only.",
        )
    return plain


def _is_within_text(lines: list[str]) -> bool:
    """Return whether a text in three quotes is open at the end of the lines."""
    try:
        for _ in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
            pass
    except tokenize.TokenError as error:
        return "string" in str(error)
    except SyntaxError:
        pass
    return False


def _problem(source: str) -> SyntaxError | None:
    try:
        compile(source, "<cell>", "exec")
    except SyntaxError as error:
        return error
    except ValueError as error:  # a NUL character
        return SyntaxError(str(error))
    return None


def _write(script: Path, notebook: Path, code: str) -> None:
    """Write the script, whole or not at all; replace only one that was made from a notebook.

    Raises:
        SpecError: another file has its name, or it cannot be written.
    """
    shim = _DISPLAY if re.search(r"\bdisplay\(", code) and "__future__" not in code else ""
    text = f"{_HEAD}{notebook.name}: changes are overwritten.\n{shim}{code}"
    temporary = script.with_name(f".{script.name}.{os.getpid()}.tmp")
    try:
        if script.exists() and not script.read_text(errors="replace").startswith(_HEAD):
            raise SpecError(
                "The script of the notebook would replace a file that was not made from one.",
                where=script,
                hint=f"Rename {script.name}.",
            )
        temporary.write_text(text)
        os.replace(temporary, script)
    except OSError as error:
        raise SpecError(
            f"The script of the notebook cannot be written: {error.strerror}.",
            where=script,
            hint="Copy the notebook into a folder of your own.",
        ) from error
