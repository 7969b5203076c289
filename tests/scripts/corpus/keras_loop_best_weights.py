"""Loop from scratch as in the guide of TensorFlow, with validation, best weights and patience."""

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

keras.utils.set_random_seed(87)
rng = np.random.default_rng(87)
x, y = rng.random((128, 8)).astype("float32"), rng.integers(0, 3, 128)
train_dataset = tf.data.Dataset.from_tensor_slices((x[:96], y[:96])).shuffle(1024).batch(16)
val_dataset = tf.data.Dataset.from_tensor_slices((x[96:], y[96:])).batch(16)
model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(16, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(3),
    ]
)
optimizer = keras.optimizers.Adam(learning_rate=3e-3)
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
train_acc = keras.metrics.SparseCategoricalAccuracy()
val_acc = keras.metrics.SparseCategoricalAccuracy()


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss_value = loss_fn(y, logits)
    grads = tape.gradient(loss_value, model.trainable_weights)
    optimizer.apply(grads, model.trainable_weights)
    train_acc.update_state(y, logits)
    return loss_value


history = {"loss": [], "accuracy": [], "val_accuracy": []}
best_val, best_weights, wait = 0.0, None, 0
loop = resumable(model=model, optimizer=optimizer, metrics=[train_acc, val_acc])
batches = loop.data(train_dataset)
for epoch in loop.epochs(8):
    losses = []
    for x_batch, y_batch in loop.batches(batches):
        losses.append(float(train_step(x_batch, y_batch)))
    history["loss"].append(np.mean(losses))
    history["accuracy"].append(float(train_acc.result()))
    train_acc.reset_state()
    for x_batch, y_batch in val_dataset:
        val_acc.update_state(y_batch, model(x_batch, training=False))
    history["val_accuracy"].append(float(val_acc.result()))
    val_acc.reset_state()
    if history["val_accuracy"][-1] > best_val:
        best_val, best_weights, wait = history["val_accuracy"][-1], model.get_weights(), 0
    else:
        wait += 1
    if wait >= 4:
        loop.stop()
if best_weights is not None:
    model.set_weights(best_weights)
np.savez("result.npz", *model.get_weights(), **history, best=[best_val, wait])
