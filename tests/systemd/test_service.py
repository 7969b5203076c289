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
import systemd_container

from rekindle.state.run import journal, tensors

_MISSING = systemd_container.unavailable()
pytestmark = [
    pytest.mark.systemd,
    pytest.mark.slow,
    pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING)),
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
    """Build a wheel of the tree with this version."""
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


class Service(systemd_container.Container):
    """A container with rekindle installed, and the commands of its users."""

    def install(self, file: Path) -> None:
        """Install a wheel with pip into a virtual environment in /opt."""
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
        """Drop a spec as an ordinary group member; return the job's id."""
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
        """Read journal entries from the host, also while the container is down."""
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
        """Wait until a daemon is ready; return its pid."""

        def ready() -> str | None:
            pid = self.main_pid()
            active = self.show("rekindle", "ActiveState") == "active"
            return pid if active and pid not in ("0", other_than) else None

        found: str = self.wait(ready, "the daemon is ready")
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Install rekindle with its own command, with four slots and the group member ana."""
    folder = tmp_path_factory.mktemp("wheels")
    made = Service({"/opt/packages": Path(sysconfig.get_path("purelib"))})
    try:
        # the interpreter may be in root's folder, which the service's user cannot enter
        made.path("/root").chmod(0o711)
        base = os.path.realpath(sys.executable)
        made.run(base, "-m", "venv", "/opt/rekindle")
        site = f"/opt/rekindle/lib/python3.{sys.version_info.minor}/site-packages"
        made.put(f"{site}/packages.pth", "/opt/packages\n")
        made.install(wheel(folder, "0.1.0"))
        made.run("useradd", "--create-home", "--shell", "/bin/bash", "ana")
        made.run("useradd", "--create-home", "--shell", "/bin/bash", "bob")
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


def napping(service: Service, name: str) -> int:
    """Start a job that runs for ten minutes; return the pid of its trainer."""
    job = service.submit(name, NAP)
    service.until_state(job, "running")
    return service.trainer(job)


def test_install_starts_the_service_and_is_idempotent(service: Service) -> None:
    """User, group, folders, unit, enabled, started; the second call writes nothing."""
    service.until_active()
    assert service.show("rekindle", "User") == "rekindle"
    assert service.run("systemctl", "is-enabled", "rekindle").stdout.strip() == "enabled"
    assert service.run("stat", "-c", "%a %U %G", f"{HOME}/inbox").stdout.split() == [
        "2770",
        "rekindle",
        "rekindle",
    ]
    before = service.main_pid()
    again = service.run(REKINDLE, "install").stdout
    assert again.count("is up to date") == 4, again
    assert "write" not in again
    assert service.main_pid() == before
    assert service.run(REKINDLE, "--home", "/srv/x", "install", check=False).returncode == 2
    dry = service.run(REKINDLE, "install", "--dry-run").stdout
    assert "run systemctl enable rekindle.service" in dry


def test_a_group_member_drops_a_spec_and_reads_the_result(service: Service) -> None:
    """With ordinary `cp`, and no permission to change the ledger or a run."""
    job = service.submit(
        "plain",
        "import tempfile\nassert tempfile.gettempdir() == '/tmp'\n"
        "open('made', 'w').close()\nprint('hello from the job')",
    )
    assert service.until_state(job, "done")["attempts"][0]["exit_code"] == 0
    assert "hello from the job" in service.rekindle("logs", job)
    for path in (f"{HOME}/ledger.db", f"{HOME}/runs/{job}/journal.jsonl", f"{HOME}/runs/x"):
        refused = service.run(
            "runuser", "-u", "ana", "--", "sh", "-c", f"echo x >> {path}", check=False
        )
        assert refused.returncode != 0, path


def as_user(service: Service, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as somebody who has just logged in, with nothing about homes set."""
    return service.run("runuser", "--login", name, "--command", " ".join(words), check=False)


def private(service: Service, name: str) -> str:
    """List specs that wait in a home of a user's own, where nobody would run them."""
    return service.run("find", f"/home/{name}", "-path", "*/rekindle/inbox/*.toml").stdout


def test_a_user_submits_without_naming_a_home(service: Service) -> None:
    """Through a restart; somebody outside of the group gets the administrator's command."""
    service.until_active()
    service.put("/srv/found/train.py", "print('found')\n")
    service.path("/srv/found").chmod(0o777)
    service.run("systemctl", "restart", "--no-block", "rekindle")
    done = as_user(service, "ana", "rekindle submit /srv/found/train.py --name found")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "found-1" in done.stdout or "found.toml is in the inbox" in done.stdout
    assert f"Using the service's home {HOME}" in done.stderr
    service.until_state("found-1", "done")
    assert private(service, "ana") == ""

    bob = as_user(service, "bob", "rekindle submit /srv/found/train.py")
    assert bob.returncode == 4, bob.stdout + bob.stderr
    assert "usermod --append --groups rekindle bob" in bob.stderr
    assert private(service, "bob") == ""

    service.run("systemctl", "stop", "rekindle", seconds=240)
    try:
        refused = as_user(service, "ana", "rekindle submit /srv/found/train.py")
        assert refused.returncode == 1, refused.stdout + refused.stderr
        assert "systemctl start rekindle" in refused.stderr
        assert private(service, "ana") == ""
    finally:
        service.run("systemctl", "start", "rekindle")
    service.until_active()


def recipe(heading: str) -> str:
    """Find the first code block below a heading of docs/operations.md."""
    page = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(
        rf"^#+ {re.escape(heading)}$.*?```(?:sh|ini)\n(.*?)```", page, re.DOTALL | re.MULTILINE
    )
    assert found is not None, heading
    return found[1]


def put_recipe(service: Service, heading: str) -> str:
    """Write the file that a recipe shows, at the path in its first line; return the path."""
    first, _, text = recipe(heading).partition("\n")
    path = first.removeprefix("# ")
    service.put(path, text)
    return path


WRITES = """
import os, tempfile
os.makedirs("out/deep", exist_ok=True)
open("out/deep/result", "w").write("42")
os.rename(tempfile.mkstemp(dir="out")[1], "out/closed")
"""


@pytest.mark.parametrize("kind", ["A person's own folder", "A folder of the group"])
def test_a_user_reads_and_removes_what_a_job_wrote(service: Service, kind: str) -> None:
    """By the recipes of the documents, also over a restart; somebody else sees nothing of it."""
    service.until_active()
    own = kind == "A person's own folder"
    folder = "/home/ana/fashion" if own else "/srv/fashion"
    if own:
        as_user(service, "ana", f"chmod 700 . && mkdir {folder}")
    else:
        service.run("sh", "-ec", recipe(kind))
    name = "own" if own else "shared"
    more = "" if own else 'umask = "002"\n'
    spec = f'name = "{name}"\nscript = "train.py"\n{more}'
    for file, text in (("train.py", WRITES), ("it.toml", spec)):
        service.run("runuser", "-u", "ana", "--", "tee", f"{folder}/{file}", text=text)
    if own:
        service.run("sh", "-ec", recipe(kind))
    before = service.main_pid()
    service.run("systemctl", "restart", "rekindle")
    service.until_active(before)
    done = as_user(service, "ana", f"cd {folder} && rekindle submit it.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = service.until_state(f"{name}-1", "done")
    assert shown["user"] == "ana"
    owner = service.run("stat", "-c", "%U", f"{folder}/out/deep/result").stdout.strip()
    assert owner == "rekindle"
    seen = as_user(service, "ana", f"cat {folder}/out/deep/result && echo 1 >> {folder}/out/more")
    assert (seen.returncode, seen.stdout) == (0, "42"), seen.stderr
    if own:
        assert as_user(service, "bob", f"cat {folder}/out/deep/result").returncode != 0
    assert as_user(service, "bob", f"rm -rf {folder}/out").returncode != 0
    removed = as_user(service, "ana", f"rm -rf {folder}/out")
    assert removed.returncode == 0, removed.stderr
    assert not service.path(f"{folder}/out").exists()


def test_a_job_writes_on_another_disk(service: Service) -> None:
    """`/raid` and `/scratch` as installed, any other folder with the drop-in of the documents."""
    service.until_active()
    for disk in ("/raid", "/scratch", "/big"):
        service.run("install", "-d", "-o", "rekindle", disk)
    before = service.main_pid()
    # systemd binds a folder that has come since at the next start
    service.run("systemctl", "restart", "rekindle")
    service.until_active(before)
    for disk in ("raid", "scratch"):
        job = service.submit(disk, f"open('/{disk}/it', 'w').close()")
        service.until_state(job, "done")
    closed = service.submit("closed", "open('/big/it', 'w').close()")
    service.until_state(closed, "failed")
    assert "Read-only file system" in service.job(closed)["reason"]
    path = put_recipe(service, "Another disk")
    service.run("systemctl", "daemon-reload")
    before = service.main_pid()
    service.run("systemctl", "restart", "rekindle")
    service.until_active(before)
    try:
        service.until_state(service.submit("big", "open('/big/it', 'w').close()"), "done")
    finally:
        service.path(path).unlink()
        service.run("systemctl", "daemon-reload")


def test_device_files_of_gpus_come_before_the_service(service: Service) -> None:
    """By the unit of the documents, with a stand-in for `nvidia-modprobe`, over a reboot."""
    service.put("/usr/bin/nvidia-modprobe", '#!/bin/sh\necho "$*" $(id -u) >/var/lib/uvm\n', 0o755)
    put_recipe(service, "GPU device files before the service")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "enable", "--now", "nvidia-uvm")
    assert service.path("/var/lib/uvm").read_text() == "-u -c 0 0\n"
    service.poweroff()
    service.boot()
    service.until_active()
    entered = [
        int(service.show(unit, "ActiveEnterTimestampMonotonic"))
        for unit in ("nvidia-uvm", "rekindle")
    ]
    assert 0 < entered[0] < entered[1], entered
    service.run("systemctl", "disable", "--now", "nvidia-uvm")
    service.until_active()


def test_a_restart_of_the_service_interrupts_no_training(service: Service) -> None:
    """An upgrade is a restart: the next daemon adopts running attempts."""
    trainer = napping(service, "restart")
    before = service.main_pid()
    service.run("systemctl", "restart", "rekindle")
    service.until_active(before)
    assert service.lives(trainer)
    assert service.job("restart-1")["state"] == "running"
    assert len(service.entries("restart-1", "attempt_started")) == 1
    service.rekindle("cancel", "restart-1")
    service.until_state("restart-1", "cancelled")
    assert not service.lives(trainer)


def test_a_killed_daemon_is_restarted_and_interrupts_no_training(service: Service) -> None:
    """SIGKILL, as from the kernel's out-of-memory killer."""
    trainer = napping(service, "killed")
    before = service.until_active()
    service.run("kill", "-KILL", before)
    service.until_active(before)
    assert service.lives(trainer)
    assert service.job("killed-1")["state"] == "running"
    service.rekindle("cancel", "killed-1")
    service.until_state("killed-1", "cancelled")


def test_a_hung_daemon_is_restarted_by_the_watchdog(service: Service) -> None:
    """SIGSTOP stops the loop and its pings; training continues."""
    trainer = napping(service, "frozen")
    before = service.until_active()
    service.run("kill", "-STOP", before)
    service.until_active(before)
    assert "watchdog" in service.journal("-u", "rekindle", "-n", "100").lower()
    assert service.lives(trainer)
    service.rekindle("cancel", "frozen-1")
    service.until_state("frozen-1", "cancelled")


def test_an_invalid_configuration_is_logged_once_without_a_restart_loop(service: Service) -> None:
    """The unit fails once with the reason; with a fixed configuration it starts."""
    path = service.path(f"{HOME}/rekindle.toml")
    good = path.read_text()
    path.write_text('slots = "many"\n')
    try:
        service.run("systemctl", "restart", "rekindle", check=False)
        service.wait(
            lambda: service.show("rekindle", "ActiveState") == "failed", "the unit has failed"
        )
        assert service.show("rekindle", "ExecMainStatus") in ("2", "4")
        assert service.show("rekindle", "NRestarts") == "0"
        said = service.journal("REKINDLE_EVENT=daemon_refused", "-o", "json").splitlines()
        assert len(said) == 1, said
        assert "slots" in json.loads(said[0])["MESSAGE"]
    finally:
        path.write_text(good)
    service.run("systemctl", "reset-failed", "rekindle")
    service.run("systemctl", "start", "rekindle")
    service.until_active()


def test_doctor_checks_the_unit_that_systemd_has_loaded(service: Service) -> None:
    """The installed unit is good; a bad setting of a drop-in is reported."""
    service.until_active()

    def said() -> list[dict[str, str]]:
        out = service.run(
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
    service.put(drop_in, "[Service]\nKillMode=control-group\nRestart=no\n")
    service.run("systemctl", "daemon-reload")
    try:
        assert [(f["severity"], f["what"].partition(":")[0]) for f in said()] == [
            ("error", "KillMode=control-group"),
            ("error", "Restart=no"),
        ]
    finally:
        service.path(drop_in).unlink()
        service.run("systemctl", "daemon-reload")


def test_doctor_names_the_settings_that_keep_folders_from_the_service(service: Service) -> None:
    """Asked by a user whose own shell sees all of them; the drop-ins of its hints repair them."""
    before = service.until_active()
    service.rekindle("pause")
    service.put("/home/ana/work/train.py", "model.save('best.keras')\n")
    service.run("chmod", "755", "/home/ana")
    service.run("chmod", "777", "/home/ana/work")
    service.run("mkdir", "-m", "777", "/pool")
    service.put(
        f"{HOME}/inbox/hidden.toml",
        'script = "/home/ana/work/train.py"\nargs = ["--output-dir", "/pool/out"]\n'
        'env = { LOG_DIR = "/late/logs" }\n',
    )
    service.until_state("hidden-1", "waiting")
    drop_ins = Path("/etc/systemd/system/rekindle.service.d")

    def drop_in(name: str, lines: str) -> None:
        nonlocal before
        service.put(str(drop_ins / name), f"[Service]\n{lines}\n")
        service.run("systemctl", "daemon-reload")
        service.run("systemctl", "restart", "rekindle")
        before = service.until_active(other_than=before)

    def said() -> dict[str, dict[str, str]]:
        out = service.rekindle("doctor", "--no-imports", "--json", check=False)
        findings = json.loads(out)["findings"]
        tries = [f["what"] for f in findings if f["check"] == "tries"]
        assert tries == ["Interpreters and folders were tried by the daemon, as user rekindle."]
        return {f["hint"]: f for f in findings if f["check"] == "folder"}

    try:
        (both,) = [f for f in said().values() if "/pool" in f["what"]]
        assert both["severity"] == "error"
        assert "hidden-1: the output path /pool/out cannot be written" in both["what"]
        assert "ProtectSystem=strict of rekindle.service keeps user rekindle" in both["what"]
        lines = re.findall(r"\[Service\] (\S+);", both["hint"])[0]
        drop_in("pool.conf", f"{lines}\nReadWritePaths=-/late")
        service.run("mkdir", "-m", "777", "/late")
        (late,) = said().values()
        assert "did not exist when rekindle.service was started" in late["what"]
        assert late["hint"].startswith("systemctl restart rekindle.service")
        drop_in("pool.conf", f"{lines}\nReadWritePaths=-/late")
        assert said() == {}
        # `ReadWritePaths=-/home` of the unit has precedence over `ProtectHome`; and `yes` would
        # hide the interpreter of the tests, which may be in root's folder
        drop_in(
            "home.conf",
            "ReadWritePaths=\nReadWritePaths=/tmp /var/tmp /pool /late\n"
            "ProtectHome=tmpfs\nBindReadOnlyPaths=-/root",
        )
        (home,) = said().values()
        assert home["severity"] == "error"
        assert "the workdir does not exist: /home/ana/work; ProtectHome=tmpfs of" in home["what"]
        drop_in("zz.conf", re.findall(r"\[Service\] (\S+);", home["hint"])[0])
        assert said() == {}
    finally:
        for name in ("pool.conf", "home.conf", "zz.conf"):
            service.path(str(drop_ins / name)).unlink(missing_ok=True)
        service.run("systemctl", "daemon-reload")
        service.run("systemctl", "restart", "rekindle")
        service.until_active(other_than=before)
        service.rekindle("cancel", "hidden-1")
        service.rekindle("resume")


def test_the_journal_is_filtered_by_job_and_event(service: Service) -> None:
    """journalctl REKINDLE_JOB=... finds the lines of one job and no others."""
    job = service.submit("fields", "print(1)")
    service.until_state(job, "done")
    lines = [
        json.loads(line)
        for line in service.journal(f"REKINDLE_JOB={job}", "-o", "json").splitlines()
    ]
    assert {line["REKINDLE_JOB"] for line in lines} == {job}
    assert {"job_accepted", "attempt_started", "attempt_ended"} <= {
        line["REKINDLE_EVENT"] for line in lines
    }
    started = service.journal(f"REKINDLE_JOB={job}", "REKINDLE_EVENT=attempt_started", "-o", "json")
    assert json.loads(started)["REKINDLE_ATTEMPT"] == "1"


def test_an_upgrade_over_a_running_service_interrupts_no_training(service: Service) -> None:
    """After a new wheel and a restart the daemon has the new version."""
    trainer = napping(service, "upgrade")
    before = service.until_active()
    service.install(wheel(service.folder, "0.1.1"))  # type: ignore[attr-defined]
    service.run("systemctl", "restart", "rekindle")
    service.until_active(before)
    assert json.loads(service.path(f"{HOME}/daemon.json").read_text())["version"] == "0.1.1"
    assert service.lives(trainer)
    service.rekindle("cancel", "upgrade-1")
    service.until_state("upgrade-1", "cancelled")


def test_a_trainer_over_its_memory_limit_ends_alone(service: Service) -> None:
    """Its cause is memory; the daemon and another job keep running."""
    other = napping(service, "beside")
    daemon = service.until_active()
    job = service.submit("hungry", HUNGRY, '[resources]\nmemory = "300MiB"\n')
    ended = service.wait(lambda: service.entries(job, "attempt_ended"), "it is ended", 300)
    assert ended[0]["cause"] == "host_oom", ended
    assert service.lives(other)
    assert service.main_pid() == daemon
    service.rekindle("cancel", job, "beside-1")
    service.until_state("beside-1", "cancelled")


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="TensorFlow is missing")
def test_stop_and_poweroff_in_mid_epoch_repeat_no_step_and_change_no_bit(service: Service) -> None:
    """Not interrupted by a restart, saved at the stop and the shutdown, resumed after the boot."""
    job = service.submit("storm", KERAS, 'env = { TF_NUM_INTRAOP_THREADS = "1" }\nseed = 3')

    def mid_epoch(attempt: int) -> bool:
        return any(e["attempt"] == attempt for e in service.entries(job, "epoch_ended"))

    service.wait(lambda: mid_epoch(1), "an epoch has ended", 300)
    # a restart must not interrupt a training of Keras either: the receipts count three attempts
    trainer, before = service.trainer(job), service.until_active()
    service.run("systemctl", "restart", "rekindle")
    service.until_active(before)
    assert service.lives(trainer)
    service.run("systemctl", "stop", "rekindle", seconds=240)
    ended = service.entries(job, "attempt_ended")
    assert [e["cause"] for e in ended] == ["preempted"]
    assert service.show("rekindle", "Result") == "success"
    service.run("systemctl", "start", "rekindle")
    service.wait(lambda: mid_epoch(2), "an epoch more has ended", 300)
    service.poweroff()
    assert [e["cause"] for e in service.entries(job, "attempt_ended")] == ["preempted"] * 2
    service.boot()
    shown = service.until_state(job, "done", 300)
    # those that were trained after the save, to be repeated
    assert all(a["lost_steps"] in range(5) for a in shown["attempts"])
    steps = [a["from_step"] for a in shown["attempts"]]
    assert 0 == steps[0] < steps[1] < steps[2]
    assert any(step % 80 for step in steps), "no relaunch was within an epoch"

    calm = service.submit("calm", KERAS, 'env = { TF_NUM_INTRAOP_THREADS = "1" }\nseed = 3')
    service.until_state(calm, "done", 300)
    assert final(service, job) == final(service, calm)


def final(service: Service, job: str) -> dict[str, bytes]:
    """Load all arrays of the finished stage's state."""
    (folder,) = service.path(f"{HOME}/runs/{job}/checkpoints").glob("e*-end")
    arrays, _ = tensors.load(folder / "state.safetensors")
    assert len(arrays) > 8
    return {name: array.tobytes() for name, array in arrays.items()}


def test_a_user_without_root_can_install_a_service(service: Service) -> None:
    """`install --user`, with lingering, so that it outlives the session."""
    service.run("loginctl", "enable-linger", "ana")
    uid = service.run("id", "-u", "ana").stdout.strip()
    service.wait(
        lambda: (
            service.run("test", "-S", f"/run/user/{uid}/systemd/private", check=False).returncode
            == 0
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
    said = service.run(*mine, REKINDLE, "install", "--user").stdout
    assert "/home/ana/.local/state/rekindle" in said
    state = service.run(*mine, "systemctl", "--user", "is-active", "rekindle").stdout.strip()
    assert state == "active"
    assert service.path("/home/ana/.local/state/rekindle/ledger.db").exists()
    # a live daemon of one's own is preferred to that of the host
    listed = service.run(*mine, REKINDLE, "ls", "--json")
    assert json.loads(listed.stdout)["home"] == "/home/ana/.local/state/rekindle"
    record = json.loads(service.run("cat", f"/run/user/{uid}/rekindle/daemon.json").stdout)
    assert record["home"] == "/home/ana/.local/state/rekindle"
    service.run(*mine, REKINDLE, "uninstall", "--user")
    assert service.run("test", "-e", f"/run/user/{uid}/rekindle", check=False).returncode != 0
    assert not service.path("/home/ana/.config/systemd/user/rekindle.service").exists()
    assert service.path("/home/ana/.local/state/rekindle/ledger.db").exists()


def test_the_unit_is_clean_and_hardened(service: Service) -> None:
    """`systemd-analyze verify` reports nothing, and `security` rates it 2.5 or better."""
    unit = "/etc/systemd/system/rekindle.service"
    verified = service.run("systemd-analyze", "--man=no", "verify", unit)
    assert verified.stdout + verified.stderr == ""
    service.run("systemd-analyze", "security", "--offline=yes", "--threshold=25", unit)


def test_a_service_that_does_not_stop_is_not_uninstalled(service: Service) -> None:
    """systemd really refuses the stop: nothing is removed or reported as removed."""
    before = service.until_active()
    drop_in = "/etc/systemd/system/rekindle.service.d/refuse.conf"
    service.put(drop_in, "[Unit]\nRefuseManualStop=yes\n")
    service.run("systemctl", "daemon-reload")
    try:
        refused = service.run(REKINDLE, "uninstall", check=False)
        assert refused.returncode == 1, refused.stdout + refused.stderr
        assert "has not ended (active); nothing was removed" in refused.stderr
        assert "gone" not in refused.stdout
        assert service.path("/etc/systemd/system/rekindle.service").exists()
        assert service.path("/usr/local/bin/rekindle").is_symlink()
        assert service.run("systemctl", "is-enabled", "rekindle").stdout.strip() == "enabled"
        assert service.main_pid() == before
    finally:
        service.path(drop_in).unlink()
        service.run("systemctl", "daemon-reload")


def test_uninstall_keeps_the_data_and_prints_its_path(service: Service) -> None:
    """The service is removed, every job is kept, and a new installation finds them."""
    job = service.submit("kept", "print('kept')")
    service.until_state(job, "done")
    said = service.run(REKINDLE, "uninstall").stdout
    assert f"kept: {HOME}" in said
    assert service.run("systemctl", "is-active", "rekindle", check=False).stdout.strip() != "active"
    assert not service.path("/etc/systemd/system/rekindle.service").exists()
    assert not service.path("/usr/local/bin/rekindle").is_symlink()
    again = service.run(REKINDLE, "uninstall").stdout
    assert f"kept: {HOME}" in again
    service.run(REKINDLE, "install")
    service.until_active()
    assert service.job(job)["state"] == "done"
