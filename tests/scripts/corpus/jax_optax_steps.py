"""Loop with optax over random rows, as in its documentation, with a moving average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rekindle.jobs import resumable

key = jax.random.PRNGKey(42)
key, data_key, noise_key = jax.random.split(key, 3)
xs = jax.random.normal(data_key, (160, 4))
ys = jnp.sum(xs * jnp.array([1.0, -2.0, 0.5, 3.0]), axis=-1)
ys = ys + 0.1 * jax.random.normal(noise_key, ys.shape)

schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 60)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
ema = optax.ema(0.9)
params = {"w": jnp.zeros(4), "b": jnp.zeros(())}
opt_state, ema_state = optimizer.init(params), ema.init(params)


@jax.jit
def step(params, opt_state, ema_state, x, y):
    def mse(params):
        return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)

    loss, grads = jax.value_and_grad(mse)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    average, ema_state = ema.update(params, ema_state)
    return params, opt_state, ema_state, average, loss


average, history = params, []
loop = resumable(every="2 steps")
for _epoch in loop.epochs(4):
    for i in loop.batches(range(15)):
        key, batch_key = jax.random.split(key)
        rows = jax.random.choice(batch_key, 160, (16,))
        params, opt_state, ema_state, average, loss = step(
            params, opt_state, ema_state, xs[rows], ys[rows]
        )
        history.append((i, float(loss)))
leaves = jax.tree.leaves((params, opt_state, average, key))
np.savez("end.npz", np.array(history), *map(np.asarray, leaves))
