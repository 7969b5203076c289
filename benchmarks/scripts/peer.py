"""One training for benchmarks/peers.py: stock callbacks, and one way to go on after a kill.

Every start of it takes the next position from plan.json and kills itself there: the same
positions whoever restores. Everything it trained is appended to steps.log.
"""

import json
import os
import signal
import sys

SAVER = sys.argv[1]
EVERY = 5
if len(sys.argv) > 2:
    sys.path.append(sys.argv[2])  # where Orbax is, behind everything else

import keras
import numpy as np
import tensorflow as tf

EPOCHS, BATCH, SIZE = 14, 16, 320
STEPS = SIZE // BATCH

with open("lives.log", "a+") as file:
    file.write("x")
    file.flush()
    life = os.fstat(file.fileno()).st_size
with open("plan.json") as file:
    plan = json.load(file)
# positions count batches from the beginning of the training; not an attribute of the
# callback, which a resume would put back to what it was in an earlier life
die_at = plan[life - 1] if life <= len(plan) else None


class Die(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        position = self.epoch * STEPS + batch + 1
        os.write(trained, f"{position}\n".encode())
        if die_at is not None and position >= die_at:
            os.kill(os.getpid(), signal.SIGKILL)


trained = os.open("steps.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
keras.utils.set_random_seed(7)
dice = np.random.default_rng(1)
x = dice.normal(size=(SIZE + 80, 12)).astype("float32")
y = (x[:, :4].sum(1) + 0.5 * x[:, 4] ** 2 > 0.3).astype("int32")
train = tf.data.Dataset.from_tensor_slices((x[:SIZE], y[:SIZE])).shuffle(SIZE, seed=3).batch(BATCH)
test = tf.data.Dataset.from_tensor_slices((x[SIZE:], y[SIZE:])).batch(40)


def built():
    model = keras.Sequential(
        [
            keras.layers.Input((12,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


model, first, saver = built(), 0, []
if SAVER == "backup":
    saver = [keras.callbacks.BackupAndRestore("saved")]
elif SAVER == "backup-batches":
    saver = [keras.callbacks.BackupAndRestore("saved", save_freq=EVERY)]
elif SAVER == "modelcheckpoint":
    saver = [keras.callbacks.ModelCheckpoint("saved/cp-{epoch:04d}.keras")]
    found = sorted(os.listdir("saved")) if os.path.isdir("saved") else []
    if found:
        model = keras.saving.load_model(f"saved/{found[-1]}")
        first = int(found[-1][3:7])
elif SAVER == "orbax":
    where = os.path.abspath("saved")
    os.makedirs(where, exist_ok=True)
    if any(name.isdigit() for name in os.listdir(where)):
        model = keras.saving.load_model(where)
        first = int(model.optimizer.iterations) // STEPS
    saver = [keras.callbacks.OrbaxCheckpoint(where, max_to_keep=3)]

history = model.fit(
    train,
    validation_data=test,
    epochs=EPOCHS,
    initial_epoch=first,
    verbose=0,
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", patience=3, min_delta=0.005),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=0.01),
        keras.callbacks.CSVLogger("log.csv", append=True),
        *saver,
        Die(),
    ],
)

np.savez("weights.npz", *[variable.numpy() for variable in model.trainable_variables])
with open("result.json", "w") as file:
    json.dump(
        {
            "epochs": max(history.epoch, default=-1) + 1,
            "history": len(history.epoch),
            "iterations": int(model.optimizer.iterations.numpy()),
            "rate": float(model.optimizer.learning_rate.numpy()),
        },
        file,
    )
