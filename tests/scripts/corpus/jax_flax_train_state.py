"""MNIST example of flax: a train state, and a permutation of its own for each epoch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from rekindle.jobs import resumable


class CNN(nn.Module):
    """A small network."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(features=4, kernel_size=(3, 3))(x))
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        return nn.Dense(features=4)(x.reshape((x.shape[0], -1)))


@jax.jit
def train_step(state, images, labels):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, images)
        one_hot = jax.nn.one_hot(labels, 4)
        return jnp.mean(optax.softmax_cross_entropy(logits=logits, labels=one_hot))

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


dice = np.random.default_rng(0)
labels = dice.integers(0, 4, 160)
images = dice.normal(0, 0.3, (160, 8, 8, 1)).astype("float32")
images[np.arange(160), labels * 2] += 1.0

rng = jax.random.key(0)
rng, init_rng = jax.random.split(rng)
cnn = CNN()
state = train_state.TrainState.create(
    apply_fn=cnn.apply,
    params=cnn.init(init_rng, jnp.ones([1, 8, 8, 1]))["params"],
    tx=optax.sgd(0.1, momentum=0.9),
)
summary = []
loop = resumable(every="2 steps")
for epoch in loop.epochs(4):
    rng, input_rng = jax.random.split(rng)
    perms = np.asarray(jax.random.permutation(input_rng, 160)).reshape(10, 16)
    epoch_loss = []
    for perm in loop.batches(list(perms)):
        state, loss = train_step(state, images[perm], labels[perm])
        epoch_loss.append(float(loss))
    summary.append(np.mean(epoch_loss))
    loop.log(loss=summary[-1])
np.savez(
    "end.npz", np.array(summary), *map(np.asarray, jax.tree.leaves((state.params, state.opt_state)))
)
