"""The manual page says what the verbs' parsers say, and `man` can format it."""

import shutil
import subprocess
import sys

import pytest

from rekindle.daemon.client import cli
from rekindle.daemon.help import manual


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words usage differently")
def test_the_page_is_that_of_the_parsers() -> None:
    """A verb or option that was added since is missing: `make reference` writes the page."""
    pytest.importorskip("argparse_manpage", reason="`make setup` installs it")
    import manual_page

    assert manual.read() == manual_page.text(), "make reference"


def test_the_page_has_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "--man"]) == 0
    page = capsys.readouterr().out.replace("\\-", "-")
    assert [] == [verb for verb in cli.VERBS if f"rekindle {verb}" not in page]


def test_man_formats_it_without_a_warning() -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(manual.PAGE)],
        env={"MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "rekindle submit" in done.stdout
