"""Ways to save and to restore a training of Keras, with one interface, for checkpoint_cost.py.

A saver that is not installed, or does not work with this Keras, is named with the reason.
"""

import importlib.util
import os
from pathlib import Path

NAMES = {
    "none": "no saves",
    "rekindle": "rekindle",
    "keras": "ModelCheckpoint .keras",
    "h5": "ModelCheckpoint .weights.h5",
    "backup": "BackupAndRestore",
    "manager": "tf.train.CheckpointManager",
    "tf-async": "tf.train async checkpoint",
    "safetensors": "safetensors save_file",
    "orbax-keras": "OrbaxCheckpoint",
    "orbax-keras-async": "OrbaxCheckpoint, async",
    "orbax": "Orbax StandardCheckpointer",
}
NOT_FLUSHED = ("keras", "h5", "backup", "manager", "safetensors", "orbax-keras", "orbax")
"""Savers that are also measured with a flush of every file that they wrote."""
SAVERS = (*NAMES, *(f"{name}+fsync" for name in NOT_FLUSHED))
WHEN = {
    "none": "-",
    "rekindle": "in the background: written, flushed, verified, then committed",
    "tf-async": "in the background, not flushed",
    "orbax-keras-async": "in the background",
}
"""When the bytes are on disk; of the others the flush that is left is measured."""


def title(saver):
    """Return the name of a saver for a table."""
    name, _, flushed = saver.partition("+")
    return NAMES[name] + (" + fsync" if flushed else "")


def absent(saver):
    """Say why a saver cannot be measured here; empty if it can."""
    name = saver.partition("+")[0]
    if name == "safetensors" and importlib.util.find_spec("safetensors") is None:
        return "safetensors is not installed: pip install safetensors"
    if name.startswith("orbax"):
        if importlib.util.find_spec("orbax") is None:
            return "orbax-checkpoint is not installed: pip install '.[bench]'"
        if name != "orbax":
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            import keras

            if not hasattr(keras.callbacks, "OrbaxCheckpoint"):
                return f"Keras {keras.__version__} has no OrbaxCheckpoint"
    return ""


def variables(model):
    """List all variables of model and optimizer."""
    return [*model.variables, *model.optimizer.variables]


class Saver:
    """Save every so many steps, into a folder.

    Attributes:
        callback: for `fit`; None where another one saves.
        flushes: seconds that the flush after each save took.
    """

    def __init__(self, saver, model, where, every):
        self._name, _, flushed = saver.partition("+")
        self._model, self._where, self._every = model, where, every
        self._end = lambda: None
        self.flushes = []
        self.callback = self._make()
        if flushed and self.callback is not None:
            self._flush_after_saves()

    def close(self):
        """Wait for what is written in the background."""
        self._end()

    def _make(self):
        import keras

        callbacks, where, every = keras.callbacks, self._where, self._every
        name = self._name
        if name == "keras":
            return callbacks.ModelCheckpoint(f"{where}/m.keras", save_freq=every)
        if name == "h5":
            return callbacks.ModelCheckpoint(
                f"{where}/m.weights.h5", save_freq=every, save_weights_only=True
            )
        if name == "backup":
            return callbacks.BackupAndRestore(where, save_freq=every, delete_checkpoint=False)
        if name in ("orbax-keras", "orbax-keras-async"):
            return callbacks.OrbaxCheckpoint(
                where, save_freq=every, max_to_keep=2, save_on_background=name.endswith("async")
            )
        save = {
            "manager": self._manager,
            "tf-async": self._tf_async,
            "safetensors": self._safetensors,
            "orbax": self._orbax,
        }.get(name)
        if save is None:
            return None
        save = save()

        class Saves(callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if (batch + 1) % every == 0:
                    save()

        return Saves()

    def _flush_after_saves(self):
        import time

        end = self.callback.on_train_batch_end

        def end_and_flush(batch, logs=None):
            end(batch, logs)
            if (batch + 1) % self._every == 0:
                began = time.perf_counter()
                flush(Path(self._where))
                self.flushes.append(time.perf_counter() - began)

        self.callback.on_train_batch_end = end_and_flush

    def _manager(self):
        import tensorflow as tf

        checkpoint = tf.train.Checkpoint(model=self._model, optimizer=self._model.optimizer)
        return tf.train.CheckpointManager(checkpoint, self._where, max_to_keep=2).save

    def _tf_async(self):
        import tensorflow as tf

        options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True)
        made = []

        def save():
            if not made:
                # it fails on optimizers of Keras 3, but not on their variables, once they are built
                parts = [variable.value for variable in variables(self._model)]
                checkpoint = tf.train.Checkpoint(parts=parts)
                made.append(tf.train.CheckpointManager(checkpoint, self._where, max_to_keep=2))
                self._end = checkpoint.sync
            made[0].save(options=options)

        return save

    def _safetensors(self):
        import numpy as np
        from safetensors.numpy import save_file

        def save():
            # Keras may give two variables one path
            arrays = {
                f"{number} {variable.path}": np.asarray(variable.numpy())
                for number, variable in enumerate(variables(self._model))
            }
            save_file(arrays, f"{self._where}/m.safetensors")

        return save

    def _orbax(self):
        import orbax.checkpoint as ocp

        checkpointer = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        self._end = checkpointer.close

        def save():
            checkpointer.save(f"{self._where}/orbax", _tree(self._model), force=True)

        return save


def flush(folder):
    """Make every file below a folder durable."""
    for path in [folder, *folder.rglob("*")]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def _tree(model):
    import numpy as np

    return {f"v{n}": np.asarray(one.numpy()) for n, one in enumerate(variables(model))}


def restore(saver, model, where):
    """Restore model and optimizer from what a saver left."""
    import keras

    name = saver.partition("+")[0]
    if name == "keras":
        keras.saving.load_model(f"{where}/m.keras")
    elif name == "h5":
        model.load_weights(f"{where}/m.weights.h5")
    elif name == "backup":
        callback = keras.callbacks.BackupAndRestore(where, delete_checkpoint=False)
        callback.set_model(model)
        callback.on_train_begin()
    elif name in ("manager", "tf-async"):
        import tensorflow as tf

        if name == "manager":
            made = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        else:
            made = tf.train.Checkpoint(parts=[one.value for one in variables(model)])
        made.restore(tf.train.latest_checkpoint(where)).assert_existing_objects_matched()
    elif name == "safetensors":
        from safetensors.numpy import load_file

        found = load_file(f"{where}/m.safetensors")
        for number, one in enumerate(variables(model)):
            one.assign(found[f"{number} {one.path}"])
    elif name == "orbax":
        import orbax.checkpoint as ocp

        tree = _tree(model)
        found = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(
            f"{where}/orbax", args=ocp.args.StandardRestore(tree)
        )
        for number, one in enumerate(variables(model)):
            one.assign(found[f"v{number}"])
    elif name.startswith("orbax-keras"):
        keras.saving.load_model(where)
    else:
        raise SystemExit(f"{saver} restores nothing")
