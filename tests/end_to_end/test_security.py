"""Secrets stay in the job's own files, and the inbox's group can write nothing but the inbox."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from rig import Rig

from rekindle.daemon.client import lookup
from rekindle.daemon.verbs import export
from rekindle.state.errors import NotFound, UsageError
from rekindle.state.ledger.ledger import Ledger

SECRET = "s3cr3t-0f-a-night"


def test_a_secret_in_env_exists_only_in_the_job_itself(rig: Rig, tmp_path: Path) -> None:
    """After a real run that fails, no other file of the home and no output holds the secret."""
    rig.drop(
        f"command = [{json.dumps(sys.executable)}, '-c', "
        "'import os, sys; sys.exit(len(os.environ[\"TOKEN\"]) - 14)']\n"
        f"workdir = '{tmp_path}'\nenv = {{ TOKEN = '{SECRET}' }}\n"
        "[retry]\nmax_failures = 1\nbackoff = '1s..2s'\n",
        "a.toml",
    )
    rig.drop(
        f"command = ['x']\nworkdir = '/'\nsede = 1\nenv = {{ TOKEN = '{SECRET}', B = 1 }}\n",
        "bad.toml",
    )
    assert rig.start("--until-idle").wait(120) == 0
    shown = rig.show("a-1")
    # the job got its secret: its exit code depends on the length
    assert {attempt["exit_code"] for attempt in shown["attempts"]} == {len(SECRET) - 14}
    said = [
        json.dumps(shown),
        rig.cli("show", "a-1"),
        rig.cli("ls"),
        rig.cli("logs", "a-1"),
        (rig.home.rejected / "bad.toml.error.txt").read_text(),
    ]
    assert not [text for text in said if SECRET in text]
    run = rig.home.run("a-1")
    allowed = {run.job_file, run.spec_copy(".toml"), rig.home.rejected / "bad.toml"}
    holding = {
        path
        for path in rig.home.root.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    }
    assert holding == allowed
    for path in (run.job_file, run.spec_copy(".toml")):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_member_of_the_group_reaches_the_inbox_and_nothing_else(rig: Rig) -> None:
    """Really as another user: a spec can be dropped; ledger, runs and claims are inaccessible."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        other = Rig(Path(folder) / "home")
        group = 54321
        os.chown(other.home.inbox, 0, group)
        os.chmod(other.home.inbox, 0o2770)
        other.drop("command = ['true']\nworkdir = '/'\nenv = { TOKEN = 'x' }\n", "a.toml")
        assert other.start("--until-idle").wait(90) == 0
        home = other.home
        run = home.run("a-1")
        attempts = {
            "drop": f"echo hello > {home.inbox}/mine.txt",
            "ledger": f"echo x >> {home.ledger}",
            "ledger removed": f"rm -f {home.ledger} && ! test -e {home.ledger}",
            "job": f"cat {run.job_file}",
            "journal": f"echo x >> {run.journal}",
            "run": f"touch {run.root}/x",
            "runs": f"mkdir {home.runs}/stranger-1",
            "claims": f"ls {home.claimed}",
            "lock": f"echo x >> {home.daemon_lock}",
        }
        worked = [
            name
            for name, command in attempts.items()
            if subprocess.run(
                ["sh", "-c", command], user=54321, group=group, extra_groups=[], capture_output=True
            ).returncode
            == 0
        ]
        assert worked == ["drop"]
        stranger = subprocess.run(
            ["ls", str(home.inbox)], user=54322, group=54322, extra_groups=[], capture_output=True
        )
        assert stranger.returncode != 0
        other.close()


@pytest.mark.parametrize("name", ["../../evil", "/etc", "..", ".", "", "a-1/../../evil", "a\0b"])
def test_no_job_is_found_by_a_path_out_of_the_home(rig: Rig, name: str) -> None:
    """A folder of that name exists: only the ledger defines what is a job."""
    (rig.home.root.parent / "evil").mkdir()
    book = Ledger.open(rig.home.ledger)
    try:
        with pytest.raises(NotFound):
            lookup.job(book, name)
    finally:
        book.close()


def test_a_script_cannot_choose_the_path_of_an_export() -> None:
    """Only numbers fill a pattern, and only rekindle's own epoch: a script may journal any text."""
    assert export._target("/x/{epoch}-{loss:.1f}.keras", 3, {"loss": 0.25, "epoch": "../y"}) == (
        "keras",
        Path("/x/3-0.2.keras"),
    )
    with pytest.raises(UsageError, match="pattern of the file name is invalid"):
        export._target("/x/{loss}.keras", 3, {"loss": "../../etc/evil"})
    with pytest.raises(UsageError, match="pattern of the file name is invalid"):
        export._target("/x/{loss.a}.keras", 3, {"loss": 1.0})
