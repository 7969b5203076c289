"""`rekindle verify-resume` distinguishes an exact job from others and names the differences."""

import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import environment

from rekindle.daemon.verify_resume import (
    comparison,
    nondeterminism_scan,
    repeated_steps,
    trial,
    workcopy,
)
from rekindle.daemon.verify_resume.tensor_layout import Layout
from rekindle.daemon.verify_resume.trial import Training
from rekindle.state.errors import UsageError
from rekindle.state.paths import Run
from rekindle.state.run import digests, tensors
from rekindle.state.run.checkpoints import Position

# a training of some seconds: a shorter one would end before the kills
SCRIPT = """
import time
import keras
import numpy as np
import tensorflow as tf

{before}
dice = np.random.default_rng(3)
x = dice.normal(size=(240, 8)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
model = keras.Sequential([
    keras.layers.Input((8,)), keras.layers.Dense(8, activation="relu", name="hidden"),
    keras.layers.Dropout(0.3), keras.layers.Dense(2, activation="softmax", name="last")])
model.compile("adam", "sparse_categorical_crossentropy")


class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.004)


{change}
model.fit(x, y, epochs={epochs}, batch_size=8, verbose=2,
          callbacks=[Slow(), keras.callbacks.CSVLogger("log.csv"), *more])
model.save("model.keras")
"""


def written(folder: Path, change: str = "more = []", before: str = "", epochs: int = 6) -> Path:
    script = folder / "train.py"
    script.write_text(
        SCRIPT.format(change=textwrap.dedent(change), before=textwrap.dedent(before), epochs=epochs)
    )
    return script


def asked(script: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the verb; return exit code and answer."""
    ran = subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "verify-resume", "--json", *options, str(script)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=400,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return ran.returncode, json.loads(ran.stdout)


@pytest.mark.crash
@pytest.mark.slow(40)  # the verb trains two to five times
def test_a_deterministic_script_is_identical_and_its_folder_unchanged(tmp_path: Path) -> None:
    """With kills that hit, and attempts that were resumed in mid-epoch."""
    script = written(tmp_path)
    (tmp_path / "log.csv").write_text("mine\n")
    code, answer = asked(script, "--kills", "3")
    assert (code, answer["verdict"]) == (0, "identical"), answer
    assert len(answer["kills"]) == 3, answer
    assert answer["resumed_in_mid_epoch"] > 0, answer
    assert answer["compared"]["whole"] is True
    assert answer["compared"]["epochs"] == 6
    assert answer["differences"] == answer["noted"] == []
    assert (tmp_path / "log.csv").read_text() == "mine\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "train.py"]


@pytest.mark.crash
@pytest.mark.slow(40)  # the verb trains two to five times
def test_a_seed_of_the_operating_system_is_found_and_named(tmp_path: Path) -> None:
    """The script is nondeterministic: the resume is not the cause."""
    seeded = "import os\nkeras.utils.set_random_seed(int.from_bytes(os.urandom(4), 'big'))"
    script = written(tmp_path, before=seeded)
    code, answer = asked(script, "--kills", "1")
    assert (code, answer["verdict"]) == (1, "script differs"), answer
    assert answer["differences"][0]["kind"] == "variable"
    assert answer["differences"][0]["name"].endswith("hidden/kernel"), answer["differences"][0]
    first = answer["suspects"][0]
    assert (first["kind"], first["code"]) == ("entropy", "os.urandom(4)")
    assert "os.urandom(4)" in script.read_text().splitlines()[first["line"] - 1]


@pytest.mark.crash
@pytest.mark.slow(40)  # the verb trains two to five times
def test_other_data_in_each_attempt_fail_to_resume_and_are_named(tmp_path: Path) -> None:
    """The attempt that read other data is not trained on."""
    script = written(
        tmp_path,
        "import os\nrng = np.random.RandomState(list(os.urandom(4)))\n"
        "x += rng.normal(size=x.shape) * 0.1\nmore = []",
    )
    code, answer = asked(script, "--kills", "1")
    assert (code, answer["verdict"]) == (1, "resume failed"), answer
    assert "the content of the data differs" in answer["summary"]
    assert answer["suspects"][0]["code"] == "os.urandom(4)"


@pytest.mark.crash
@pytest.mark.slow(40)  # the verb trains two to five times
def test_state_outside_of_checkpoints_is_distinguished_from_nondeterminism(tmp_path: Path) -> None:
    """The script is deterministic undisturbed; a count within an object of C restarts at one."""
    script = written(
        tmp_path,
        """
        import itertools
        count = itertools.groupby(itertools.count(1))

        class Falling(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                self.model.optimizer.learning_rate.assign(0.01 / next(count)[0])

        more = [Falling()]
        """,
    )
    code, answer = asked(script, "--kills", "2")
    assert (code, answer["verdict"]) == (1, "resume differs"), answer
    assert answer["differences"][0]["kind"] == "variable", answer["differences"]
    # a part that is trained twice, over the start of the second epoch
    overlap = answer["overlap"]
    since, until = (Position.parse(overlap[key]) for key in ("since", "until"))
    assert since is not None
    assert until is not None
    assert (since.epoch, until.epoch) == (0, 1)
    assert 0 < since.step == until.step - overlap["steps"]
    assert overlap["differences"], overlap


def test_the_first_repeated_step_that_differs_is_read_from_the_journal() -> None:
    """The last entry of each attempt counts; the first attempt that differs is named."""
    differs = {"stage": 0, "epoch": 2, "step": 41, "group": "optimizer", "loss": 0.5, "was": 0.5}
    same = {"kind": "proved", "stage": 0, "checkpoint": "e0001-s00000010", "differs": None}
    journal: list[dict[str, Any]] = [
        {**same, "attempt": 2, "steps": 3, "epoch_start": False},
        {**same, "attempt": 2, "steps": 8, "epoch_start": True},
        {"kind": "resumed", "attempt": 3, "stage": 0},
    ]
    assert str(repeated_steps.of(journal)) == (
        "8 repeated steps compared, all identical, an epoch start among them"
    )
    journal.append({**same, "attempt": 3, "steps": 1, "epoch_start": False, "differs": differs})
    found = repeated_steps.of(journal)
    assert str(found.first) == (
        "step 41 of epoch 3, group optimizer (attempt 3 after the resume from e0001-s00000010)"
    )
    assert str(repeated_steps.of([])) == "no repeated step was compared"


@pytest.mark.crash
@pytest.mark.slow(40)  # the verb trains two to five times
def test_a_long_job_is_compared_up_to_the_limit(tmp_path: Path) -> None:
    """All trainings end at the same step; a time in a callback is restored with the rest."""
    script = written(
        tmp_path,
        """
        class Timer(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.began = time.time()

        more = [Timer()]
        """,
        epochs=10_000,
    )
    code, answer = asked(script, "--kills", "2", "--limit", "30s")
    assert (code, answer["verdict"]) == (0, "identical"), answer
    assert answer["compared"]["whole"] is False
    assert 0 < answer["compared"]["steps"] < 30_000
    assert answer["compared"]["arrays"] > 10
    assert answer["resumed"] > 0
    assert answer["noted"] == [], answer


@pytest.mark.crash
@pytest.mark.slow(40)  # the verb trains two to five times
def test_a_script_that_cannot_be_started_twice_fails_to_resume(tmp_path: Path) -> None:
    """The most common reason: it refuses to overwrite its own output."""
    script = written(tmp_path, before="import os\nos.mkdir('results')")
    code, answer = asked(script, "--kills", "1")
    assert (code, answer["verdict"]) == (1, "resume failed"), answer
    assert answer["failure"]["error_type"] == "LeftBehind"
    assert "results" in answer["failure"]["message"], answer["failure"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("from os import urandom as draw\ndraw(8)", "entropy"),
        ("import os\nos.urandom(8)", "entropy"),
        ("import uuid\nname = uuid.uuid4()", "entropy"),
        ("import time\nseed = int(time.time())", "clock"),
        ("from datetime import datetime\ndatetime.now()", "clock"),
        ("import tensorflow as tf\nd.map(lambda x: x + tf.random.normal((3,)))", "stateful"),
        (
            (
                "import tensorflow as tf\ndef f(x):\n  return tf.image.random_flip_up_down(x)\n"
                "d.map(f)"
            ),
            "stateful",
        ),
        ("import tensorflow as tf\nd.map(lambda x: tf.py_function(g, [x], tf.int32))", "python"),
        ("d.map(f, num_parallel_calls=4, deterministic=False)", "order"),
        ("options.deterministic = False", "order"),
        ("Rows(workers=4)", "workers"),
        ("import numpy as np\ndef data():\n  yield np.random.normal()", "global"),
        (
            (
                "import keras, random\nclass D(keras.utils.PyDataset):\n"
                "  def __getitem__(self, i):\n"
                "    return random.random()"
            ),
            "global",
        ),
    ],
)
def test_nondeterministic_code_is_found(code: str, kind: str, tmp_path: Path) -> None:
    """Each kind, also under names that the script gave it at the import."""
    script = tmp_path / "s.py"
    script.write_text(code)
    assert [s.kind for s in nondeterminism_scan.of_script(script)] == [kind]


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np\nnp.random.default_rng()\nnp.random.RandomState()\nnp.random.normal()",
        "import random\nrandom.seed()\nrandom.Random()",
        "import tensorflow as tf\nd.map(lambda x: tf.random.stateless_normal((3,), seed=(1, 2)))",
        "import tensorflow as tf\nw = tf.random.normal((3,))\nd.map(f, num_parallel_calls=2)",
        "import time\ntime.sleep(1)",
        "this is no python",
    ],
)
def test_deterministic_code_is_no_suspect(code: str, tmp_path: Path) -> None:
    """A seed, a stateless function, a file that cannot be read."""
    script = tmp_path / "s.py"
    script.write_text(code)
    assert [] == nondeterminism_scan.of_script(script)


def test_modules_beside_the_script_are_read_and_a_gpu_needs_determinism(tmp_path: Path) -> None:
    """The data code is often in another file."""
    (tmp_path / "data.py").write_text("import os\nseed = os.urandom(4)\n")
    script = tmp_path / "s.py"
    script.write_text("import data\n")
    found = nondeterminism_scan.of_script(script, gpus=1)
    assert [(s.file, s.line, s.kind) for s in found] == [
        ("data.py", 2, "entropy"),
        ("s.py", 0, "device"),
    ]
    assert [
        s.kind
        for s in nondeterminism_scan.of_script(script, gpus=1, env={"TF_DETERMINISTIC_OPS": "1"})
    ] == ["entropy"]


def test_kills_are_planned_by_seed_and_lie_within_the_training() -> None:
    """Sorted by step, with both signals."""
    kills = trial.plan(40, 1000, 3)
    assert kills == trial.plan(40, 1000, 3) != trial.plan(40, 1000, 4)
    assert [kill.step for kill in kills] == sorted(kill.step for kill in kills)
    assert all(0 < kill.step < 1000 for kill in kills)
    assert {kill.signum for kill in kills} == {9, 15}
    assert {kill.place for kill in kills} == {"step", "save"}


def test_a_folder_is_copied_without_environments_and_with_links(tmp_path: Path) -> None:
    """Links of the folder keep their targets."""
    source = tmp_path / "job"
    for path in ("data/big.npz", ".venv/bin/python", ".git/config", "src/model.py"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    (tmp_path / "outside").write_text("outside")
    (source / "up").symlink_to("../outside")
    (source / "here").symlink_to("src/model.py")
    target = tmp_path / "elsewhere" / "copy"
    workcopy.make(source, target, link=["data"])
    assert sorted(p.name for p in target.iterdir()) == ["data", "here", "src", "up"]
    assert (target / "data").is_symlink()
    assert (target / "up").read_text() == "outside"
    (target / "here").write_text("changed")
    assert (source / "src/model.py").read_text() == "src/model.py"
    with pytest.raises(UsageError, match="does not exist"):
        workcopy.make(source, tmp_path / "other", link=["missing"])


def trained(folder: Path, files: dict[str, bytes]) -> Training:
    """Make a training that left only files."""
    work = folder / "work"
    run = Run(folder / "run")
    for place in (work, run.checkpoints):
        place.mkdir(parents=True)
    for name, data in files.items():
        (work / name).write_bytes(data)
    run.journal.touch()
    return Training(run, work)


def model_file(folder: Path, saved: str, weights: bytes, address: int) -> bytes:
    """Make a file as `model.save` does: weights, a configuration, and the time."""
    path = folder / f"{address}.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", saved)
        file.writestr("config.json", f'{{"shared_object_id": {address}}}')
        file.writestr("model.weights.h5", weights)
    return path.read_bytes()


def test_files_are_compared_by_line_and_models_without_the_time_of_saving(tmp_path: Path) -> None:
    """A file that the job did not change is not compared."""
    ours = trained(
        tmp_path / "ours",
        {
            "log.csv": b"epoch,loss\n0,1.5\n1,0.25\n",
            "old.txt": b"a",
            "mine.txt": b"",
            "same.keras": model_file(tmp_path, "monday", b"w", 1),
            "other.keras": model_file(tmp_path, "monday", b"w", 2),
        },
    )
    theirs = trained(
        tmp_path / "theirs",
        {
            "log.csv": b"epoch,loss\n0,1.5\n1,0.50\n",
            "old.txt": b"a",
            "same.keras": model_file(tmp_path, "tuesday", b"w", 3),
            "other.keras": model_file(tmp_path, "tuesday", b"v", 4),
        },
    )
    found = comparison.compare(ours, theirs, {"old.txt": digests.digest(ours.workdir / "old.txt")})
    assert [(d.kind, d.name, d.detail) for d in found] == [
        ("file", "log.csv", 'line 3: "1,0.25" and "1,0.50"'),
        ("file", "mine.txt", "was written by one training only"),
        ("file", "other.keras", "model.weights.h5 in it differs"),
    ]


def test_a_state_file_is_read_without_numpy(tmp_path: Path) -> None:
    """Names, shapes, bytes, and which of two files' tensors differ, -0.0 and NaN included."""
    one = {"a": np.float32([[1, 2], [3, -0.0]]), "b": np.array(7), "c": np.float64([np.nan])}
    tensors.save(tmp_path / "one", one, {"state": "{}"})
    tensors.save(tmp_path / "two", {**one, "a": np.float32([[1, 2], [3, 0.0]]), "d": one["b"]}, {})
    read, other = Layout.read(tmp_path / "one"), Layout.read(tmp_path / "two")
    assert read.metadata == {"state": "{}"}
    assert {name: (e.dtype, e.shape) for name, e in read.entries.items()} == {
        "a": ("F32", (2, 2)),
        "b": ("I64", ()),
        "c": ("F64", (1,)),
    }
    assert read.data("a") == one["a"].tobytes()
    assert list(read.differing(other)) == ["a", "d"]
    for cut in (0, 4, 40):
        (tmp_path / "cut").write_bytes((tmp_path / "one").read_bytes()[:cut])
        with pytest.raises(ValueError):
            Layout.read(tmp_path / "cut")
