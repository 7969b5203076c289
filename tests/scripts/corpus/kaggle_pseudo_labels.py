"""Train, predict unlabelled rows, add the sure ones, train again."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(39)
X, y = rng.random((80, 8)).astype("float32"), rng.integers(0, 2, 80)
X_test = rng.random((60, 8)).astype("float32")


def build():
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1, "sigmoid")]
    )
    model.compile("adam", "binary_crossentropy")
    return model


model = build()
model.fit(X, y, epochs=3, batch_size=16, verbose=0)
for round_ in range(2):
    p = model.predict(X_test, verbose=0).ravel()
    sure = np.abs(p - 0.5) >= np.median(np.abs(p - 0.5))
    X_more = np.concatenate([X, X_test[sure]])
    y_more = np.concatenate([y, (p[sure] > 0.5).astype(int)])
    model = build()
    model.fit(X_more, y_more, epochs=3, batch_size=16, verbose=0)
np.savez("result.npz", *model.get_weights())
