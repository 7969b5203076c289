"""Run one ordinary Keras script per function: ``matrix.py NAME``. Imports nothing of rekindle.

Each writes the result of ``fit`` to ``history.json``, so that this is compared, too.
"""

import gc
import json
import math
import random
import sys

import keras
import numpy as np
import tensorflow as tf

EPOCHS = 5
dice = np.random.default_rng(1)
X = dice.normal(size=(330, 8, 8, 1)).astype("float32")
Y = (X.sum((1, 2, 3)) > 0).astype("int32") + (X[:, 0, 0, 0] > 0).astype("int32")
XV, YV = X[:60] * 0.9, Y[:60]
BATCH = 16

layers = keras.layers


def head(*before):
    """Build a small network with Dropout behind ``before``."""
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            *before,
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(3, activation="softmax"),
        ]
    )


def compiled(model, optimizer="adam", **more):
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **more)
    return model


def keep(*histories):
    with open("history.json", "w") as file:
        json.dump([[h.epoch, h.history] for h in histories], file)


def fit(model, *data, epochs=EPOCHS, **more):
    history = model.fit(*data, epochs=epochs, verbose=2, **more)
    keep(history)
    return history


def dataset(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y))


def arrays_shuffled():
    fit(compiled(head()), X, Y, batch_size=BATCH, validation_data=(XV, YV))


def arrays_in_order():
    fit(compiled(head()), X, Y, batch_size=BATCH, shuffle=False)


def arrays_shuffled_in_batches():
    fit(compiled(head()), X, Y, batch_size=BATCH, shuffle="batch")


def arrays_with_steps_per_epoch():
    fit(compiled(head()), X, Y, batch_size=BATCH, steps_per_epoch=9)


def validation_split():
    fit(compiled(head()), X, Y, batch_size=BATCH, validation_split=0.2)


def validation_every_second_epoch():
    fit(compiled(head()), X, Y, batch_size=BATCH, validation_data=(XV, YV), validation_freq=2)


def dataset_in_order():
    fit(compiled(head()), dataset().batch(BATCH))


def dataset_shuffled():
    fit(
        compiled(head()),
        dataset().shuffle(100).batch(BATCH).prefetch(2),
        validation_data=dataset(XV, YV).shuffle(60).batch(20).take(2),
    )


def dataset_split_of_one_shuffle():
    mixed = dataset().shuffle(330)
    fit(
        compiled(head()), mixed.take(270).batch(BATCH), validation_data=mixed.skip(270).batch(BATCH)
    )


def dataset_repeated():
    fit(
        compiled(head()),
        dataset().shuffle(50).repeat().batch(BATCH),
        steps_per_epoch=12,
        validation_data=dataset(XV, YV).repeat().batch(20),
        validation_steps=2,
    )


def dataset_of_unknown_size():
    fit(compiled(head()), dataset().shuffle(64).filter(lambda x, y: y < 5).batch(BATCH))


def dataset_with_stateful_map():
    noisy = dataset().map(lambda x, y: (x + tf.random.normal(tf.shape(x), stddev=0.1), y))
    fit(compiled(head()), noisy.shuffle(40).batch(BATCH))


def dataset_augmented():
    mixer = keras.Sequential([layers.RandomFlip(seed=3), layers.RandomTranslation(0.1, 0.1)])
    mixed = dataset().batch(BATCH).map(lambda x, y: (mixer(x, training=True), y))
    fit(compiled(head()), mixed)


class Rows(keras.utils.PyDataset):
    """Return batches of the arrays."""

    def __len__(self):
        return math.ceil(len(X) / BATCH)

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        return X[part], Y[part]


def pydataset():
    fit(compiled(head()), Rows(), shuffle=True, validation_data=(XV, YV))


def pydataset_with_workers():
    fit(compiled(head()), Rows(workers=2), shuffle=True)


def generator():
    def batches():
        mine = np.random.default_rng(5)
        while True:
            rows = mine.integers(0, len(X), BATCH)
            yield X[rows], Y[rows]

    fit(compiled(head()), batches(), steps_per_epoch=14)


def generator_that_draws_globally():
    def batches():
        while True:
            rows = np.random.permutation(len(X))[:320]
            for start in range(0, 320, BATCH):
                part = rows[start : start + BATCH]
                yield X[part] + np.float32(random.gauss(0, 0.05)), Y[part]

    fit(compiled(head()), batches(), steps_per_epoch=14)


class Drawing(keras.utils.PyDataset):
    """Shuffle and augment with every kind of random generator."""

    def __init__(self):
        super().__init__()
        self.rows = np.arange(len(X))
        self.files = list(range(len(X)))
        self.mine = np.random.default_rng(6)
        self.other = random.Random(8)

    def __len__(self):
        return len(X) // BATCH

    def __getitem__(self, index):
        part = self.rows[index * BATCH : (index + 1) * BATCH]
        noise = np.random.normal(0, 0.05) + self.mine.normal(0, 0.05) + self.other.gauss(0, 0.05)
        return X[part] * np.float32(1 + noise), Y[part]

    def on_epoch_end(self):
        np.random.shuffle(self.rows)
        random.shuffle(self.files)
        self.rows = self.rows[self.mine.permutation(len(self.rows))]


class Shaken(Rows):
    """Draw from numpy's global generator alone."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x * np.float32(1 + np.random.normal(0, 0.05)), y


def pydataset_that_draws():
    fit(compiled(head()), Drawing(), shuffle=True, validation_data=Shaken())


def pydataset_that_draws_over_epochs():
    fit(compiled(head()), Drawing(), shuffle=False, steps_per_epoch=20)


def two_fits_of_data_that_draws():
    model, data = compiled(head()), Drawing()
    first = model.fit(data, shuffle=False, epochs=2, verbose=2)
    second = model.fit(data, shuffle=False, epochs=2, verbose=2)
    keep(first, second)


def sample_weights():
    weights = np.linspace(0.5, 1.5, len(X)).astype("float32")
    fit(
        compiled(head(), weighted_metrics=["accuracy"]),
        X,
        Y,
        batch_size=BATCH,
        sample_weight=weights,
    )


def class_weights():
    fit(compiled(head()), X, Y, batch_size=BATCH, class_weight={0: 1.0, 1: 2.0, 2: 0.5})


def steps_per_execution():
    fit(compiled(head(), steps_per_execution=8), X, Y, batch_size=8, validation_data=(XV, YV))


def steps_per_execution_of_a_dataset():
    fit(compiled(head(), steps_per_execution=4), dataset().shuffle(99).batch(8))


def jit_compiled():
    fit(compiled(head(), jit_compile=True), X[:320], Y[:320], batch_size=BATCH)


def unbuilt():
    model = keras.Sequential(
        [
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    fit(compiled(model), X, Y, batch_size=BATCH)


class Own(keras.Model):
    """Subclass a model."""

    def __init__(self):
        super().__init__()
        self.flat = layers.Flatten()
        self.first = layers.Dense(12, activation="relu")
        self.drop = layers.Dropout(0.3)
        self.last = layers.Dense(3, activation="softmax")

    def call(self, x, training=False):
        return self.last(self.drop(self.first(self.flat(x)), training=training))


def subclassed():
    fit(compiled(Own()), dataset().shuffle(200).batch(BATCH))


class Noisy(layers.Layer):
    """Hold state that Keras does not list: a generator and a variable of TensorFlow."""

    def __init__(self):
        super().__init__()
        self.generator = tf.random.Generator.from_seed(11)
        self.calls = tf.Variable(0.0, trainable=False)

    def call(self, x, training=False):
        if training:
            self.calls.assign_add(1.0)
            x += self.generator.normal(tf.shape(x), stddev=0.1) / (1.0 + self.calls)
        return x


def tensorflow_state():
    generator = tf.random.Generator.from_seed(12)
    data = dataset().batch(BATCH).map(lambda x, y: (x + generator.normal([]), y))
    fit(compiled(head(Noisy())), data)


def unseeded_generator():
    mine = np.random.default_rng()

    class Shifted(Rows):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x + shift, y

    shift = mine.normal(size=(1, 8, 8, 1)).astype("float32")
    fit(compiled(head()), Shifted(), shuffle=False)


def pydataset_in_processes():
    fit(compiled(head()), Rows(workers=2, use_multiprocessing=True), shuffle=True, epochs=3)


class Teaching(keras.callbacks.Callback):
    """Train another model at the end of each epoch, and count in a class attribute."""

    count = 0
    seen = []

    def on_train_batch_end(self, batch, logs=None):
        type(self).count += 1
        self.seen.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        # a new model each time: its weights are no part of the run
        pupil = compiled(head())
        pupil.set_weights([weight * 0 + 0.1 for weight in pupil.get_weights()])
        pupil.fit(X[:32], Y[:32], verbose=0)
        self.model.evaluate(XV, YV, verbose=0)
        self.model.predict(XV, verbose=0)
        # uncollected generators of the other model would be in some checkpoints
        del pupil
        gc.collect()

    def on_train_end(self, logs=None):
        with open("class.json", "w") as file:
            json.dump([self.count, self.seen], file)


def fit_within_a_callback():
    fit(compiled(head()), X, Y, batch_size=BATCH, callbacks=[Teaching()], validation_data=(XV, YV))


def eagerly():
    fit(compiled(head(), run_eagerly=True), X[:96], Y[:96], batch_size=BATCH, epochs=3)


def fit_that_fails_and_is_tried_again():
    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 17:
                raise ValueError("it does not fit into memory")

    model = compiled(head())
    try:
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=2, callbacks=[Failing()])
    except ValueError:
        fit(model, X, Y, batch_size=8, epochs=2)


class Two(keras.Model):
    """Train with a custom step and two optimizers that are attributes."""

    def __init__(self):
        super().__init__()
        self.flat = layers.Flatten()
        self.left = layers.Dense(3, activation="softmax")
        self.right = layers.Dense(3, activation="softmax")
        self.left_optimizer = keras.optimizers.Adam(0.01)
        self.right_optimizer = keras.optimizers.RMSprop(0.005)
        self.mean = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.mean]

    def call(self, x, training=False):
        return self.left(self.flat(x)) + self.right(self.flat(x))

    def train_step(self, data):
        x, y = data
        for side, optimizer in (
            (self.left, self.left_optimizer),
            (self.right, self.right_optimizer),
        ):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(y, side(self.flat(x)))
                )
            optimizer.apply_gradients(
                zip(
                    tape.gradient(loss, side.trainable_variables),
                    side.trainable_variables,
                    strict=True,
                )
            )
            self.mean.update_state(loss)
        return {"loss": self.mean.result()}


def two_optimizers():
    model = Two()
    model.compile()
    fit(model, dataset().shuffle(200).batch(BATCH))


def several_outputs():
    source = layers.Input((8, 8, 1))
    body = layers.Dropout(0.2)(layers.Dense(12, activation="relu")(layers.Flatten()(source)))
    model = keras.Model(
        source,
        {
            "kind": layers.Dense(3, activation="softmax", name="kind")(body),
            "sum": layers.Dense(1, name="sum")(body),
        },
    )
    model.compile(
        "adam",
        {"kind": "sparse_categorical_crossentropy", "sum": "mse"},
        metrics={"kind": ["accuracy"], "sum": ["mae"]},
    )
    fit(
        model,
        X,
        {"kind": Y, "sum": X.sum((1, 2, 3))},
        batch_size=BATCH,
        validation_data=(XV, {"kind": YV, "sum": XV.sum((1, 2, 3))}),
    )


def noise_and_augmentation():
    model = head(
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomFlip("horizontal"),
        layers.GaussianNoise(0.1),
        layers.Conv2D(6, 3),
        layers.BatchNormalization(),
        layers.SpatialDropout2D(0.2),
    )
    fit(compiled(model), X, Y, batch_size=BATCH, validation_data=(XV, YV))


def lstm():
    model = keras.Sequential(
        [
            layers.Input((8, 8)),
            layers.LSTM(8, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    fit(compiled(model), X[..., 0], Y, batch_size=BATCH, epochs=3)


def adamw_with_ema():
    optimizer = keras.optimizers.AdamW(
        0.005, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=11
    )
    fit(compiled(head(), optimizer), X, Y, batch_size=BATCH)


def sgd_with_momentum():
    fit(
        compiled(head(), keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)),
        X,
        Y,
        batch_size=BATCH,
    )


def schedule():
    rate = keras.optimizers.schedules.CosineDecay(0.01, 90)
    fit(compiled(head(), keras.optimizers.Adam(rate)), X, Y, batch_size=BATCH)


def gradient_accumulation():
    fit(
        compiled(head(), keras.optimizers.Adam(0.01, gradient_accumulation_steps=4)),
        X,
        Y,
        batch_size=BATCH,
    )


def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    fit(compiled(head()), X, Y, batch_size=BATCH)


def bfloat16():
    keras.config.set_dtype_policy("bfloat16")
    fit(compiled(head()), X, Y, batch_size=BATCH)


def mirrored(data=lambda: (X, Y), **more):
    # before anything else initialises TensorFlow
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = compiled(head(layers.BatchNormalization()))
    fit(model, *data(), epochs=3, **more)


def mirrored_arrays():
    mirrored(batch_size=BATCH)


def mirrored_dataset():
    mirrored(lambda: (dataset().shuffle(100).batch(BATCH),))


def stock_callbacks():
    fit(
        compiled(head()),
        X,
        Y,
        batch_size=BATCH,
        epochs=9,
        validation_data=(XV, YV),
        callbacks=[
            keras.callbacks.EarlyStopping(
                "loss", patience=2, min_delta=0.02, restore_best_weights=True
            ),
            keras.callbacks.ReduceLROnPlateau(
                "val_loss", patience=1, factor=0.5, min_delta=0.05, cooldown=1
            ),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.95),
            keras.callbacks.ModelCheckpoint(
                "best.weights.h5",
                monitor="val_accuracy",
                save_best_only=True,
                save_weights_only=True,
            ),
            keras.callbacks.ModelCheckpoint(
                "every-{epoch:04d}.weights.h5", save_freq=8, save_weights_only=True
            ),
            keras.callbacks.CSVLogger("log.csv"),
            keras.callbacks.TerminateOnNaN(),
        ],
    )


def tensorboard():
    fit(
        compiled(head()),
        X,
        Y,
        batch_size=BATCH,
        validation_data=(XV, YV),
        callbacks=[keras.callbacks.TensorBoard("board", update_freq=5)],
    )
    seen = []
    for file in tf.io.gfile.glob("board/*/events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(file):
            seen.extend(
                [file.split("/")[1], value.tag, event.step, float(tf.make_ndarray(value.tensor))]
                for value in event.summary.value
                if value.tag != "keras" and "steps_per_second" not in value.tag
            )
    with open("events.json", "w") as file:
        json.dump(sorted(seen), file)


class Counting(keras.callbacks.Callback):
    """Hold plain attributes, changed in every method."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs, self.losses = 0, 0, []
        self.seen = {"last": np.float32(0), "places": set()}
        self.mine = np.random.default_rng(9)

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs += 1

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        self.seen["last"] = np.float32(logs["loss"])
        self.seen["places"].add((self.epochs, batch % 3))
        if self.mine.random() < 0.3:
            self.losses.append(logs["loss"])

    def on_train_end(self, logs=None):
        with open("counted.json", "w") as file:
            json.dump(
                [
                    self.batches,
                    self.epochs,
                    self.losses,
                    float(self.seen["last"]),
                    sorted(self.seen["places"]),
                ],
                file,
            )


class Speaking(keras.callbacks.Callback):
    """Define state_dict and load_state_dict."""

    def __init__(self):
        super().__init__()
        self.made = [object()]
        self.total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.total += float(logs["loss"])

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]

    def on_train_end(self, logs=None):
        with open("total.json", "w") as file:
            json.dump(self.total, file)


def own_callbacks():
    fit(compiled(head()), X, Y, batch_size=BATCH, callbacks=[Counting(), Speaking()])


def two_fits():
    model = compiled(head(layers.Conv2D(4, 3), layers.BatchNormalization()))
    first = model.fit(X, Y, batch_size=BATCH, epochs=3, verbose=2)
    model.layers[0].trainable = False
    compiled(model, keras.optimizers.SGD(0.01))
    second = model.fit(X, Y, batch_size=8, epochs=3, verbose=2)
    keep(first, second)


def three_fits():
    stop = keras.callbacks.EarlyStopping("loss", patience=1)
    data = dataset().shuffle(100).batch(BATCH)
    model = compiled(head())
    first = model.fit(data, epochs=2, verbose=2, callbacks=[stop])
    loss, _ = model.evaluate(XV, YV, verbose=0)
    second = model.fit(data, epochs=5, initial_epoch=2, verbose=2, callbacks=[stop])
    other = compiled(head(layers.GaussianNoise(0.1 if loss > 0 else 0.2)))
    third = other.fit(data, epochs=2, verbose=2)
    keep(first, second, third)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
