"""A perceptron in plain numpy, in a Python without any library for training."""

import numpy as np

from rekindle.jobs import resumable

rng = np.random.default_rng(3)
X = rng.normal(size=(90, 5))
Y = (X.sum(1) > 0) * 1.0
w = np.zeros(5)
state = {"w": w, "rng": rng, "best": 9.9}
loop = resumable(state=state, every=3)
for _ in loop.epochs(4):
    for x, y in loop.batches((X, Y), 10):
        p = 1 / (1 + np.exp(-x @ w))
        w -= 0.1 * x.T @ (p - y) + 0.001 * rng.normal(size=5)
        loss = float(np.mean((p - y) ** 2))
        state["best"] = min(state["best"], loss)
        loop.log(loss=loss)
np.savez("end.npz", w, state["best"])
