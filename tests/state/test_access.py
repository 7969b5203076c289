"""A user without permission in a home gets a message with a hint, never a traceback."""

import errno
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, environment

from rekindle.daemon import errors
from rekindle.daemon.client import cli
from rekindle.daemon.errors import SystemRefused
from rekindle.state import access
from rekindle.state.errors import HomeClosed
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

GROUP = 54321
OWNER = 54322

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root, to drop its privileges, and setpriv",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Build a home like that of the service: of another user, for a group, with a done job."""
    rig = Rig(tmp_path_factory.mktemp("served") / "home")
    try:
        rig.drop("command = ['true']\nworkdir = '/'\n", "a.toml")
        assert rig.start("--until-idle").wait(120) == 0
    finally:
        rig.close()
    for path in (rig.home.root, *rig.home.root.rglob("*")):
        mode = path.lstat().st_mode
        os.lchown(path, OWNER, GROUP)
        if not path.is_symlink():
            path.chmod(mode & 0o7777)  # chown clears setgid
    rig.home.root.chmod(0o750)
    yield rig.home


def call(home: Home, *words: str, groups: str = "--clear-groups") -> tuple[int, str, str]:
    """Run the command line without root's privileges; exit code, standard output and error."""
    done = subprocess.run(
        [
            "setpriv",
            "--bounding-set=-all",
            "--inh-caps=-all",
            groups,
            sys.executable,
            "-m",
            "rekindle.daemon",
            "--home",
            str(home.root),
            *words,
        ],
        capture_output=True,
        text=True,
        env=environment(),
        cwd="/",
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@needs_root
@pytest.mark.parametrize(
    "words",
    [
        "ls",
        "ls --json",
        "show a",
        "logs a",
        "wait a",
        "stop a",
        "cancel a",
        "retry a",
        "pause",
        "verify",
        "verify --json",
        "prune",
        "doctor --no-imports",
        "export-run a --to /nowhere/x.tar",
        "export a --to /nowhere/x.keras",
        "submit SCRIPT",
    ],
)
def test_a_user_outside_the_group_gets_the_usermod_command(
    home: Home, words: str, tmp_path: Path
) -> None:
    """Really without permission: often the first contact is `usermod` without a new login."""
    script = tmp_path / "a.py"
    script.write_text("print(1)\n")
    code, said, refused = call(home, *words.replace("SCRIPT", str(script)).split())
    if "--json" in words:
        said, refused = refused, json.dumps(json.loads(said)["error"])
    assert (code, said) == (4, ""), refused
    assert "Traceback" not in refused
    assert str(home.root) in refused
    assert f"usermod --append --groups {GROUP}" in refused
    assert "log out and log in again" in refused


@needs_root
def test_a_group_member_gets_the_sudo_command_for_owner_only_verbs(
    home: Home, tmp_path: Path
) -> None:
    """A member may read the ledger; only the owner may use a run's lock and secrets."""
    member = f"--groups={GROUP}"
    assert "a-1" in call(home, "ls", groups=member)[1]
    target = tmp_path / "a.tar"
    for words in (("export-run", "a", "--to", str(target)), ("verify",)):
        code, said, refused = call(home, *words, groups=member)
        assert (code, said) == (4, ""), refused
        assert "Traceback" not in refused
        assert f"sudo -u {OWNER} rekindle" in refused
        assert str(home.run("a-1").root) in refused
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_a_group_joined_after_the_login_needs_a_new_login() -> None:
    """The host's accounts list the user in the group, but this session lacks it."""
    account = pwd.getpwnam("daemon")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        root = folder / "home"
        root.mkdir()
        os.chown(root, OWNER, account.pw_gid)
        root.chmod(0o750)
        said = hint_as(account.pw_uid, GROUP, root)
    finally:
        shutil.rmtree(folder)
    assert said == (
        "daemon is in the group daemon now, but logged in before that: log out and log in again."
    )


def hint_as(uid: int, gid: int, root: Path) -> str:
    """Return the hint for a process of that user with only that group."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            os.write(writer, access.hint(root).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as file:
        return file.read()


def test_other_system_errors_name_the_path_and_the_code_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder where the ledger's queue file should be: path, cause and line, exit code 1."""
    home = Home(tmp_path / "home")
    home.create()
    Ledger.open(home.ledger).close()
    home.runs.rmdir()
    home.runs.write_text("no folder")
    assert cli.main(["--home", str(home.root), "prune"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rekindle: The system refused: Not a directory.")
    assert f"where: {home.runs}" in said
    assert "raised in rekindle.daemon." in said


def test_a_missing_permission_outside_of_the_home_is_another_error(tmp_path: Path) -> None:
    """Elsewhere it is not about the home, and systemd should restart the service."""
    home = tmp_path / "home"
    inside = PermissionError(errno.EACCES, "Permission denied", str(home / "runs" / "x"))
    outside = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x"))
    full = OSError(errno.ENOSPC, "No space left on device", str(home / "x"))
    assert isinstance(errors.explain(inside, home), HomeClosed)
    for error in (outside, full, OSError("no number"), OSError(errno.EIO, "x", 3)):
        explained = errors.explain(error, home)
        assert isinstance(explained, SystemRefused)
        assert explained.exit_code == 1
        assert explained.what.endswith(".")
    assert "Free space" in errors.explain(full, home).hint
    moved = OSError(errno.EACCES, "x", str(tmp_path / "a"), None, str(home / "b"))
    assert isinstance(errors.explain(moved, home), HomeClosed)
