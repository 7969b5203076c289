"""The service under a real systemd: installed from a wheel, stopped, killed, upgraded, rebooted."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sdbox

from rekindle.state.run import journal, tensors

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.slow,
    pytest.mark.skipif(sdbox.unavailable() is not None, reason=str(sdbox.unavailable())),
]

ROOT = Path(__file__).resolve().parents[2]
HOME = "/var/lib/rekindle"
PYTHON = "/opt/rekindle/bin/python"
REKINDLE = "/opt/rekindle/bin/rekindle"

NAP = """
import time
print("up", flush=True)
time.sleep(600)
"""

KERAS = """
import time
import keras, numpy as np
dice = np.random.default_rng(0)
x, y = dice.normal(size=(640, 8)).astype("float32"), dice.integers(0, 3, 640)
model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(8, activation="relu"),
                          keras.layers.Dropout(0.3), keras.layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.02))
model.fit(x, y, batch_size=8, epochs=4, verbose=2, callbacks=[slow])
"""

HUNGRY = """
import time
kept = []
for n in range(200):
    kept.append(bytearray(b"x" * 10_000_000))
    time.sleep(0.05)
"""


def wheel(folder: Path, version: str) -> Path:
    """A wheel of the tree, of this version."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(
            ".*", "tests", "benchmarks", "docs", "build", "dist", "*.egg-info", "__pycache__"
        ),
    )
    text = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(
        re.sub(r'^version = ".*"$', f'version = "{version}"', text, flags=re.MULTILINE)
    )
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob(f"rekindle-{version}-*.whl"))


class Service(sdbox.Box):
    """A box with rekindle installed in it, and how its users talk to it."""

    def install(self, file: Path) -> None:
        """By pip from a wheel, into a virtual environment in /opt."""
        shutil.copy(file, self.path(f"/opt/{file.name}"))
        self.run(
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--force-reinstall",
            "--disable-pip-version-check",
            f"/opt/{file.name}",
        )

    def submit(self, name: str, script: str, more: str = "") -> str:
        """Drops a spec as an ordinary person of the group; the job's id."""
        self.put(f"/srv/{name}/train.py", script)
        self.path(f"/srv/{name}").chmod(0o777)
        self.put(
            f"/srv/{name}/{name}.toml",
            f'script = "/srv/{name}/train.py"\nworkdir = "/srv/{name}"\n'
            f'{more}\n[retry]\nbackoff = "1s..2s"\n',
        )
        self.run(
            "runuser",
            "-u",
            "ana",
            "--",
            "cp",
            f"/srv/{name}/{name}.toml",
            f"{HOME}/inbox/{name}.toml",
        )
        return f"{name}-1"

    def rekindle(self, *args: str, check: bool = True) -> str:
        return self.run(
            "runuser", "-u", "ana", "--", REKINDLE, "--home", HOME, *args, check=check
        ).stdout

    def job(self, job: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.rekindle("show", job, "--json"))
        return shown

    def entries(self, job: str, kind: str) -> list[dict[str, Any]]:
        """Read from outside: what is on the disk, whether the box is up or not."""
        path = self.path(f"{HOME}/runs/{job}/journal.jsonl")
        return [e for e in journal.replay(path).entries if e["kind"] == kind]

    def until_state(self, job: str, state: str, seconds: float = 300) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            out = self.rekindle("show", job, "--json", check=False)
            shown: dict[str, Any] = json.loads(out) if out else {}
            return shown if shown.get("state") == state else None

        found: dict[str, Any] = self.wait(reached, f"{job} is {state}", seconds)
        return found

    def trainer(self, job: str) -> int:
        return int(self.entries(job, "attempt_started")[-1]["trainer_pid"])

    def lives(self, pid: int) -> bool:
        return self.run("test", "-e", f"/proc/{pid}", check=False).returncode == 0

    def main_pid(self) -> str:
        return self.show("rekindle", "MainPID")

    def until_active(self, other_than: str = "0") -> str:
        """The daemon's pid, once one is ready."""

        def ready() -> str | None:
            pid = self.main_pid()
            active = self.show("rekindle", "ActiveState") == "active"
            return pid if active and pid not in ("0", other_than) else None

        found: str = self.wait(ready, "the daemon is ready")
        return found


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """rekindle installed by its own command, two slots, and ana, who is in its group."""
    folder = tmp_path_factory.mktemp("wheels")
    made = Service({"/opt/packages": Path(sysconfig.get_path("purelib"))})
    try:
        # the interpreter may lie in root's folder, where the service's user cannot look
        made.path("/root").chmod(0o711)
        base = os.path.realpath(sys.executable)
        made.run(base, "-m", "venv", "/opt/rekindle")
        site = f"/opt/rekindle/lib/python3.{sys.version_info.minor}/site-packages"
        made.put(f"{site}/packages.pth", "/opt/packages\n")
        made.install(wheel(folder, "0.1.0"))
        made.run("useradd", "--create-home", "ana")
        made.put(f"{HOME}/rekindle.toml", "slots = 4\n")
        made.put(
            "/etc/systemd/system/rekindle.service.d/test.conf",
            "[Service]\nRestartSec=100ms\nWatchdogSec=3\nTimeoutAbortSec=2\n",
        )
        made.run(REKINDLE, "install")
        made.run("usermod", "--append", "--groups", "rekindle", "ana")
        made.folder = folder  # type: ignore[attr-defined]
        yield made
    finally:
        made.close()


def napping(box: Service, name: str) -> int:
    """A job that trains for ever, as far as systemd can see; its trainer."""
    job = box.submit(name, NAP)
    box.until_state(job, "running")
    return box.trainer(job)


def test_install_starts_the_service_and_is_idempotent(box: Service) -> None:
    """User, group, folders, unit, enabled, started; and the second time nothing is written."""
    box.until_active()
    assert box.show("rekindle", "User") == "rekindle"
    assert box.run("systemctl", "is-enabled", "rekindle").stdout.strip() == "enabled"
    assert box.run("stat", "-c", "%a %U %G", f"{HOME}/inbox").stdout.split() == [
        "2770",
        "rekindle",
        "rekindle",
    ]
    before = box.main_pid()
    again = box.run(REKINDLE, "install").stdout
    assert again.count("is up to date") == 4, again
    assert "write" not in again
    assert box.main_pid() == before
    assert box.run(REKINDLE, "--home", "/srv/x", "install", check=False).returncode == 2
    dry = box.run(REKINDLE, "install", "--dry-run").stdout
    assert "run systemctl enable rekindle.service" in dry


def test_a_group_member_drops_a_spec_and_reads_the_result(box: Service) -> None:
    """With ordinary `cp`, and no right to change the ledger or a run."""
    job = box.submit(
        "plain",
        "import tempfile\nassert tempfile.gettempdir() == '/tmp'\n"
        "open('made', 'w').close()\nprint('hello from the job')",
    )
    assert box.until_state(job, "done")["attempts"][0]["exit_code"] == 0
    assert "hello from the job" in box.rekindle("logs", job)
    for path in (f"{HOME}/ledger.db", f"{HOME}/runs/{job}/journal.jsonl", f"{HOME}/runs/x"):
        refused = box.run(
            "runuser", "-u", "ana", "--", "sh", "-c", f"echo x >> {path}", check=False
        )
        assert refused.returncode != 0, path


def test_a_restart_of_the_service_interrupts_no_training(box: Service) -> None:
    """An upgrade is a restart: the next daemon adopts what runs."""
    trainer = napping(box, "restart")
    before = box.main_pid()
    box.run("systemctl", "restart", "rekindle")
    box.until_active(before)
    assert box.lives(trainer)
    assert box.job("restart-1")["state"] == "running"
    assert len(box.entries("restart-1", "attempt_started")) == 1
    box.rekindle("cancel", "restart-1")
    box.until_state("restart-1", "cancelled")
    assert not box.lives(trainer)


def test_a_killed_daemon_is_restarted_and_interrupts_no_training(box: Service) -> None:
    """SIGKILL, as the kernel does it."""
    trainer = napping(box, "killed")
    before = box.until_active()
    box.run("kill", "-KILL", before)
    box.until_active(before)
    assert box.lives(trainer)
    assert box.job("killed-1")["state"] == "running"
    box.rekindle("cancel", "killed-1")
    box.until_state("killed-1", "cancelled")


def test_a_hung_daemon_is_restarted_by_the_watchdog(box: Service) -> None:
    """SIGSTOP takes the loop away, and with it the pings; training goes on."""
    trainer = napping(box, "frozen")
    before = box.until_active()
    box.run("kill", "-STOP", before)
    box.until_active(before)
    assert "watchdog" in box.journal("-u", "rekindle", "-n", "100").lower()
    assert box.lives(trainer)
    box.rekindle("cancel", "frozen-1")
    box.until_state("frozen-1", "cancelled")


def test_an_invalid_configuration_is_logged_once_without_a_restart_loop(box: Service) -> None:
    """The unit fails once and says why; mended, it starts."""
    path = box.path(f"{HOME}/rekindle.toml")
    good = path.read_text()
    path.write_text('slots = "many"\n')
    try:
        box.run("systemctl", "restart", "rekindle", check=False)
        box.wait(lambda: box.show("rekindle", "ActiveState") == "failed", "the unit has failed")
        assert box.show("rekindle", "ExecMainStatus") in ("2", "4")
        assert box.show("rekindle", "NRestarts") == "0"
        said = box.journal("REKINDLE_EVENT=daemon_refused", "-o", "json").splitlines()
        assert len(said) == 1, said
        assert "slots" in json.loads(said[0])["MESSAGE"]
    finally:
        path.write_text(good)
    box.run("systemctl", "reset-failed", "rekindle")
    box.run("systemctl", "start", "rekindle")
    box.until_active()


def test_doctor_checks_the_unit_that_systemd_has_loaded(box: Service) -> None:
    """As installed it is set up for the night; a drop-in that is not is found, with the setting."""
    box.until_active()

    def said() -> list[dict[str, str]]:
        out = box.run(
            "runuser",
            "-u",
            "rekindle",
            "--",
            REKINDLE,
            "--home",
            HOME,
            "doctor",
            "--no-imports",
            "--json",
            check=False,
        ).stdout
        return [f for f in json.loads(out)["findings"] if f["check"] == "systemd"]

    assert [f["severity"] for f in said()] == ["ok"]
    drop_in = "/etc/systemd/system/rekindle.service.d/bad.conf"
    box.put(drop_in, "[Service]\nKillMode=control-group\nRestart=no\n")
    box.run("systemctl", "daemon-reload")
    try:
        assert [(f["severity"], f["what"].partition(":")[0]) for f in said()] == [
            ("error", "KillMode=control-group"),
            ("error", "Restart=no"),
        ]
    finally:
        box.path(drop_in).unlink()
        box.run("systemctl", "daemon-reload")


def test_the_journal_is_filtered_by_job_and_event(box: Service) -> None:
    """journalctl REKINDLE_JOB=... finds what concerns one job and nothing else."""
    job = box.submit("fields", "print(1)")
    box.until_state(job, "done")
    lines = [
        json.loads(line) for line in box.journal(f"REKINDLE_JOB={job}", "-o", "json").splitlines()
    ]
    assert {line["REKINDLE_JOB"] for line in lines} == {job}
    assert {"job_accepted", "attempt_started", "attempt_ended"} <= {
        line["REKINDLE_EVENT"] for line in lines
    }
    started = box.journal(f"REKINDLE_JOB={job}", "REKINDLE_EVENT=attempt_started", "-o", "json")
    assert json.loads(started)["REKINDLE_ATTEMPT"] == "1"


def test_an_upgrade_over_a_running_service_interrupts_no_training(box: Service) -> None:
    """A new wheel, a restart, and the daemon is of the new version."""
    trainer = napping(box, "upgrade")
    before = box.until_active()
    box.install(wheel(box.folder, "0.1.1"))  # type: ignore[attr-defined]
    box.run("systemctl", "restart", "rekindle")
    box.until_active(before)
    assert json.loads(box.path(f"{HOME}/daemon.json").read_text())["version"] == "0.1.1"
    assert box.lives(trainer)
    box.rekindle("cancel", "upgrade-1")
    box.until_state("upgrade-1", "cancelled")


def test_a_trainer_over_its_memory_limit_ends_alone(box: Service) -> None:
    """Its cause is memory; the daemon and the job beside it live."""
    other = napping(box, "beside")
    daemon = box.until_active()
    job = box.submit("hungry", HUNGRY, '[resources]\nmemory = "300MiB"\n')
    ended = box.wait(lambda: box.entries(job, "attempt_ended"), "it is ended", 300)
    assert ended[0]["cause"] == "host_oom", ended
    assert box.lives(other)
    assert box.main_pid() == daemon
    box.rekindle("cancel", job, "beside-1")
    box.until_state("beside-1", "cancelled")


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="TensorFlow is missing")
def test_stop_and_poweroff_in_mid_epoch_repeat_no_step_and_change_no_bit(box: Service) -> None:
    """Left alone at a restart, saved at the stop and the shutdown, and going on after the boot."""
    job = box.submit("storm", KERAS, 'env = { TF_NUM_INTRAOP_THREADS = "1" }\nseed = 3')

    def mid_epoch(attempt: int) -> bool:
        return any(e["attempt"] == attempt for e in box.entries(job, "epoch_ended"))

    box.wait(lambda: mid_epoch(1), "an epoch has ended", 300)
    # a training of Keras is not interrupted either: the receipts below count three attempts
    trainer, before = box.trainer(job), box.until_active()
    box.run("systemctl", "restart", "rekindle")
    box.until_active(before)
    assert box.lives(trainer)
    box.run("systemctl", "stop", "rekindle", seconds=240)
    ended = box.entries(job, "attempt_ended")
    assert [e["cause"] for e in ended] == ["preempted"]
    assert box.show("rekindle", "Result") == "success"
    box.run("systemctl", "start", "rekindle")
    box.wait(lambda: mid_epoch(2), "an epoch more has ended", 300)
    box.poweroff()
    assert [e["cause"] for e in box.entries(job, "attempt_ended")] == ["preempted"] * 2
    box.boot()
    shown = box.until_state(job, "done", 300)
    assert [a["lost_steps"] for a in shown["attempts"]] == [0, 0, 0]
    steps = [a["from_step"] for a in shown["attempts"]]
    assert 0 == steps[0] < steps[1] < steps[2]
    assert any(step % 80 for step in steps), "no relaunch was within an epoch"

    calm = box.submit("calm", KERAS, 'env = { TF_NUM_INTRAOP_THREADS = "1" }\nseed = 3')
    box.until_state(calm, "done", 300)
    assert final(box, job) == final(box, calm)


def final(box: Service, job: str) -> dict[str, bytes]:
    """All arrays of the state that the finished stage left."""
    (folder,) = box.path(f"{HOME}/runs/{job}/checkpoints").glob("e*-end")
    arrays, _ = tensors.load(folder / "state.safetensors")
    assert len(arrays) > 8
    return {name: array.tobytes() for name, array in arrays.items()}


def test_a_user_without_root_can_install_a_service(box: Service) -> None:
    """`install --user`, with lingering, so that it outlives the session."""
    box.run("loginctl", "enable-linger", "ana")
    uid = box.run("id", "-u", "ana").stdout.strip()
    box.wait(
        lambda: (
            box.run("test", "-S", f"/run/user/{uid}/systemd/private", check=False).returncode == 0
        ),
        "ana's manager is up",
    )
    mine = (
        "runuser",
        "-u",
        "ana",
        "--",
        "env",
        f"XDG_RUNTIME_DIR=/run/user/{uid}",
        "HOME=/home/ana",
    )
    said = box.run(*mine, REKINDLE, "install", "--user").stdout
    assert "/home/ana/.local/state/rekindle" in said
    state = box.run(*mine, "systemctl", "--user", "is-active", "rekindle").stdout.strip()
    assert state == "active"
    assert box.path("/home/ana/.local/state/rekindle/ledger.db").exists()
    box.run(*mine, REKINDLE, "uninstall", "--user")
    assert not box.path("/home/ana/.config/systemd/user/rekindle.service").exists()
    assert box.path("/home/ana/.local/state/rekindle/ledger.db").exists()


def test_the_unit_is_clean_and_hardened(box: Service) -> None:
    """`systemd-analyze verify` has nothing to say, and `security` rates it 2.5 or better."""
    unit = "/etc/systemd/system/rekindle.service"
    verified = box.run("systemd-analyze", "--man=no", "verify", unit)
    assert verified.stdout + verified.stderr == ""
    box.run("systemd-analyze", "security", "--offline=yes", "--threshold=25", unit)


def test_a_service_that_does_not_stop_is_not_uninstalled(box: Service) -> None:
    """systemd really refuses the stop: nothing is removed, and nobody says that it is gone."""
    before = box.until_active()
    drop_in = "/etc/systemd/system/rekindle.service.d/refuse.conf"
    box.put(drop_in, "[Unit]\nRefuseManualStop=yes\n")
    box.run("systemctl", "daemon-reload")
    try:
        refused = box.run(REKINDLE, "uninstall", check=False)
        assert refused.returncode == 1, refused.stdout + refused.stderr
        assert "has not ended (active); nothing was removed" in refused.stderr
        assert "gone" not in refused.stdout
        assert box.path("/etc/systemd/system/rekindle.service").exists()
        assert box.path("/usr/local/bin/rekindle").is_symlink()
        assert box.run("systemctl", "is-enabled", "rekindle").stdout.strip() == "enabled"
        assert box.main_pid() == before
    finally:
        box.path(drop_in).unlink()
        box.run("systemctl", "daemon-reload")


def test_uninstall_keeps_the_data_and_prints_its_path(box: Service) -> None:
    """The service is gone, every job is there; and a new installation finds them."""
    job = box.submit("kept", "print('kept')")
    box.until_state(job, "done")
    said = box.run(REKINDLE, "uninstall").stdout
    assert f"kept: {HOME}" in said
    assert box.run("systemctl", "is-active", "rekindle", check=False).stdout.strip() != "active"
    assert not box.path("/etc/systemd/system/rekindle.service").exists()
    assert not box.path("/usr/local/bin/rekindle").is_symlink()
    again = box.run(REKINDLE, "uninstall").stdout
    assert f"kept: {HOME}" in again
    box.run(REKINDLE, "install")
    box.until_active()
    assert box.job(job)["state"] == "done"
