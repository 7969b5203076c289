"""Kill trainings in environments with other versions of Keras, TensorFlow and Python.

``REKINDLE_KERAS`` chooses them (``make test-keras``): all, names, or ``rotating``. With
``REKINDLE_KERAS_RECORD=FILE`` one that passes writes what was proved, as JSON.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

import keras_environments
import lives as driver
import pytest
from keras_environments import Environment
from lives import Blow, Lives
from rig import environment as environment_of_tests

from rekindle.jobs import bootstrap
from rekindle.jobs.job import CheckpointPolicy, Resources
from rekindle.state.run import checkpoints, proof

CHOSEN = os.environ.get("REKINDLE_KERAS", "")
RECORD = os.environ.get("REKINDLE_KERAS_RECORD")
SCRIPTS = Path(__file__).parent / "scripts"

# minutes: each start imports another TensorFlow
pytestmark = [pytest.mark.crash, pytest.mark.slow]


HERE = keras_environments.chosen(CHOSEN)


@pytest.fixture(
    params=[one for one in HERE if not one.loops] or [None],
    ids=lambda one: one.name if one else "none",
)
def environment(request: pytest.FixtureRequest) -> Environment:
    """An environment, made if it does not exist."""
    if request.param is None:
        pytest.skip("REKINDLE_KERAS names no environment; `make test-keras` runs all")
    if request.param.find_python() is None:
        pytest.skip("needs a Python {}.{}".format(*request.param.python))
    request.param.make()
    return request.param


def test_killed_in_mid_epoch_it_ends_as_the_undisturbed_one(
    environment: Environment, tmp_path: Path
) -> None:
    """Arrays, datasets, a PyDataset and a generator, each killed within an epoch."""
    if environment.backend != "tensorflow":
        pytest.skip("on TensorFlow; the next test has the other backends")
    calm = driver.undisturbed(lives(environment, "kinds_of_data", tmp_path / "calm"))
    storm = lives(environment, "kinds_of_data", tmp_path / "storm")
    # a stage commits nine checkpoints: each attempt is killed in the next stage, five steps after
    # its last checkpoint
    counts = (5, 9, 10, 9, 10) if environment.exact else (3, 5)
    result = driver.stormy(storm, [Blow("before_rename", count) for count in counts])
    assert len(result.kills) == len(counts)
    differences = driver.differences(calm.digests, result.digests)
    if environment.exact:
        assert_exact(storm, result, differences, stages=5)
        proved = f"{result.proved} relaunches, {result.in_mid_epoch} from within an epoch"
    else:
        assert_whole_epochs(storm, result, differences)
        proved = "2 relaunches of arrays and datasets, identical"
    record(proved)


@pytest.mark.usefixtures("all_libraries")
def test_on_jax_and_pytorch_it_ends_as_the_undisturbed_one(
    environment: Environment, tmp_path: Path
) -> None:
    """SIGKILL within an epoch and within the write of a checkpoint, and SIGTERM."""
    if environment.backend == "tensorflow":
        pytest.skip("the test above has it")
    calm = driver.undisturbed(lives(environment, "kinds_on_backends", tmp_path / "calm"))
    stages = len({name.partition(":")[0] for name in calm.digests if "-end:" in name})
    assert stages >= 3
    storm = lives(environment, "kinds_on_backends", tmp_path / "storm")
    # one in each stage, which commits ten to eleven checkpoints and has 36 to 39 steps
    blows = [
        Blow("before_rename", 5),
        Blow("batch", 22 + 30, signal.SIGTERM, delay=0.001),
        Blow("in_write", 10),
        *(Blow("before_rename", 10) for _ in range(stages - 3)),
    ]
    result = driver.stormy(storm, blows)
    assert len(result.kills) == stages, result.kills
    assert_exact(storm, result, driver.differences(calm.digests, result.digests), stages=stages)
    record(f"{result.proved} relaunches, {result.in_mid_epoch} from within an epoch")


@pytest.mark.usefixtures("all_libraries")
def test_on_jax_and_pytorch_a_job_that_would_train_on_the_cpu_is_held(
    environment: Environment, tmp_path: Path
) -> None:
    """Its spec asks for a GPU, and the library was installed for the CPU."""
    if environment.backend == "tensorflow":
        pytest.skip("tests/user_scripts/test_gpu_missing.py has it")
    made = lives(environment, "validation_on_backends", tmp_path)
    made.change(resources=Resources(gpus=1))
    made.start()
    assert made.wait(300)["cause"] == "permanent", made.log()
    (failed,) = made.entries("failed")
    name = {"torch": "PyTorch", "jax": "JAX"}[environment.backend]
    assert failed["error_type"] == "GpuMissing"
    assert f"{name} sees no GPU" in failed["message"]
    assert "built for the CPU only" in failed["message"]
    assert made.entries("resumed", "checkpoint_committed") == []


@pytest.mark.usefixtures("all_libraries")
def test_copies_on_a_device_of_jax_hold_the_state_of_the_save(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor stands for the accelerator: the copies are real, and read in pieces."""
    if environment.name != "keras-3.15.1-jax":
        pytest.skip("one version of JAX is enough; tests/keras/test_on_a_gpu.py has GPUs")
    monkeypatch.setenv("STRIKE_DEVICES", "cpu")
    for script in ("kinds_on_backends", "loop_on_backends"):
        calm = driver.undisturbed(lives(environment, script, tmp_path / script / "calm"))
        storm = lives(environment, script, tmp_path / script / "storm")
        result = driver.stormy(storm, [Blow("in flight", 4, delay=0.001), Blow("before_rename", 4)])
        assert len(result.kills) == 2, result.kills
        assert [] == driver.differences(calm.digests, result.digests), result.kills
        assert result.proved == 2, result.proofs
    wrong = lives(environment, "kinds_on_backends", tmp_path / "wrong")
    found = driver.proved_after("device", wrong, Blow("before_rename", 5))
    assert proof.DIFFERENT in found, "nothing went through copies"


def test_pieces_of_pytorch_arrive_in_their_places(environment: Environment) -> None:
    """Streams and events of CUDA do nothing here; the copies are those of PyTorch."""
    if environment.backend != "torch":
        pytest.skip("tensors of PyTorch alone")
    command = [environment.interpreter, SCRIPTS.parents[1] / "support" / "torch_pieces.py"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment_of_tests())
    assert ran.returncode == 0, ran.stderr


@pytest.mark.usefixtures("all_libraries")
def test_relaunches_in_warm_spares_end_as_the_undisturbed_one(
    environment: Environment, tmp_path: Path
) -> None:
    """Of each library and Python: a spare has imported what the first attempt recorded."""
    if not environment.exact:
        pytest.skip("another test has what is resumed from whole epochs")
    script = "kinds_of_data" if environment.backend == "tensorflow" else "kinds_on_backends"
    calm = driver.undisturbed(lives(environment, script, tmp_path / "calm"))
    storm = lives(environment, script, tmp_path / "storm", spares=True)
    blows = [
        Blow("before_rename", 5),
        Blow("before_rename", 9),
        Blow("batch", 30, signal.SIGTERM, delay=0.001),
    ]
    result = driver.stormy(storm, blows)
    assert len(result.kills) == len(blows), result.kills
    assert [] == driver.differences(calm.digests, result.digests), result.kills
    assert result.proved >= 2, result.proofs
    begun = [one.get("spare") for one in storm.entries("attempt_started")]
    assert begun == [None, "", "", ""], storm.no_spare
    assert [] == storm.entries("warned")


@pytest.mark.usefixtures("all_libraries")
def test_on_jax_and_pytorch_a_validation_is_run_again(
    environment: Environment, tmp_path: Path
) -> None:
    """A relaunch has no batch left in that epoch."""
    if environment.backend == "tensorflow":
        pytest.skip("tests/crash has it")
    calm = driver.undisturbed(lives(environment, "validation_on_backends", tmp_path / "calm"))
    storm = lives(environment, "validation_on_backends", tmp_path / "storm")
    result = driver.stormy(storm, [Blow("validation", count, signal.SIGTERM) for count in (3, 2)])
    assert len(result.kills) == 2, result.kills
    assert [] == driver.differences(calm.digests, result.digests), result.kills
    assert 2 == result.resumes
    assert [] == [text for one in result.resumed for text in one["inexact"]]


@pytest.mark.usefixtures("all_libraries")
def test_on_jax_and_pytorch_a_model_is_exported(environment: Environment, tmp_path: Path) -> None:
    """Built with the backend that the job had, also where only its script has set it."""
    if environment.backend == "tensorflow":
        pytest.skip("tests/jobs/test_export.py has it")
    made = lives(environment, "validation_on_backends", tmp_path)
    driver.undisturbed(made)
    end = next(c for c in checkpoints.scan(made.run.checkpoints) if c.position.end)
    paper, answer, target = (tmp_path / n for n in ("order.json", "answer.json", "m.keras"))
    order = {
        "run": str(made.run.root),
        "run_script": False,
        "checkpoint": str(end.state),
        "model": "model",
        "to": str(target),
        "format": "keras",
        "force": False,
        "ema": False,
        "name": end.name,
        "job": "lives-1",
        "answer": str(answer),
    }
    paper.write_text(json.dumps(order))
    command = bootstrap.command(
        str(environment.interpreter), "rekindle.jobs.export.main", str(paper)
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert 0 == subprocess.run(command, env=env).returncode, answer.read_text()
    loads = (
        "import keras, sys, numpy as np\n"
        "found = keras.saving.load_model(sys.argv[1]).get_weights()\n"
        "kept = np.load(sys.argv[2])\n"
        "assert all(np.array_equal(one, kept[f'arr_{n}']) for n, one in enumerate(found))\n"
    )
    subprocess.run(
        [environment.interpreter, "-c", loads, target, made.work / "end.npz"],
        env={**env, **environment.variables},
        check=True,
    )


@pytest.mark.usefixtures("all_libraries")
def test_on_jax_and_pytorch_an_unknown_loop_is_resumed_from_whole_epochs(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment.backend == "tensorflow":
        pytest.skip("tests/crash/test_unknown_keras.py has it")
    monkeypatch.setenv("STRIKE_UNKNOWN_KERAS", "1")
    calm = driver.undisturbed(lives(environment, "kinds_on_backends", tmp_path / "calm"))
    storm = lives(environment, "kinds_on_backends", tmp_path / "storm")
    result = driver.stormy(storm, [Blow("before_rename", 3), Blow("batch", 20)])
    receipts = [(one["stage"], one["step"]) for one in result.resumed]
    assert [] == driver.differences(calm.digests, result.digests), (result.kills, receipts)
    assert 0 == result.in_mid_epoch, receipts
    assert result.resumes >= 2, receipts
    assert all("Only whole epochs" in one["inexact"][0] for one in result.resumed)


@pytest.fixture
def all_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide no library from the trainer."""
    monkeypatch.setenv("STRIKE_USED", "jax,matplotlib,pandas,sklearn,torch")


def lives(environment: Environment, script: str, folder: Path, *, spares: bool = False) -> Lives:
    policy = CheckpointPolicy(every_steps=5, keep=3)
    made = Lives(folder, SCRIPTS / f"{script}.py", policy=policy, cold=True, spares=spares)
    made.change(python=str(environment.interpreter), env=environment.variables)
    return made


def record(proved: str) -> None:
    if RECORD:
        Path(RECORD).write_text(json.dumps({"proved": proved}))


def assert_exact(
    lives: Lives, result: driver.Result, differences: list[str], *, stages: int
) -> None:
    """Nothing differs, every relaunch was from within an epoch and proves it."""
    receipts = [(one["stage"], one["step"]) for one in result.resumed]
    assert [] == differences, (result.kills, receipts)
    assert result.in_mid_epoch >= stages, receipts
    assert result.proved == stages, result.proofs
    assert [] == [text for one in result.resumed for text in one["inexact"]]
    assert [] == [one["message"] for one in lives.entries("warned")]


def assert_whole_epochs(lives: Lives, result: driver.Result, differences: list[str]) -> None:
    """Relaunches begin at epochs; all is identical; function and cost are named."""
    receipts = [(one["stage"], one["step"]) for one in result.resumed]
    assert [] == differences, (result.kills, receipts)
    assert result.resumes >= 2, receipts
    assert 0 == result.in_mid_epoch, receipts
    said = [one["message"] for one in lives.entries("warned")]
    assert any("TensorFlowTrainer.fit" in text and "whole epochs" in text for text in said)
    assert all("Only whole epochs" in one["inexact"][0] for one in result.resumed)
