"""Write a model from a checkpoint; runs in the job's own interpreter, which has Keras.

``exporter ORDER``: a JSON file that :mod:`rekindle.daemon.verbs.export` wrote. The answer
is written into the file beside it that the order names. The run directory is not changed: the
order names a folder with links to its checkpoints.
"""

import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rekindle.jobs.ends.limit import refuse_dropped
from rekindle.jobs.export.atomic_file import publish, publish_bundle
from rekindle.jobs.job import Job
from rekindle.jobs.resume import model_config
from rekindle.state import durable
from rekindle.state.errors import RekindleError, StateMismatch, UsageError
from rekindle.state.paths import Run
from rekindle.state.run import tensors
from rekindle.state.run.training_state import TrainingState

_SCRIPT_HINT = (
    "Weights can be exported as .safetensors without it; for the rest add "
    "--run-script, which runs the job's script up to this stage."
)


def main() -> NoReturn:
    """Export; exit 0 with ``{"file": ...}``, or an error's exit code with ``{"error": ...}``."""
    order = json.loads(Path(sys.argv[1]).read_text())
    answer = Path(order["answer"])
    try:
        run = Run(Path(order["run"]))
        if order["run_script"]:
            _by_script(order, run, answer)
        _finish(answer, {"file": _export(order, run)})
    except RekindleError as error:
        _finish(answer, {"error": error.what, "hint": error.hint, "code": error.exit_code})


def _finish(answer: Path, value: dict[str, Any]) -> NoReturn:
    durable.write_json(answer, value)
    sys.stdout.flush()
    # the script's threads must not keep the process alive
    os._exit(int(value.get("code", 0)))


def _export(order: dict[str, Any], run: Run) -> str:
    """Export without the script, from the arrays and the architecture that the trainer saved."""
    arrays, metadata = tensors.load(Path(order["checkpoint"]))
    state = json.loads(metadata["state"])
    label, target = order["model"], Path(order["to"])
    if label not in state["variables"]:
        known = [name for name in state["variables"] if name.split(".")[0] == "model"]
        raise UsageError(f"The checkpoint has no {label}.", hint=f"It has: {', '.join(known)}.")
    refuse_dropped(order["name"], state)
    entry = _entry(run, state, label)
    if order["format"] == "safetensors" and not order["ema"]:
        _write_safetensors(target, state["variables"][label], arrays, label, entry, order)
        return str(target)
    model_of = entry.get("model")
    if model_of is None:
        raise UsageError(
            f"The architecture of the model ({entry.get('class', 'unknown')}) is not known: "
            f"{entry.get('problem', 'the trainer has not saved it')}.",
            hint=_SCRIPT_HINT,
        )
    if order["format"] == "json":
        publish(target, lambda path: path.write_text(json.dumps(model_of)), force=order["force"])
        return str(target)
    if "backend" in entry:
        os.environ["KERAS_BACKEND"] = entry["backend"]  # the script may have set it
    model = _build(model_of, entry.get("package", "keras"))
    _fill(model, label, state["variables"], arrays)
    return write(model, order)


def _entry(run: Run, state: TrainingState, label: str) -> dict[str, Any]:
    try:
        return model_config.load(run, state).get(label, {})
    except (OSError, ValueError) as error:
        return {"problem": str(error)}


def _build(model_of: dict[str, Any], package: str) -> Any:
    from rekindle.jobs.keras_compat import followed

    keras = importlib.import_module(package)
    followed.choose(keras)
    try:
        return keras.models.model_from_json(json.dumps(model_of))
    except Exception as first:
        # the model itself does not need a custom loss or metric of the script
        bare = {key: value for key, value in model_of.items() if key != "compile_config"}
        try:
            model = keras.models.model_from_json(json.dumps(bare))
        except Exception as error:
            raise UsageError(
                f"The model cannot be built without the script's code: {_line(error)}.",
                hint=_SCRIPT_HINT,
            ) from error
        print(
            f"rekindle: exporting the model without its compile settings: {_line(first)}.",
            file=sys.stderr,
        )
        return model


def _fill(model: Any, label: str, described: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Load the checkpoint's values into a rebuilt model, by position."""
    from rekindle.jobs.capture import variables
    from rekindle.jobs.keras_compat import internals

    suffix = label.removeprefix("model")
    groups = {"model": internals.model_variables(model)}
    wanted = {"model": _renamed(groups["model"], described[label], label)}
    moved = _moved(arrays, label, "model", range(len(described[label])))
    for name, optimizer in variables.optimizers(model).items():
        saved = described.get(name + suffix)
        if not saved:
            continue
        if not internals.is_optimizer_built(optimizer):
            internals.build_optimizer(optimizer, internals.trainable_variables(model))
        groups[name] = internals.optimizer_variables(optimizer)
        kept = _in_use(saved, len(groups[name]))
        if len(kept) != len(groups[name]):
            raise StateMismatch(
                f"The {name} has {len(kept)} variables in the checkpoint and "
                f"{len(groups[name])} now.",
                hint=_SCRIPT_HINT,
            )
        wanted[name] = [
            [variables.path_of(v), *saved[index][1:]]
            for v, index in zip(groups[name], kept, strict=False)
        ]
        moved |= _moved(arrays, name + suffix, name, kept)
    try:
        variables.restore(groups, wanted, moved)
    except StateMismatch as error:
        raise StateMismatch(error.what, hint=_SCRIPT_HINT) from error


def _in_use(saved: list[list[Any]], count: int) -> Sequence[int]:
    """Select the indices of saved optimizer variables that the optimizer has here as well.

    Keras wraps a model's optimizer in a loss-scaling one only if the policy of the process is
    mixed_float16, which it is not here.
    """
    if len(saved) == count:
        return range(count)
    return [
        index
        for index, entry in enumerate(saved)
        if not entry[0].startswith("loss_scale_optimizer")
    ]


def _moved(arrays: dict[str, Any], old: str, new: str, indices: Sequence[int]) -> dict[str, Any]:
    """Return the arrays of one group under another name, numbered without gaps."""
    return {
        f"{new}/{number:05d}": arrays[f"{old}/{index:05d}"] for number, index in enumerate(indices)
    }


def _renamed(here: list[Any], saved: list[list[Any]], label: str) -> list[list[Any]]:
    """Return the saved descriptions under the current paths.

    A rebuilt model lacks the outermost name, and generators are numbered by process.
    """
    if len(here) != len(saved):
        raise StateMismatch(
            f"The {label} has {len(saved)} variables in the checkpoint and {len(here)} now.",
            hint=_SCRIPT_HINT,
        )
    from rekindle.jobs.capture import variables

    paths = [variables.path_of(variable) for variable in here]
    for path, entry in zip(paths, saved, strict=True):
        if _tail(path) != _tail(entry[0]):
            raise StateMismatch(
                f"The variable {entry[0]} of the checkpoint is {path} now.", hint=_SCRIPT_HINT
            )
    return [[path, *entry[1:]] for path, entry in zip(paths, saved, strict=True)]


def _tail(path: str) -> list[str]:
    return [
        re.sub(r"^seed_generator(_\d+)?$", "seed_generator", part) for part in path.split("/")[-2:]
    ]


def write(model: Any, order: dict[str, Any]) -> str:
    """Write a model that holds the checkpoint's values; return the path to load."""
    target, kind, force = Path(order["to"]), order["format"], order["force"]
    if order["ema"]:
        optimizer = getattr(model, "optimizer", None)
        inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
        if not getattr(inner, "use_ema", False):
            raise UsageError(
                "The optimizer has no moving average of the weights.",
                hint="Leave out --ema, or train with use_ema=True.",
            )
        inner.finalize_variable_values(model.trainable_variables)
    if kind == "keras":
        publish(target, model.save, force=force)
    elif kind == "h5":
        publish(target, model.save_weights, force=force)
    elif kind == "json":
        publish(target, lambda path: path.write_text(model.to_json()), force=force)
    elif kind == "safetensors":
        from rekindle.jobs.capture import variables
        from rekindle.jobs.keras_compat import internals

        arrays: dict[str, Any] = {}
        described = variables.capture({"model": internals.model_variables(model)}, arrays)
        _write_safetensors(target, described["model"], arrays, "model", {}, order)
    else:
        from rekindle.jobs.keras_compat import internals

        if internals.BACKEND != "tensorflow":
            raise UsageError(
                f"TensorFlow's format holds no model of Keras on {internals.BACKEND}.",
                hint="Export a .keras, .weights.h5 or .safetensors file.",
            )
        import tensorflow as tf

        parts = {"model": model}
        if getattr(model, "optimizer", None) is not None:
            parts["optimizer"] = model.optimizer
        saver = tf.train.Checkpoint(**parts)
        # creates the counter, which every reader expects
        saver.save_counter.assign(1)
        publish_bundle(target, lambda prefix: saver.write(str(prefix)), force=force)
    return str(target)


def _write_safetensors(
    target: Path,
    described: list[list[Any]],
    arrays: dict[str, Any],
    label: str,
    entry: dict[str, Any],
    order: dict[str, Any],
) -> None:
    import ml_dtypes  # noqa: F401  (registers bfloat16 and similar types with numpy)
    import numpy as np

    from rekindle.jobs.weights.seed_paths import is_seed

    found: dict[str, Any] = {}
    for index, (path, _shape, dtype) in enumerate(described):
        if is_seed(path):
            continue  # not a weight: the RNG state of Dropout
        name, n = path, 1
        while name in found:
            name, n = f"{path}#{n}", n + 1
        array = arrays[f"{label}/{index:05d}"]
        found[name] = array if array.dtype.name == dtype else array.view(np.dtype(dtype))
    metadata = {"format": "keras", "job": order["job"], "checkpoint": order["name"]}
    if entry.get("model") is not None:
        metadata["architecture"] = json.dumps(entry["model"])
    publish(target, lambda path: tensors.save(path, found, metadata), force=order["force"])


def _by_script(order: dict[str, Any], run: Run, answer: Path) -> NoReturn:
    """Run the script up to the stage of the checkpoint, and export its restored model.

    The session uses a separate folder with that checkpoint as the newest: the script is resumed
    as in a relaunch, and then the process ends.
    """
    from rekindle.jobs.attempt.session import Session
    from rekindle.jobs.trainer import hooks, script
    from rekindle.jobs.trainer.source_snapshot import SourceSnapshot
    from rekindle.jobs.trainer.unfollowed import Unfollowed

    job = Job.read(run.job_file).replace(allow_change=False)

    def on_restored(models: dict[str, Any]) -> None:
        try:
            if order["model"] not in models:
                raise UsageError(
                    f"The stage has no {order['model']}.", hint=f"It has: {', '.join(models)}."
                )
            _finish(answer, {"file": write(models[order["model"]], order)})
        except RekindleError as error:
            refuse(error)

    def refuse(error: RekindleError) -> NoReturn:
        _finish(answer, {"error": error.what, "hint": error.hint, "code": error.exit_code})

    session = Session.open(
        Run(Path(order["shadow"])),
        job,
        1,
        on_failure=refuse,
        on_restored=(order["stage"], on_restored),
    )
    # the snapshot is in the run's own directory, not in the session's folder
    snapshot = SourceSnapshot.of(run, job, session.warn)
    if snapshot is not None:
        snapshot.install()
    hooks.install(job, session, Unfollowed(session))
    script.run(job, snapshot)
    raise UsageError(
        f"The script ended before stage {order['stage']}, that of the checkpoint.",
        hint="Export without --run-script: as .safetensors, weights need no script.",
    )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
