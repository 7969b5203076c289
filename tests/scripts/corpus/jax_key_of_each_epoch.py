"""As the MNIST examples of flax: the key is split in each epoch, and permutes its rows."""

import jax
import jax.numpy as jnp
import numpy as np

from rekindle.jobs import resumable

rows = np.random.default_rng(0)
images = rows.normal(size=(96, 6)).astype("float32")
labels = (images.sum(axis=1) > 0).astype("int32")


@jax.jit
def apply(params, a, b):
    def loss_of(params):
        logits = a @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, logits) - b * logits)

    loss, grads = jax.value_and_grad(loss_of)(params)
    return jax.tree.map(lambda one, grad: one - 0.1 * grad, params, grads), loss


def train(rng):
    params, losses = {"w": jnp.zeros(6), "b": jnp.zeros(())}, []
    loop = resumable(every="2 steps")
    for _ in loop.epochs(5):
        rng, input_rng = jax.random.split(rng)
        order = jax.random.permutation(input_rng, len(images))
        perms = order.reshape((-1, 8))
        for perm in loop.batches(perms, batch_size=1, shuffle=False):
            params, loss = apply(params, images[perm[0]], labels[perm[0]])
            losses.append(float(loss))
    return params, losses


params, losses = train(jax.random.key(0))
np.savez("end.npz", np.array(losses), *map(np.asarray, jax.tree.leaves(params)))
