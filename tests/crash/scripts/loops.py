"""Run one training loop per function: ``loops.py NAME``.

Each writes its final state to ``end.npz`` and what it observed in between to ``seen.json``.
"""

import collections
import json
import sys
import types

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

keras.utils.set_random_seed(3)
dice = np.random.default_rng(1)
# the last of 21 batches is smaller than the others and traced separately
X = dice.normal(size=(330, 12)).astype("float32")
Y = (X.sum(1) > 0).astype("int32") + (X[:, 0] > 0).astype("int32")
EPOCHS, STEPS, BATCH = 5, 90, 16
layers = keras.layers


def network(out=3):
    return keras.Sequential(
        [
            layers.Input((12,)),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.4),
            layers.BatchNormalization(),
            layers.Dense(out),
        ]
    )


def compiled():
    model = network()
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


def keep(seen, *models, **more):
    """Write everything that must be equal at the end."""
    arrays = {
        f"{number}-{index:03d}": np.asarray(variable)
        for number, model in enumerate(models)
        for index, variable in enumerate(
            [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
        )
    }
    arrays |= {name: np.asarray(value) for name, value in more.items()}
    arrays["draws"] = np.array([np.random.rand(), float(tf.random.uniform([]))])
    with open("seen.json", "w") as file:
        json.dump(seen, file)
    # contains no time stamps, unlike a zip of numpy's
    with open("end.npz", "wb") as file:
        file.writelines(name.encode() + value.tobytes() for name, value in sorted(arrays.items()))


def mixed():
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(100).batch(BATCH).prefetch(2)


def train_on_batch():
    model, seen = compiled(), []
    loop = resumable(STEPS, model=model, state={"seen": seen}, every=7)
    batches = loop.data(mixed())
    for step in loop:
        x, y = next(batches)
        seen.append([step, *map(float, model.train_on_batch(x, y))])
    assert [row[0] for row in seen] == list(range(STEPS))
    keep(seen, model)


def gradient_tape():
    # compiled for evaluate(), and trained with another optimizer
    model, optimizer = compiled(), keras.optimizers.AdamW(3e-3, use_ema=True)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    mean, accuracy = keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy()
    shared = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(330)
    train, valid = shared.take(266).batch(BATCH), shared.skip(266).batch(BATCH)
    state = {"best": 0.0, "history": [], "mixup": np.random.default_rng(9)}
    history = state["history"]
    loop = resumable(
        model=model, optimizer=optimizer, metrics=[mean, accuracy], state=state, every=7
    )
    train, valid = loop.data(train), loop.data(valid)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            out = model(x, training=True)
            loss = loss_of(y, out)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        mean.update_state(loss)
        accuracy.update_state(y, out)

    for epoch in loop.epochs(EPOCHS):
        mean.reset_state()
        accuracy.reset_state()
        noise = np.random.rand(12).astype("float32") * 0.1
        for x, y in loop.batches(train):
            step(x * state["mixup"].uniform(0.8, 1.2) + noise, y)
        result = {"loss": float(mean.result()), "accuracy": float(accuracy.result())}
        accuracy.reset_state()
        for x, y in valid:
            accuracy.update_state(y, model(x))
        result["val_accuracy"] = float(accuracy.result())
        state["best"] = max(state["best"], result["val_accuracy"])
        history.append([epoch, result])
        loop.log(**result)
    assert [row[0] for row in history] == list(range(EPOCHS))
    keep([history, state["best"]], model, own=np.array(state["mixup"].random(3)))


def arrays_and_generator():
    """Use two optimizers, two inner loops in an epoch, and a new dataset in each epoch."""
    first, second = compiled(), compiled()
    seen = []

    def rows():
        for start in np.random.permutation(20)[:12]:
            yield X[start : start + BATCH], Y[start : start + BATCH]

    loop = resumable(model={"a": first, "b": second}, state={"seen": seen}, every=5)
    for epoch in loop.epochs(EPOCHS):
        for x, y in loop.batches((X, Y), 32):
            seen.append([epoch, float(first.train_on_batch(x, y)[0])])
        for x, y in loop.batches(rows):
            seen.append([epoch, float(second.train_on_batch(x + np.random.rand(), y)[0])])
    keep(seen, first, second)


def left_by_break():
    """Leave a loop by break, then run a `fit`, a loop that stops itself, and a `fit`."""
    model, seen = compiled(), []
    loop = resumable(1000, model=model, state={"seen": seen}, every=7)
    batches = loop.data((X, Y), BATCH)
    for step in loop:
        x, y = next(batches)
        seen.append(float(model.train_on_batch(x, y)[0]))
        if step == 40:
            break
    history = model.fit(mixed(), epochs=2, verbose=2)
    other = resumable(1000, model=model, every=7)
    batches = other.data(mixed)
    for step in other:
        model.train_on_batch(*next(batches))
        if step == 40:
            other.stop()
    assert other.step == 41
    again = model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=2)
    keep([seen, history.history, again.history], model)


def handmade_statistics():
    """Moving statistics in plain variables, alone and in a list: what Keras does not track.

    After tensorflow/tensorflow#46325 (a batch normalization written by hand) and
    keras-team/tf-keras#513 (variables appended to a list).
    """

    class Normalize(layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = tf.Variable(tf.zeros(12), trainable=False)
            self.moments = []
            self.moments.append(tf.Variable(tf.ones(12), trainable=False))

        def call(self, x, training=False):
            if training:
                mean, variance = tf.nn.moments(x, [0])
                self.mean.assign(0.9 * self.mean + 0.1 * mean)
                self.moments[0].assign(0.9 * self.moments[0] + 0.1 * variance)
            return (x - self.mean) / tf.sqrt(self.moments[0] + 1e-3)

    normalize = Normalize()
    model = keras.Sequential([layers.Input((12,)), normalize, layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    seen = []
    loop = resumable(model=model, state={"seen": seen}, every=6)
    for epoch in loop.epochs(EPOCHS):
        for x, y in loop.batches((X, Y), BATCH):
            seen.append([epoch, float(model.train_on_batch(x, y))])
    keep(seen, model, mean=normalize.mean, variance=normalize.moments[0])


class Meter:
    """Hold what training makes of it, one object deep."""

    def __init__(self):
        self.seen, self.recent = [], collections.deque(maxlen=5)
        self.inner = types.SimpleNamespace(worst=0.0)

    def add(self, loss):
        self.seen.append(loss)
        self.recent.append(loss)
        self.inner.worst = max(self.inner.worst, loss)


called = 0


def scaled(x):
    global called
    called += 1
    return x * (1.0 + called / 1000.0)


def python_objects():
    """Change Python objects that `resumable` does not get: in place, and by rebinding."""
    model = compiled()
    losses, counts, meter, best, since = [], collections.Counter(), Meter(), float("inf"), 0
    table, own = np.zeros(4), np.random.default_rng(5)
    calls = 0

    def smoothed(loss):
        nonlocal calls
        calls += 1
        return loss / calls

    loop = resumable(STEPS, model=model, every=7)
    batches = loop.data(mixed())
    for step in loop:
        x, y = next(batches)
        # what the loop holds decides the next step
        noise = own.normal(scale=0.01 + 0.001 * since, size=x.shape[1:]).astype("float32")
        loss = float(model.train_on_batch(scaled(x) + noise, y)[0])
        losses.append(loss)
        counts[int(y[0])] += 1
        meter.add(smoothed(loss))
        table[step % 4] += loss
        best, since = (loss, 0) if loss < best else (best, since + 1)
        last = loss
    keep(
        [losses, sorted(counts.items()), vars(meter.inner), best, since, calls, called, last],
        model,
        trail=meter.seen,
        recent=meter.recent,
        table=table,
    )


def epochs_in_functions():
    """Train an epoch in a function of its own, which holds statistics of the epoch."""
    model, history, best = compiled(), [], 0.0
    loop = resumable(model=model, every=7)
    train = loop.data((X, Y), BATCH)

    def train_epoch(epoch):
        total, right, meter = 0.0, 0, Meter()
        for x, y in loop.batches(train):
            loss, accuracy = model.train_on_batch(x * (1.0 + total / 1e4), y)
            total += float(loss)
            right += round(float(accuracy) * len(x))
            meter.add(float(loss))
        history.append([epoch, total, right, meter.seen])
        return right / len(X)

    for epoch in loop.epochs(EPOCHS):
        best = max(best, train_epoch(epoch))
    keep([history, best], model)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
