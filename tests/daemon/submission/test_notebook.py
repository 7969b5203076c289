"""A notebook is submitted as its cells, without what only a notebook can do."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rig import Rig

from rekindle.daemon import extras
from rekindle.daemon.client import cli
from rekindle.daemon.submission import notebook
from rekindle.state.errors import NotFound, SpecError

nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")


def book(folder: Path, *cells: str, language: str = "python", name: str = "nb.ipynb") -> Path:
    made: Any = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_markdown_cell("# A title\n%notmagic")]
    made.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    made.metadata["kernelspec"] = {"language": language, "name": "x", "display_name": "x"}
    path = folder / name
    nbformat.write(made, path)
    return path


def output(script: Path) -> str:
    return subprocess.run(
        [sys.executable, script.name], cwd=script.parent, capture_output=True, text=True, check=True
    ).stdout


def test_cells_run_in_order_and_magics_are_named(tmp_path: Path) -> None:
    path = book(
        tmp_path,
        "%matplotlib inline\nx = 1\n!pip install keras\nif x:\n    %load_ext autoreload",
        "%%time\ny = '''\n!ls\n%time\n'''\n%time x += 1\n",
        "display(x)\nprint(repr(y), x % 2)",
    )
    script, notes = notebook.to_script(path)
    assert script == tmp_path / "nb.ipynb.py"
    assert output(script) == "2\n'\\n!ls\\n%time\\n' 0\n"
    assert notes[1] == (
        "Left out: cell 2: %matplotlib inline; cell 2: !pip install keras; "
        "cell 2: %load_ext autoreload; cell 3: %%time."
    )


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("!wget http://host/data.zip", "Cell 2 has `!wget http://host/data.zip`"),
        ("%%bash\nls", "Cell 2 has `%%bash`"),
        ("%run other.py", "Cell 2 has `%run other.py`"),
        ("files = !ls", "Cell 2 is no Python"),
        ("await x", "Cell 2 is no Python"),
        ("print('a'", "Cell 2 is no Python"),
    ],
)
def test_a_cell_that_cannot_run_in_a_script_is_refused(
    tmp_path: Path, cell: str, what: str
) -> None:
    """Not left out: the night would end at the next cell."""
    with pytest.raises(SpecError) as refused:
        notebook.to_script(book(tmp_path, cell))
    assert what in refused.value.what
    assert not (tmp_path / "nb.ipynb.py").exists()


def test_another_language_another_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="written in R"):
        notebook.to_script(book(tmp_path, "x <- 1", language="R"))
    (tmp_path / "no.ipynb").write_text("{}")
    with pytest.raises(SpecError, match="not a notebook"):
        notebook.to_script(tmp_path / "no.ipynb")
    with pytest.raises(NotFound):
        notebook.to_script(tmp_path / "none.ipynb")


def test_only_a_script_of_its_own_is_replaced(tmp_path: Path) -> None:
    path = book(tmp_path, "x = 1")
    own, _ = notebook.to_script(path)
    notebook.to_script(path)
    own.write_text("print('mine')\n")
    with pytest.raises(SpecError, match="not made from one"):
        notebook.to_script(path)
    assert own.read_text() == "print('mine')\n"


def test_a_missing_package_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nbconvert.exporters", None)
    with pytest.raises(extras.ExtraMissing) as missing:
        notebook.to_script(book(tmp_path, "x = 1"))
    assert "the extra `notebook`" in missing.value.what
    assert f"`{sys.executable} -m pip install nbconvert`" in missing.value.hint


def test_a_submitted_notebook_runs(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the keys of its cells, under its own name."""
    monkeypatch.chdir(tmp_path)
    book(
        tmp_path,
        "# rekindle: gpus = 0\nimport sys\n%matplotlib inline\nprint('args', sys.argv[1:])",
        name="My Nights.ipynb",
    )
    words = ["--home", str(rig.home.root), "submit", "--queue", "My Nights.ipynb", "--", "--x", "1"]
    assert cli.main(words) == 0
    assert "Left out: cell 2: %matplotlib inline." in capsys.readouterr().err
    assert rig.start("--until-idle").wait(60) == 0
    assert rig.wait_state("my-nights-1", "done")
    assert "args ['--x', '1']" in rig.cli("logs", "@")
    assert rig.show("@")["spec"]["resources"]["gpus"] == 0
