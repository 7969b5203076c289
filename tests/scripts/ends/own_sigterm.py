"""A training whose script handles SIGTERM itself, in the way that its argument names.

Lightning-AI/pytorch-lightning#19916 and #14893, NVIDIA-NeMo/Megatron-Bridge#5068,
facebookincubator/submitit#1677: such scripts end with 0, or swallow the signal.
"""

import hashlib
import os
import signal
import sys
import time

import numpy as np
import tensorflow as tf

how, result = sys.argv[1], sys.argv[2]
stopping = False


def own(signum, frame):
    global stopping
    stopping = True
    print("my own handler", flush=True)
    if how == "exit0":
        sys.exit(0)
    if how == "os_exit":
        os._exit(0)
    if how in ("interrupt", "swallow"):
        raise KeyboardInterrupt


if how == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif how == "default":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
elif how == "chain":
    before = signal.getsignal(signal.SIGTERM)

    def chained(signum, frame):
        own(signum, frame)
        if callable(before):
            before(signum, frame)

    signal.signal(signal.SIGTERM, chained)
elif how != "none":
    signal.signal(signal.SIGTERM, own)


class Watch(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if how != "none" and os.environ["REKINDLE_ATTEMPT"] == "1":
            time.sleep(0.5)  # until the signal comes
        if how == "flag" and stopping:
            self.model.stop_training = True


rng = np.random.default_rng(0)
x = rng.normal(size=(160, 12)).astype("float32")
y = (x[:, :1] * 2).astype("float32")
model = tf.keras.Sequential(
    [
        tf.keras.layers.Input((12,)),
        tf.keras.layers.Dense(16, activation="relu"),
        tf.keras.layers.Dropout(0.3),
        tf.keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse")


def fit(epochs):
    try:
        model.fit(x, y, batch_size=16, epochs=epochs, callbacks=[Watch()], verbose=0)
    except KeyboardInterrupt:
        model.save_weights("partial.weights.h5")
        if how == "interrupt":
            sys.exit(0)


fit(12)
# code that continues after the signal must not train another model on top of an unfinished one
fit(2)
with open(result, "w") as file:
    file.write(hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.weights)).hexdigest())
