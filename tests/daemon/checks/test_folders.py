"""Folders that a job needs are tried by the process that would use them; nothing is written.

Kinds of source: reports of "Permission denied" and "Read-only file system" that only a service
sees.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rekindle.daemon.checks import folders, script_text
from rekindle.daemon.checks.finding import Finding, Waiting
from rekindle.daemon.checks.folders import Output
from rekindle.jobs.job import Job


def waiting(folder: Path, text: str = "import keras\n", **spec: Any) -> Waiting:
    script = folder / "train.py"
    script.write_text(text)
    given = {"name": "night", "workdir": str(folder), "script": str(script), **spec}
    return Waiting("night-1", Job(**given))


@pytest.mark.parametrize(
    ("args", "env", "expected"),
    [
        (["--output-dir", "/raid/out"], {}, [Output("/raid/out", True)]),
        (["--out=/raid/out"], {}, [Output("/raid/out", True)]),
        (["--save_path", "best.keras"], {}, [Output("/w/best.keras", True)]),
        (["--checkpoint-dir", "ckpt"], {}, [Output("/w/ckpt", False)]),
        (["-o", "x", "--log", "debug", "--epochs", "40", "--lr", "0.1"], {}, []),
        (["--output-dir", "--fast"], {}, []),
        (["--output-dir", "s3://bucket/x"], {}, []),
        (["--save-to"], {}, []),
        (
            [],
            {"OUTPUT_DIR": "/raid/x", "MY_LOG_PATH": "logs", "HOME": "/h"},
            [Output("/raid/x", True), Output("/w/logs", True)],
        ),
    ],
)
def test_output_paths_are_read_from_arguments_and_variables(
    args: list[str], env: dict[str, str], expected: list[Output]
) -> None:
    job = Job(name="x", workdir="/w", script="/w/t.py", args=args, env=env)
    assert folders.outputs(job) == expected


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ('model.save("best.keras")', True),
        ('keras.callbacks.ModelCheckpoint(filepath="w/{epoch}.keras")', True),
        ("plt.savefig('loss.png')", True),
        ('model.save("/raid/best.keras")', False),
        ("model.save(args.out)", False),
        ("model.fit(x, y)", False),
    ],
)
def test_a_script_that_writes_beside_itself_is_recognised(text: str, writes: bool) -> None:
    assert script_text.read(text).writes is writes


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ('import os\nos.environ["KERAS_BACKEND"] = "jax"\nimport keras\n', "jax"),
        ("import os\nos.environ.setdefault('KERAS_BACKEND', 'torch')\n", "torch"),
        # the kind of many reports: set after the import, where Keras no longer looks
        ('import os, keras\nimport keras\nos.environ["KERAS_BACKEND"] = "jax"\n', None),
        ('from keras import layers\nos.environ["KERAS_BACKEND"] = "jax"\n', None),
        ('print(os.environ["KERAS_BACKEND"])\n', None),
    ],
)
def test_the_backend_that_a_script_chooses_before_it_imports_keras(
    text: str, backend: str | None
) -> None:
    assert script_text.read(text).backend == backend


def test_a_missing_workdir_and_a_missing_script_are_errors(tmp_path: Path) -> None:
    gone = waiting(tmp_path, workdir=str(tmp_path / "gone"))
    (finding,) = folders.check([gone])
    assert (finding.severity, finding.path) == ("error", str(tmp_path / "gone"))
    assert finding.hint.endswith(f"mkdir -p {tmp_path / 'gone'}")
    lost = waiting(tmp_path)
    (tmp_path / "train.py").unlink()
    (finding,) = folders.check([lost])
    assert "the script does not exist" in finding.what


def test_jobs_with_the_same_trouble_share_a_finding(tmp_path: Path) -> None:
    jobs = [waiting(tmp_path, workdir="/not/mounted")] * 2000
    (finding,) = folders.check(jobs)
    assert "night-1, night-1, night-1 and 1997 more" in finding.what


CODE = """
import os, sys, json
from rekindle.daemon.checks import folders
from rekindle.jobs.job import Job
from rekindle.daemon.checks.finding import Waiting
os.setgroups([]); os.setgid(65534); os.setuid(65534)
job = Job.from_json(sys.stdin.read())
print(json.dumps([f.to_json() for f in folders.check([Waiting("night-1", job)])]))
"""


def as_nobody(one: Waiting) -> list[Finding]:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=one.job.to_json(),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root / ".importroot")},
    )
    return [Finding.from_json(value) for value in json.loads(done.stdout)]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to try as another user")
def test_folders_are_tried_as_the_user_of_the_process() -> None:
    """Below a folder that all may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        writes = waiting(folder, 'model.save("x.keras")\n')
        (finding,) = as_nobody(writes)
        assert finding.severity == "error"
        assert (
            f"the workdir {folder} cannot be written: user nobody has no permission" in finding.what
        )
        assert finding.hint == f"As the owner of {folder}: setfacl -m u:nobody:rwx {folder}"
        (finding,) = as_nobody(waiting(folder))
        assert finding.severity == "warning"
        folder.chmod(0o777)
        assert as_nobody(writes) == []
        out = folder / "out"
        out.mkdir(mode=0o755)
        out.chmod(0o755)
        (finding,) = as_nobody(waiting(folder, args=["--output-dir", "out/new/deep"]))
        assert (finding.severity, finding.path) == ("error", str(out))
        assert f"the output path {out}/new/deep cannot be written" in finding.what
        folder.chmod(0o600)
        (finding,) = as_nobody(waiting(folder))
        assert "user nobody cannot" in finding.what
