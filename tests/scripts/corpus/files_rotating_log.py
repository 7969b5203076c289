"""A log that the logging module rotates while two models train, one after the other."""

import logging
from logging.handlers import RotatingFileHandler

import numpy as np
import tensorflow as tf

log = logging.getLogger("training")
log.setLevel(logging.INFO)
handler = RotatingFileHandler("training.log", mode="w", maxBytes=400, backupCount=9)
handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
log.addHandler(handler)


class ToLog(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        log.info("batch %d: loss %.6f", batch, logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        log.info("epoch %d is over", epoch)


rng = np.random.default_rng(33)
x, y = rng.random((48, 4)).astype("float32"), rng.random(48)
for width in (4, 6):
    tf.keras.utils.set_random_seed(width)
    model = tf.keras.Sequential(
        [tf.keras.Input((4,)), tf.keras.layers.Dense(width, "tanh"), tf.keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    model.fit(x, y, epochs=2, batch_size=12, verbose=0, callbacks=[ToLog()])
    np.savez(f"result-{width}.npz", *model.get_weights())
