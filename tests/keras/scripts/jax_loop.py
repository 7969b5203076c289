"""Train with JAX alone: train state and key in local variables, replaced in each step."""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rekindle.jobs import resumable


class Train(NamedTuple):
    """Hold what a step changes."""

    params: dict
    momentum: dict
    step: jax.Array


def loss_of(params, x, y, key):
    hidden = jnp.tanh(x @ params["w1"] + params["b1"])
    hidden = hidden * jax.random.bernoulli(key, 0.8, hidden.shape)
    return ((hidden @ params["w2"] - y) ** 2).mean()


@jax.jit
def train_step(state, x, y, key):
    loss, gradients = jax.value_and_grad(loss_of)(state.params, x, y, key)
    momentum = jax.tree.map(lambda a, b: 0.9 * a + b, state.momentum, gradients)
    params = jax.tree.map(lambda a, b: a - 0.05 * b, state.params, momentum)
    return Train(params, momentum, state.step + 1), loss


dice = np.random.default_rng(0)
X = dice.normal(size=(200, 8)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
key, first, second = jax.random.split(jax.random.key(3), 3)
params = {
    "w1": jax.random.normal(first, (8, 16)) * 0.3,
    "b1": jnp.zeros(16, jnp.bfloat16),
    "w2": jax.random.normal(second, (16, 1)) * 0.3,
}
state = Train(params, jax.tree.map(jnp.zeros_like, params), jnp.asarray(0))
losses = []
loop = resumable(every="4 steps")
for _epoch in loop.epochs(4):
    for x, y in loop.batches((X, Y), batch_size=16):
        key, sub = jax.random.split(key)
        state, loss = train_step(state, x, y, sub)
        losses.append(float(loss))
        loop.log(loss=losses[-1])

assert not {"keras", "tensorflow"} & sys.modules.keys()
leaves = jax.tree.leaves((state, jax.random.key_data(key)))
np.savez(
    "end.npz",
    np.array(losses),
    np.array([one.weak_type for one in leaves]),
    *(np.asarray(one.astype(jnp.float32)) for one in leaves),
)
