"""Make a golden home with an older rekindle: `make.py CHECKOUT OUT.tar.gz`.

CHECKOUT is a working tree of that version. The home holds four jobs of one script: one done, one
held, one interrupted (daemon, keeper and trainer were killed), and one interrupted that also left
half a checkpoint. `tests/end_to_end/test_homes.py` resumes them with the current version.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SCRIPT = """\
import hashlib
import json
import sys
import time

import keras
import numpy as np

rng = np.random.default_rng(1)
x = rng.normal(size=(128, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential(
    [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
)
model.compile("adam", "mse")
pause = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.05))
history = model.fit(x, y, batch_size=16, epochs=6, callbacks=[pause], verbose=2)
digest = hashlib.sha256()
for array in model.get_weights():
    digest.update(array.tobytes())
with open(sys.argv[1], "w") as out:
    json.dump({"weights": digest.hexdigest(), "loss": history.history["loss"]}, out)
"""


def wait(what: str, probe: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not probe():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def main() -> None:
    checkout, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    root = Path(tempfile.mkdtemp(prefix="golden-"))
    home, work = root / "home", root / "work"
    work.mkdir()
    (work / "train.py").write_text(SCRIPT)
    env = {
        **os.environ,
        "PYTHONPATH": str(checkout / ".importroot"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }
    rekindle = [sys.executable, "-m", "rekindle.daemon", "--home", str(home)]

    def submit(name: str) -> None:
        spec = work / f"{name}.toml"
        spec.write_text(
            f'name = "{name}"\nscript = "train.py"\nworkdir = "{work}"\nseed = 5\n'
            f'args = ["{name}.json"]\n[checkpoint]\nevery = "3 steps"\n'
        )
        subprocess.run([*rekindle, "submit", str(spec)], env=env, check=True)

    def state(job: str) -> str:
        listed = subprocess.run(
            [*rekindle, "ls", "--json"], env=env, capture_output=True, text=True
        )
        jobs = json.loads(listed.stdout)["jobs"] if listed.returncode == 0 else []
        return next((str(one["state"]) for one in jobs if one["id"] == job), "")

    def saved(job: str, steps: int) -> bool:
        return any(
            int(path.name.split("-s")[1][:8]) >= steps
            for path in (home / "runs" / job / "checkpoints").glob("e*-s*")
        )

    daemon = subprocess.Popen([*rekindle, "run", "--slots", "2"], env=env)
    wait("the daemon is up", (home / "daemon.json").exists)
    submit("done")
    wait("done is done", lambda: state("done-1") == "done")
    submit("held")
    wait("held has saved", lambda: saved("held-1", 12))
    subprocess.run([*rekindle, "stop", "held-1"], env=env, check=True)
    wait("held is held", lambda: state("held-1") == "held")
    submit("interrupted")
    submit("half")
    wait("both have saved", lambda: saved("interrupted-1", 12) and saved("half-1", 12))
    daemon.kill()
    for job in ("interrupted-1", "half-1"):
        for line in (home / "runs" / job / "journal.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["kind"] == "attempt_started":
                for who in ("keeper_pid", "trainer_pid"):
                    # the trainer may have ended with its keeper
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(entry[who], signal.SIGKILL)
    daemon.wait()
    # the remains of a commit that was killed while writing
    newest = max((home / "runs" / "half-1" / "checkpoints").glob("e*-s*"))
    torn = newest.with_name(f".tmp-{newest.name}-golden")
    torn.mkdir()
    (torn / "state.safetensors").write_bytes((newest / "state.safetensors").read_bytes()[:1000])
    (root / "made.json").write_text(json.dumps({"root": str(root)}))
    with tarfile.open(out, "w:gz") as archive:
        archive.add(root, arcname=".")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
