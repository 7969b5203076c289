"""The commands of the documents parse, and those of the README work in an empty folder."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ROOT, environment

from rekindle.daemon.client import cli

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHELL = {"sh", "bash", "shell", "console"}
COMMAND = re.compile(
    r"^\s*(?:[$#] )?(?:sudo(?: -u \w+)? )?(?:\w+=\S+ )*(?:\S*/)?rekindle\s+([a-z].*)"
)
REDIRECTION = re.compile(r"\s\d?>>?\s*(?:&\d|[\w./-]+)")
INLINE = re.compile(r"`rekindle ([a-z][^`]*)`")
NUMBERS = {"N": "1"}


def commands(text: str) -> Iterator[str]:
    """Yield the arguments of each `rekindle` in shell blocks and in quoted commands."""
    for language, block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines() if language in SHELL else ():
            for part in re.split(r"&&|\|\||[;|&](?:\s|$)", line.partition("  #")[0]):
                if match := COMMAND.match(REDIRECTION.sub("", part)):
                    yield match[1]
    for quoted in INLINE.findall(BLOCK.sub("", text)):
        yield re.sub(r"\s+", " ", quoted)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_in_a_document_parses(document: Path) -> None:
    """By the parser of the verb itself; a verb that is only named has no arguments."""
    wrong = []
    for command in commands(document.read_text()):
        words = [NUMBERS.get(word, word) for word in shlex.split(command)]
        words = words[: words.index("--")] if "--" in words else words  # the script's own
        if "..." in words or words == words[:1]:
            assert words[0] in cli.VERBS, (document.name, command)
            continue
        try:
            cli._parser(words).parse_args(words)
        except (SystemExit, Exception) as error:
            wrong.append(f"{command}: {error}")
    assert [] == wrong


def test_the_documents_have_commands() -> None:
    """The patterns find something."""
    assert len([*commands((ROOT / "README.md").read_text())]) > 20
    operations = [*commands((ROOT / "docs" / "operations.md").read_text())]
    assert "stop fashion-1" in [command.strip() for command in operations]


def test_the_refusal_in_the_documents_is_the_one_that_is_printed(tmp_path: Path) -> None:
    """Word for word, with the line of the misspelled key."""
    from rekindle.daemon.spec import parse
    from rekindle.state.errors import SpecError

    (block,) = [
        text
        for _, text in BLOCK.findall((ROOT / "docs" / "spec.md").read_text())
        if text.startswith("There is no key")
    ]
    (tmp_path / "train.py").write_text("")
    spec = (
        f'# fashion.toml\nname = "fashion"\nscript = "train.py"\nargs = []\n'
        f'workdir = "{tmp_path}"\n\n[checkpoint]\nkeep = 3\never = "epoch"\n'
    )
    with pytest.raises(SpecError) as refused:
        parse.parse(spec.encode(), "fashion.toml", tmp_path)
    assert block == f"{refused.value}\n"


SCRIPT = "import sys\nprint(sys.argv)\n"


@pytest.mark.slow(15)  # a dozen commands, one after the other
def test_the_first_commands_of_the_readme_work_as_printed(tmp_path: Path) -> None:
    """In an empty folder, by a new user, with the environment that `make setup` made.

    Up to the export, which needs a training: tests/jobs/test_export.py.
    """
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## Your own script") : text.index("## What it promises")]
    blocks = BLOCK.findall(section)
    assert [language for language, _ in blocks] == ["sh", "sh", "toml", "sh"]
    folder = tmp_path / "fashion"
    folder.mkdir()
    spec = blocks[2][1].replace("/home/ana/venv/bin/python", sys.executable)
    (folder / "fashion.toml").write_text(spec.replace("/home/ana/fashion", str(folder)))
    (folder / "train.py").write_text(SCRIPT)
    bin_folder = Path(sys.executable).parent
    if not (bin_folder / "rekindle").exists():
        pytest.skip("rekindle is not installed as a command")
    env = {**environment(), "HOME": str(tmp_path), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    env.pop("XDG_STATE_HOME", None)
    install, start = blocks[0][1].splitlines()
    assert install.startswith("pipx install .")
    assert start.startswith("rekindle run &")
    script = (
        "rekindle run >daemon.log 2>&1 & echo $! >daemon.pid\n"
        f"{blocks[1][1]}rekindle submit fashion.toml\n"
        f"{blocks[3][1].partition('rekindle export')[0]}"
    )
    try:
        done = subprocess.run(
            ["bash", "-c", _tolerate(script)],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "fashion-1" in done.stdout
        assert "quick-1" in done.stdout
    finally:
        pid = int((folder / "daemon.pid").read_text())
        os.kill(pid, 15)
        end = time.monotonic() + 60
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        shutil.rmtree(tmp_path / ".local", ignore_errors=True)


def _tolerate(script: str) -> str:
    """Stop at the first command that fails; `doctor` may find that this host has no systemd."""
    return "set -e\n" + re.sub(
        r"^(rekindle doctor)\b", r"\1 || [ $? -eq 1 ];", script, flags=re.MULTILINE
    )
