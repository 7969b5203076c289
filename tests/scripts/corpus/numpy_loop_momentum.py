"""Least squares in numpy alone: an order that is shuffled in place, a rate that decays."""

import numpy as np

from rekindle.jobs import resumable


def gradient(w, a, b):
    return 2 * a.T @ (a @ w - b) / len(a)


def main():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 6))
    y = x @ rng.normal(size=6) + 0.1 * rng.normal(size=120)
    w, velocity, rate, losses = np.zeros(6), np.zeros(6), 0.2, []
    order = np.arange(len(x))
    loop = resumable()
    for _ in loop.epochs(6):
        rate *= 0.8
        rng.shuffle(order)
        for part in loop.batches([order[i : i + 12].copy() for i in range(0, 120, 12)]):
            velocity = 0.9 * velocity - rate * gradient(w, x[part], y[part])
            w = w + velocity
            losses.append(float(np.mean((x @ w - y) ** 2)))
    np.savez("end.npz", w, velocity, rate, np.array(losses))


main()
