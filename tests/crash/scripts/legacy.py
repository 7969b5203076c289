"""Trainings with `tf_keras` that use what only legacy Keras has. Imports nothing of rekindle.

``python legacy.py NAME`` runs the function of that name.
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

EPOCHS, BATCH = 3, 8
dice = np.random.default_rng(1)
X = dice.normal(size=(80, 6)).astype("float32")
Y = (X.sum(1) > 0).astype("int32")


def network():
    """Make a model without a shape of its inputs, which legacy Keras builds at the first batch."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Dense(12, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(2, activation="softmax"),
        ]
    )


def keep(model, *histories):
    """Write what a training ends with."""
    np.savez("end.npz", *model.get_weights(), *variables(model.optimizer))
    rows = [{key: list(map(float, row)) for key, row in one.history.items()} for one in histories]
    with open("histories.json", "w") as file:
        json.dump(rows, file)


def variables(optimizer):
    found = optimizer.variables
    return [one.numpy() for one in (found() if callable(found) else found)]


def fit(model, optimizer, data=(X, Y), **more):
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(*data, epochs=EPOCHS, verbose=2, validation_data=(X[:16], Y[:16]), **more)


def older_optimizers():
    model = network()
    first = fit(model, keras.optimizers.legacy.Adam(1e-3, amsgrad=True), batch_size=BATCH)
    second = fit(
        model, keras.optimizers.legacy.SGD(0.05, momentum=0.9, decay=0.01), batch_size=BATCH
    )
    keep(model, first, second)


def averages_and_schedules():
    model = network()
    rate = keras.optimizers.schedules.CosineDecay(0.01, 30)
    optimizer = keras.optimizers.AdamW(rate, use_ema=True, ema_overwrite_frequency=7)
    weights = {0: 1.0, 1: 2.5}
    keep(model, fit(model, optimizer, batch_size=BATCH, class_weight=weights, shuffle="batch"))


def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = network()
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(1e-3), initial_scale=64)
    keep(model, fit(model, scaled, batch_size=BATCH))


def several_steps_of_an_execution():
    model = network()
    model.compile("nadam", "sparse_categorical_crossentropy", steps_per_execution=3)
    keep(model, model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, verbose=2, steps_per_epoch=7))


class Drawing(keras.utils.Sequence):
    """Draw from numpy's global generator, for training and validation alike."""

    def __init__(self, batches):
        self.rows = np.arange(batches * BATCH)

    def __len__(self):
        return len(self.rows) // BATCH

    def __getitem__(self, index):
        part = self.rows[index * BATCH : (index + 1) * BATCH]
        return X[part] * np.float32(1 + np.random.normal(0, 0.05)), Y[part]

    def on_epoch_end(self):
        np.random.shuffle(self.rows)


def sequences_that_draw():
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    keep(model, model.fit(Drawing(10), validation_data=Drawing(3), epochs=EPOCHS, verbose=2))


def mirrored():
    # before anything else initialises TensorFlow
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = network()
        model.build((None, 6))
        model.compile("adam", "sparse_categorical_crossentropy")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40).batch(BATCH)
    keep(model, model.fit(data, epochs=EPOCHS, verbose=2))


class Own(keras.Model):
    """A model with a step of its own and metrics as attributes."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = network(), keras.metrics.Mean("seen")

    def call(self, x, training=False):
        return self.inner(x, training=training)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compiled_loss(y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.seen.update_state(loss)
        return {"seen": self.seen.result()}

    @property
    def metrics(self):
        return [self.seen]


def own_step():
    model = Own()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40).batch(BATCH)
    model.compile("adam", "sparse_categorical_crossentropy")
    keep(model, model.fit(data, epochs=EPOCHS, verbose=2))


def loop():
    from rekindle.jobs import resumable

    model, optimizer = network(), keras.optimizers.Adam(1e-3)
    model.build((None, 6))
    model.compile(optimizer, "sparse_categorical_crossentropy")
    seen = []
    looped = resumable(model=model, optimizer=optimizer)
    for _ in looped.epochs(EPOCHS):
        for x, y in looped.batches((X, Y), BATCH):
            seen.append(float(model.train_on_batch(x, y)))
    np.savez("end.npz", seen, *model.get_weights(), *variables(optimizer))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
