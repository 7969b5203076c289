"""Hints can be copied and followed: they name the job, parse, and do what they say."""

import ast
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import entered
import pytest
from rig import ROOT

from rekindle.daemon.client import cli
from rekindle.jobs.job import Job
from rekindle.state.hints import name_home, name_job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

COMMAND = re.compile(r"`(?:sudo )?rekindle ([a-z][^`]*)`")
PLACEHOLDERS = {"JOB": "fashion-1", "OTHER": "fashion-2", "N": "1", "USER": "ana"}
MENTIONED = {"export-run", "submit"}
"""Verbs that messages name without their arguments: the reader does not copy these."""
BLOCKING = {"run", "install", "uninstall"}
"""Verbs that the tests do not follow: they run until a signal, or change the host."""


def messages(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string that is not a docstring; `fashion-1` for values."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    passed = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in ast.walk(node) if part is not node}
    for node in nodes:
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "fashion-1" for p in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def commands() -> Iterator[tuple[str, str]]:
    """Yield place and command of each command in a message of the source."""
    for part in ("daemon", "jobs", "state"):
        for file in sorted((ROOT / part).rglob("*.py")):
            for line, text in messages(file):
                for command in COMMAND.findall(name_job(text, "fashion-1")):
                    yield f"{file.relative_to(ROOT)}:{line}", command


@pytest.mark.parametrize(
    ("place", "command"), [pytest.param(*one, id=" ".join(one)) for one in commands()]
)
def test_each_command_in_a_message_parses(place: str, command: str) -> None:
    """By the parser of the verb itself: a renamed option would make a hint useless."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
    words = words[: words.index("--")] if "--" in words else words  # of a script, or a command
    assert words[0] in cli.VERBS, place
    if words in [[verb] for verb in MENTIONED]:
        return
    assert cli._parser(words).parse_args(words).verb == words[0]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a held job, `held-1`, and with more ended jobs than `ls` shows."""
    made = Home(tmp_path / "home")
    made.create()
    ledger = Ledger.open(made.ledger)
    for name in ("held", *(f"ended{n:02d}" for n in range(30))):
        job = Job(name=name, id=f"{name}-1", workdir="/", claim=name, command=["true"])
        entered.enter(made, ledger, job)
        state = JobState.HELD if name == "held" else JobState.CANCELLED
        hint = "`rekindle show`" if name == "held" else ""
        ledger.set_state(job.id, state, "A reason.", hint=hint, now=time.time())
    ledger.close()
    return made


class Verbs:
    """Run verbs in this process, as a person would in a shell."""

    def __init__(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = home
        self._capsys = capsys

    def run(self, *words: str, code: int = 0) -> str:
        assert cli.main(["--home", os.fspath(self._home.root), *words]) == code, words
        said = self._capsys.readouterr()
        return said.out + said.err

    def follow(self, said: str, *expected: str) -> str:
        """Run the commands in an output, which must be `expected`; JOB is `held-1`."""
        # a hint of a verb that was given a home names it, or the command would look elsewhere
        found = dict.fromkeys(COMMAND.findall(said.replace(f"--home {self._home.root} ", "")))
        assert list(expected) == [one for one in found if one.split()[0] not in BLOCKING], said
        return "".join(self.run(*shlex.split(one.replace("JOB", "held-1"))) for one in expected)


@pytest.fixture
def verbs(home: Home, capsys: pytest.CaptureFixture[str]) -> Verbs:
    return Verbs(home, capsys)


def test_the_hint_for_an_unknown_job_lists_the_jobs(verbs: Verbs) -> None:
    said = verbs.run("show", "helt", code=3)
    assert "held-1" in verbs.follow(said, "ls")


def test_a_hint_names_the_home_that_the_verb_was_given(verbs: Verbs, home: Home) -> None:
    """Quoted for a shell, where it must be; and not where the environment names it."""
    said = verbs.run("show", "helt", code=3)
    assert f"`rekindle --home {home.root} ls`" in said
    assert name_home("`rekindle ls` or `sudo rekindle install`.", "/a b") == (
        "`rekindle --home '/a b' ls` or `sudo rekindle --home '/a b' install`."
    )
    assert name_home("`rekindle ls`", None) == "`rekindle ls`"
    words = shlex.split(name_home("`rekindle show a-1`", home.root).strip("`"))[1:]
    assert cli._parser(words).parse_args(words).home == str(home.root)


def test_the_hint_of_ls_shows_the_other_jobs(verbs: Verbs) -> None:
    said = verbs.run("ls")
    assert "ended00-1" not in said
    assert "ended00-1" in verbs.follow(said, "show held-1", "ls --state cancelled --all")


def test_the_hint_of_logs_shows_the_attempts(verbs: Verbs) -> None:
    said = verbs.run("logs", "held", "--attempt", "2", code=3)
    assert "No attempt has started yet" in verbs.follow(said, "show held-1")


def test_the_hint_of_a_held_job_shows_it(verbs: Verbs) -> None:
    said = verbs.run("wait", "held-1", code=1)
    assert "A reason." in verbs.follow(said, "show held-1")


def test_the_hints_of_doctor_find_and_release_a_held_job(verbs: Verbs, home: Home) -> None:
    said = verbs.run("doctor", "--no-imports", code=1)
    assert "held-1" in verbs.follow(said, "ls --state held", "release JOB")
    assert ["release" in path.read_text() for path in home.inbox.glob("*.json")] == [True]


@pytest.mark.parametrize("found_by", ["verify", "doctor"])
def test_the_hint_for_a_damaged_ledger_repairs_it(verbs: Verbs, home: Home, found_by: str) -> None:
    home.ledger.write_bytes(b"no ledger" * 1000)
    said = verbs.run(found_by, code=1)
    verbs.follow(said, "verify --rebuild")
    verbs.run("verify")


def test_the_hint_for_a_missing_ledger_restores_it(verbs: Verbs, home: Home) -> None:
    home.ledger.unlink()
    for suffix in ("-wal", "-shm"):
        home.ledger.with_name(home.ledger.name + suffix).unlink(missing_ok=True)
    verbs.follow(verbs.run("doctor", code=1), "verify --rebuild")
    assert "held-1" in verbs.run("ls", "--all")


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        ("`rekindle release` resumes it.", "`rekindle release fashion-1` resumes it."),
        (
            "`rekindle release JOB --max-runtime 12h` resumes it with a new limit.",
            "`rekindle release fashion-1 --max-runtime 12h` resumes it with a new limit.",
        ),
        (
            "Read it with `rekindle logs`, then `rekindle retry --from-scratch`.",
            (
                "Read it with `rekindle logs fashion-1`, then `rekindle retry fashion-1 "
                "--from-scratch`."
            ),
        ),
        ("`rekindle release other-2` first.", "`rekindle release other-2` first."),
        ("`rekindle export fashion-1 --to x.keras`", "`rekindle export fashion-1 --to x.keras`"),
        (
            "`rekindle resume` lets the queue run; `rekindle doctor` checks.",
            "`rekindle resume` lets the queue run; `rekindle doctor` checks.",
        ),
        (
            "Test exact resume with `rekindle verify-resume SPEC`.",
            "Test exact resume with `rekindle verify-resume SPEC`.",
        ),
        (
            "Remove the folder, then `rekindle release`: the daemon copies them again.",
            "Remove the folder, then `rekindle release fashion-1`: the daemon copies them again.",
        ),
        ("", ""),
    ],
)
def test_a_command_that_leaves_the_job_open_gets_it(hint: str, named: str) -> None:
    assert named == name_job(hint, "fashion-1")
