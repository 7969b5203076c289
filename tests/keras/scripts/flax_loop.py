"""Train a model of flax with optax, in a train state that each step replaces."""

import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from rekindle.jobs import resumable


class Net(nn.Module):
    """Two layers with dropout and batch statistics."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.relu(nn.Dense(16)(x)))
        return nn.Dense(1)(nn.Dropout(0.3, deterministic=not train)(x))


class TrainState(train_state.TrainState):
    """Hold batch statistics and the key of dropout, too."""

    batch_stats: Any
    key: jax.Array


dice = np.random.default_rng(0)
X = dice.normal(size=(200, 8)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")

net = Net()
variables = net.init(jax.random.key(0), X[:2], train=False)
state = TrainState.create(
    apply_fn=net.apply,
    params=variables["params"],
    tx=optax.adamw(optax.cosine_decay_schedule(1e-2, 52)),
    batch_stats=variables["batch_stats"],
    key=jax.random.key(1),
)


@jax.jit
def train_step(state, x, y):
    key = jax.random.fold_in(state.key, state.step)

    def loss_of(params):
        out, found = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            *(x, True),
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return jnp.mean((out - y) ** 2), found

    (loss, found), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients, batch_stats=found["batch_stats"]), loss


losses = []
kept = {"train": state, "average": state.params}
loop = resumable(state=kept, every="4 steps")
for _epoch in loop.epochs(4):
    for x, y in loop.batches((X, Y), batch_size=16):
        kept["train"], loss = train_step(kept["train"], x, y)
        kept["average"] = optax.incremental_update(kept["train"].params, kept["average"], 0.1)
        losses.append(float(loss))
        loop.log(loss=losses[-1])

assert not {"keras", "tensorflow"} & sys.modules.keys()
leaves = jax.tree.leaves((kept["train"].params, kept["train"].opt_state, kept["average"]))
np.savez("end.npz", np.array(losses), *map(np.asarray, leaves))
