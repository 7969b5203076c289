"""GradientTape loop over a dataset, as the guide to writing a training loop from scratch."""

import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(14)
x, y = rng.random((96, 8)).astype("float32"), rng.integers(0, 3, 96)
dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(buffer_size=1024).batch(16)
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
optimizer = keras.optimizers.Adam(learning_rate=1e-3)
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    grads = tape.gradient(loss, model.trainable_weights)
    optimizer.apply(grads, model.trainable_weights)
    return loss


for epoch in range(60):
    for step, (x_batch, y_batch) in enumerate(dataset):
        loss = train_step(x_batch, y_batch)
    print(f"epoch {epoch}: {float(loss):.4f}")
np.savez("result.npz", *model.get_weights())
