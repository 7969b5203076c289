"""Random restarts until there are enough results on disk, the best of which is taken."""

from glob import glob

import keras
import numpy as np

ENOUGH = 5
rng = np.random.default_rng(96)
x = rng.normal(size=(48, 5)).astype("float32")
y = (x[:, 0] * x[:, 1] > 0).astype("float32")


def restart():
    model = keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    losses = model.fit(x, y, epochs=2, batch_size=16, verbose=0).history["loss"]
    return losses[-1], model.get_weights()


while len(glob("restart_*.npz")) < ENOUGH:
    loss, weights = restart()
    np.savez(f"restart_{len(glob('restart_*.npz'))}.npz", np.array(loss), *weights)
files = sorted(glob("restart_*.npz"))
best = min(files, key=lambda file: float(np.load(file)["arr_0"]))
np.savez("result.npz", *np.load(best).values())
