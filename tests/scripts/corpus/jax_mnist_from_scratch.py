"""Classifier from scratch, as in the examples of JAX: a stream of batches and SGD by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.random as npr
from jax import grad, jit, random

from rekindle.jobs import resumable

SIZES, STEP, EPOCHS, BATCH = [20, 16, 4], 0.05, 4, 16


def init_random_params(scale, sizes, rng):
    return [
        (scale * rng.randn(m, n).astype("float32"), scale * rng.randn(n).astype("float32"))
        for m, n in itertools.pairwise(sizes)
    ]


def predict(params, inputs):
    activations = inputs
    for w, b in params[:-1]:
        activations = jnp.tanh(jnp.dot(activations, w) + b)
    final_w, final_b = params[-1]
    return jax.nn.log_softmax(jnp.dot(activations, final_w) + final_b)


def loss(params, batch):
    inputs, targets = batch
    return -jnp.mean(jnp.sum(predict(params, inputs) * targets, axis=1))


@jit
def update(params, batch):
    grads = grad(loss)(params, batch)
    return [(w - STEP * dw, b - STEP * db) for (w, b), (dw, db) in zip(params, grads, strict=True)]


key = random.key(0)
labels = np.asarray(random.randint(key, (160,), 0, 4))
images = np.asarray(random.normal(key, (160, 20)) + 2 * jax.nn.one_hot(labels, 20))
targets = np.eye(4, dtype="float32")[labels]
shuffles = npr.RandomState(0)


def data_stream():
    perm = shuffles.permutation(160)
    for start in range(0, 160, BATCH):
        rows = perm[start : start + BATCH]
        yield images[rows], targets[rows]


params = init_random_params(0.1, SIZES, npr.RandomState(1))
losses = []
loop = resumable(state={"shuffles": shuffles}, every="2 steps")
for _epoch in loop.epochs(EPOCHS):
    for batch in loop.batches(data_stream):
        params = update(params, batch)
    losses.append(float(loss(params, (images, targets))))
    loop.log(loss=losses[-1])
np.savez("end.npz", np.array(losses), *map(np.asarray, jax.tree.leaves(params)))
