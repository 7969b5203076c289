"""Train with everything that a wrong engine could restore wrong: ``faulty.py NAME``."""

import sys

import keras
import numpy as np

dice = np.random.default_rng(1)
X = dice.normal(size=(128, 12)).astype("float32")
Y = (X.sum(1) > 0).astype("int32")
EPOCHS = 5


def network():
    model = keras.Sequential(
        [
            keras.layers.Input((12,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


class Clipped(keras.callbacks.Callback):
    """Multiply the learning rate by noise and by a factor that falls with each batch."""

    def __init__(self):
        super().__init__()
        self.factor = 1.0

    def on_train_batch_begin(self, batch, logs=None):
        self.factor *= 0.99
        self.model.optimizer.learning_rate = 0.01 * self.factor * np.random.uniform(0.9, 1.1)


def plain():
    network().fit(X, Y, batch_size=16, epochs=EPOCHS, verbose=2, callbacks=[Clipped()])


def closure():
    seen = {"epochs": 0}

    def schedule(epoch, rate):
        seen["epochs"] += 1
        return 0.01 / seen["epochs"]

    rates = keras.callbacks.LearningRateScheduler(schedule)
    network().fit(X, Y, batch_size=16, epochs=EPOCHS, verbose=2, callbacks=[rates])


class Writing(keras.callbacks.Callback):
    """Count epochs into a dictionary that another callback reads."""

    def __init__(self, shared):
        super().__init__()
        self.shared = shared

    def on_epoch_end(self, epoch, logs=None):
        self.shared["epochs"] = self.shared.get("epochs", 0) + 1


class Reading(Writing):
    """Set the learning rate by the dictionary."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.01 / (1 + self.shared.get("epochs", 0))

    def on_epoch_end(self, epoch, logs=None):
        pass


def shared():
    one = {}
    callbacks = [Reading(one), Writing(one)]
    network().fit(X, Y, batch_size=16, epochs=EPOCHS, verbose=2, callbacks=callbacks)


class Average(keras.callbacks.Callback):
    """Hold a second model with the moving average of the weights."""

    def on_train_begin(self, logs=None):
        self.average = keras.models.clone_model(self.model)
        self.average.set_weights(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        pairs = zip(self.average.get_weights(), self.model.get_weights(), strict=True)
        self.average.set_weights([0.9 * mine + 0.1 * new for mine, new in pairs])


def average():
    network().fit(X, Y, batch_size=16, epochs=EPOCHS, verbose=2, callbacks=[Average()])


def cached():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(128, seed=3).cache().batch(16)
    network().fit(data, epochs=EPOCHS, verbose=2)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
