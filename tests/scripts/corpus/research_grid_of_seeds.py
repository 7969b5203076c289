"""An experiment over settings and seeds that skips finished runs, so that it can be restarted."""

from pathlib import Path

import keras
import numpy as np

GRID = {"small": {"units": 4, "rate": 0.2}, "large": {"units": 8, "rate": 0.2}}
rng = np.random.default_rng(71)
x, y = rng.random((64, 6)).astype("float32"), rng.integers(0, 2, 64)


def train(units, rate, seed, folder):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dropout(rate),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    folder.mkdir(parents=True)
    model.save_weights(folder / "model.weights.h5")
    np.savez(folder / "model.npz", *model.get_weights())


for name, settings in GRID.items():
    for seed in (0, 1):
        run = Path("results") / f"{name}_s{seed}"
        if (run / "model.npz").exists():
            print(run, "is already trained")
            continue
        train(**settings, seed=seed, folder=run)
rows = [sum(w.sum() for w in np.load(f).values()) for f in sorted(Path("results").rglob("*.npz"))]
np.savez("result.npz", np.array(rows))
