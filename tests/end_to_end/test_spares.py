"""Relaunch into warm spares, with real processes: the same training, and nothing left behind."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, environment, wait_for

from rekindle.jobs import heartbeat, process
from rekindle.state import crash_points
from rekindle.state.paths import Run

pytestmark = [pytest.mark.slow(60)]
OF_SPARE = ("spare_agreed", "spare_begins")

SCRIPT = '''
"""A training that says what it sees of its process."""
import atexit
import json
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings

import numpy as np
import keras
from keras import layers

OWN = ("REKINDLE_ATTEMPT", "REKINDLE_BEGAN")
folder, epochs, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


def digest(value):
    import hashlib

    return hashlib.sha256(repr(value).encode()).hexdigest()


def loader(module):
    return type(getattr(getattr(module, "__spec__", None), "loader", None)).__module__


def look():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    attempt = os.environ.get("REKINDLE_ATTEMPT")
    started = open("/proc/self/environ").read().split("\\0")
    main = sys.modules["__main__"]
    words = [word for word in sys.orig_argv if not word.isdigit()]
    return {
        "argv": sys.argv,
        "orig_argv": words,
        "cmdline": [w for w in open("/proc/self/cmdline").read().split("\\0") if not w.isdigit()],
        "variables": {k: v for k, v in os.environ.items() if k not in OWN},
        "attempt_in_environ": os.environ.get("REKINDLE_ATTEMPT") == attempt,
        "started": sorted(one for one in started if one.partition("=")[0] not in OWN),
        "main": [main.__name__, main.__file__, main.__doc__, sorted(vars(main))],
        "is_main": main is sys.modules[look.__module__] and globals() is vars(main),
        "path": sys.path,
        "folder": os.getcwd(),
        "flags": repr(sys.flags),
        "filters": [repr(one) for one in warnings.filters],
        "finders": [type(one).__name__ for one in sys.meta_path],
        "hooks": len(sys.path_hooks),
        "modules": sorted(
            name
            for name in sys.modules
            if name.partition(".")[0] not in sys.stdlib_module_names
            and not name.startswith("rekindle.")
        ),
        "specs": [name for name, one in sys.modules.items() if "rekindle" in loader(one)],
        "random": digest(random.getstate()),
        "numpy": digest(np.random.get_state()[1].tolist()),
        "draws": [random.random(), np.random.default_rng().random(), random.Random().random()],
        "threads": threading.active_count(),
        "limits": [resource.getrlimit(n) for n in range(16)],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": sorted(os.sched_getaffinity(0)),
        "oom": open("/proc/self/oom_score_adj").read(),
        "groups": open("/proc/self/cgroup").read(),
        "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "stdin": os.readlink("/proc/self/fd/0"),
        "out": os.path.basename(os.readlink("/proc/self/fd/1")).replace(str(attempt), "N"),
        "stream": [repr(type(sys.stdout.buffer)), sys.stdout.line_buffering, sys.stdout.encoding],
        "blocked": status["SigBlk"].strip(),
        "ignored": status["SigIgn"].strip(),
        "umask": status["Umask"].strip(),
        "handlers": [str(signal.getsignal(n)).split(" at ")[0] for n in (2, 15)],
        "uids": status["Uid"],
    }


seen = look()
keras.utils.set_random_seed(3)
with open(os.path.join(folder, f"seen-{os.environ.get('REKINDLE_ATTEMPT')}.json"), "w") as file:
    json.dump(seen, file)
x = np.random.default_rng(1).random((256, 12), np.float32)
y = np.random.default_rng(2).integers(0, 4, 256)
model = keras.Sequential(
    [keras.Input((12,)), layers.Dense(8, "relu"), layers.Dropout(0.3), layers.Dense(4, "softmax")]
)
model.compile("adam", "sparse_categorical_crossentropy")


class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(pause)


model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=[Slow()])
with open(os.path.join(folder, "end"), "w") as file:
    file.write(digest([w.tolist() for w in model.get_weights()]))
'''


class Night:
    """A daemon with one job, which is killed."""

    def __init__(self, rig: Rig, root: Path, *, warm: str = "true", script: str = SCRIPT) -> None:
        self.rig = rig
        self.root = root
        self.script = root / "train.py"
        self.script.write_text(script)
        rig.home.config.write_text(f"[daemon]\nwarm_spares = {warm}\n")
        self.run: Run = rig.home.run("job-1")

    def submit(
        self, *, epochs: int = 100_000, pause: float = 0.01, name: str = "job", at: str = ""
    ) -> None:
        args = json.dumps([str(self.root / at), str(epochs), str(pause)])
        self.rig.drop(
            f'name = "{name}"\nscript = "{self.script}"\nargs = {args}\n'
            f'python = "{sys.executable}"\n[checkpoint]\nevery = "50 steps"\n'
        )

    def begin(self, attempt: int) -> None:
        """Wait until an attempt has trained beyond a new checkpoint."""
        self.rig.trainer("job-1", attempt)
        wait_for(
            lambda: any(
                e["attempt"] == attempt for e in self.rig.entries(self.run, "checkpoint_committed")
            ),
            f"attempt {attempt} saves",
        )

    def kill(self, attempt: int) -> None:
        """Kill a trainer between two checkpoints, so that steps are repeated."""

        def is_between() -> bool:
            beat = heartbeat.read(self.run.heartbeat)
            return beat is not None and beat.attempt == attempt and 10 <= beat.step % 50 <= 40

        wait_for(is_between, "some steps are trained after a checkpoint")
        self.rig.trainer("job-1", attempt).send(signal.SIGKILL)

    def shown(self, attempt: int) -> str | None:
        """Return what `show` says of the spare of an attempt."""

        def find() -> list[str | None]:
            attempts = self.rig.show("job-1")["attempts"]
            return [one["spare"] for one in attempts if one["n"] == attempt and one["trainer_pid"]]

        return wait_for(find, f"the ledger has attempt {attempt}")[0]

    def spare(self, count: int) -> int:
        """Wait for the log's line that a spare waits, and return the pid of the spare."""
        wait_for(lambda: self.said("spare_waits") >= count, "a spare waits")
        return wait_for(lambda: next(iter(self.spares()), None), "a spare is found")

    def said(self, event: str) -> int:
        return self.rig.log.read_text().count(f'"event": "{event}"')

    def standbys(self) -> list[int]:
        """List the keepers of this home that stand by."""
        return [
            pid
            for pid in process.of_this_user()
            if b"rekindle.jobs.standby.main" in words(pid)
            and str(self.run.root).encode() in words(pid)
        ]

    def spares(self) -> list[int]:
        return [
            child
            for keeper in self.standbys()
            for child in process.children(keeper)
            if process.holds_socket(child, 0)
        ]

    def log(self, attempt: int) -> str:
        return self.run.log(attempt).read_text()

    def seen(self, attempt: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / f"seen-{attempt}.json").read_text())
        return found

    def left(self) -> list[str]:
        """List the processes of the job, also those that no attempt has taken."""
        mark = str(self.run.root).encode()
        return [
            f"{pid}: {words(pid)}"
            for pid in process.of_this_user()
            if process.environment(pid).get(b"REKINDLE_RUN_DIR") == mark or mark in words(pid)
        ]


def words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.promise
def test_a_killed_attempt_is_resumed_in_a_spare_to_the_same_bits(rig: Rig, tmp_path: Path) -> None:
    """The script sees what it sees in a cold start, and no process is left behind."""
    night = Night(rig, tmp_path)
    rig.start("--log-format", "json")
    night.submit(epochs=150)
    night.begin(1)
    assert not night.standbys(), "a first attempt has no spare"
    night.kill(1)
    night.begin(2)
    spare = night.spare(1)
    assert Path(f"/proc/{spare}/oom_score_adj").read_text().strip() == "1000"
    night.kill(2)
    night.begin(3)
    assert rig.trainer("job-1", 3).pid == spare
    assert "begins in a warm spare" in night.log(3)
    assert night.shown(2) is None
    assert night.shown(3) == ""
    assert night.seen(2) == night.seen(3)
    rig.wait_state("job-1", "done")
    assert "repeated steps identical" in night.log(3)
    wait_for(lambda: not night.left(), f"all processes have ended: {night.left()}", 10)
    end = (tmp_path / "end").read_text()
    (tmp_path / "twin").mkdir()
    night.submit(epochs=150, pause=0, name="twin", at="twin")
    rig.wait_state("twin-1", "done")
    assert (tmp_path / "twin" / "end").read_text() == end


def test_the_death_of_each_process_leaves_a_cold_start(rig: Rig, tmp_path: Path) -> None:
    """Of the spare, of its keeper, and of the daemon, which leaves the training running."""
    night = Night(rig, tmp_path)
    rig.start("--log-format", "json")
    night.submit()
    night.begin(1)
    night.kill(1)
    night.begin(2)
    os.kill(night.spare(1), signal.SIGKILL)
    wait_for(lambda: not night.standbys(), "the keeper of a killed spare ends")
    night.kill(2)
    night.begin(3)
    assert "spare" not in night.log(3)

    night.spare(2)
    spare = night.spares()[0]
    os.kill(night.standbys()[0], signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{spare}").exists(), "a spare ends with its keeper")
    night.kill(3)
    night.begin(4)
    assert "spare" not in night.log(4)

    spare = night.spare(3)
    os.kill(night.standbys()[0], signal.SIGSTOP)
    night.kill(4)
    night.begin(5)
    assert "spare" not in night.log(5), "a keeper that is stopped gets no attempt"
    assert not Path(f"/proc/{spare}").exists()

    spare = night.spare(4)
    rig.end(signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{spare}").exists(), "a spare ends with the daemon")
    assert rig.trainer("job-1", 5).alive()
    rig.start("--log-format", "json")
    spare = night.spare(5)
    night.kill(5)
    night.begin(6)
    assert rig.trainer("job-1", 6).pid == spare
    spare = night.spare(6)
    rig.cli("cancel", "job-1")
    rig.wait_state("job-1", "cancelled")
    wait_for(lambda: not night.left(), "a cancelled job leaves no process", 10)


@pytest.mark.parametrize("point", crash_points.SPARE)
def test_a_kill_within_the_handover_runs_nothing_twice(
    rig: Rig, tmp_path: Path, point: str
) -> None:
    """Of the spare or its keeper: before the script begins, or with it."""
    died = tmp_path / "died"
    script = SCRIPT.replace(
        "seen = look()",
        'with open(os.path.join(folder, "began"), "a") as file:\n'
        "    file.write(f\"{os.environ.get('REKINDLE_ATTEMPT')}\\n\")\n"
        "seen = look()",
    )
    night = Night(rig, tmp_path, script=script)
    rig.start("--log-format", "json", **{crash_points.VARIABLE: f"{point}@{died}"})
    night.submit(epochs=150)
    night.begin(1)
    night.kill(1)
    night.begin(2)
    spare = night.spare(1)
    keeper = night.standbys()[0]
    night.kill(2)
    wait_for(died.exists, f"a process reaches {point}")
    assert int(died.read_text()) in ({spare} if point in OF_SPARE else {keeper})
    rig.wait_state("job-1", "done")
    began = (tmp_path / "began").read_text().split()
    assert len(began) == len(set(began)), "one process of each attempt runs the script"
    assert "repeated steps identical" in night.log(int(began[-1]))
    wait_for(lambda: not night.left(), f"all processes have ended: {night.left()}", 10)


@pytest.mark.parametrize("change", ["module", "folder", "shadow", "variable"])
def test_what_has_changed_since_drops_the_spare(rig: Rig, tmp_path: Path, change: str) -> None:
    site = tmp_path / "site"
    (site / "small-1.0.dist-info").mkdir(parents=True)
    (site / "small-1.0.dist-info" / "RECORD").write_text("small.py,,\n")
    (site / "small.py").write_text("VALUE = 1\n")
    os.utime(site, (1, 1))
    script = SCRIPT.replace("import numpy as np", "import small\nimport numpy as np", 1)
    night = Night(rig, tmp_path, script=script)
    path = environment()["PYTHONPATH"]
    rig.start("--log-format", "json", PYTHONPATH=f"{path}:{site}")
    night.submit()
    night.begin(1)
    night.kill(1)
    night.begin(2)
    night.spare(1)
    if change == "module":
        (site / "small.py").write_text("VALUE = 2\n")
    elif change == "folder":
        (site / "other.py").write_text("")
    elif change == "shadow":
        (tmp_path / "wrapt.py").write_text("raise RuntimeError\n")
        (tmp_path / "h5py.py").write_text("raise RuntimeError\n")
    else:
        text = night.run.job_file.read_text()
        job = json.loads(text)
        job["env"] = {**job.get("env", {}), "ADDED": "1"}
        night.run.job_file.write_text(json.dumps(job))
    night.kill(2)
    if change == "shadow":
        rig.trainer("job-1", 3)
        wait_for(lambda: "hides a module of a library" in night.log(3), "the spare is dropped")
        return  # a cold start may fail by these files
    night.begin(3)
    why = "environment of the attempt differs: ADDED" if change == "variable" else "has changed"
    assert "the warm spare is not used" in night.log(3)
    assert why in night.log(3)
    assert why in (night.shown(3) or "")
    ran = rig.cli("show", "job-1")
    assert "attempt 3 did not begin in the warm spare" in " ".join(ran.split())


@pytest.mark.parametrize(
    ("added", "why"),
    [
        ('os.environ["OMP_NUM_THREADS"] = "1"', "more than to import"),
        ("random.seed(3)", "more than to import"),
        ('warnings.filterwarnings("ignore")', "more than to import"),
        ("import own", "a module of its own"),
    ],
)
def test_a_script_that_prepares_its_imports_gets_none(
    rig: Rig, tmp_path: Path, added: str, why: str
) -> None:
    (tmp_path / "own.py").write_text("")
    script = SCRIPT.replace("import numpy as np", f"{added}\nimport numpy as np", 1)
    night = Night(rig, tmp_path, script=script)
    rig.start("--log-format", "json")
    night.submit()
    night.begin(1)
    night.kill(1)
    night.begin(2)
    wait_for(lambda: night.said("no_spare"), "the daemon says that there is none")
    assert why in rig.log.read_text()
    assert not night.standbys()


def test_without_the_setting_there_is_none(rig: Rig, tmp_path: Path) -> None:
    night = Night(rig, tmp_path, warm="false")
    rig.start("--log-format", "json")
    night.submit(epochs=60)
    night.begin(1)
    night.kill(1)
    rig.wait_state("job-1", "done")
    assert not night.said("spare_waits")
    assert "spare" not in rig.log.read_text()
