"""A training loop with `GradientTape`, early stopping and a cosine schedule."""

import json

import keras
import tensorflow as tf
from sklearn.datasets import load_digits

from rekindle.jobs import resumable

EPOCHS, BATCH, PATIENCE = 8, 32, 3
images, labels = load_digits(return_X_y=True)
images = images.astype("float32") / 16
train = tf.data.Dataset.from_tensor_slices((images[:1440], labels[:1440])).shuffle(1440, seed=7)
train = train.batch(BATCH)

model = keras.Sequential(
    [
        keras.layers.Input((64,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(10),
    ]
)
optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * 45))
criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
mean = keras.metrics.Mean()


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = criterion(y, model(x, training=True))
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    mean.update_state(loss)


loop = resumable(model=model, optimizer=optimizer, metrics=[mean], every="epoch")
best, waited, history = float("inf"), 0, []
for epoch in loop.epochs(EPOCHS):
    mean.reset_state()
    for x, y in loop.batches(train):
        train_step(x, y)
    valid = float(criterion(labels[1440:], model(images[1440:], training=False)))
    history.append({"loss": float(mean.result()), "val_loss": valid})
    loop.log(**history[-1])
    print(f"epoch {epoch + 1}: {history[-1]}", flush=True)
    waited = 0 if valid < best else waited + 1
    best = min(best, valid)
    if waited == PATIENCE:
        break

with open("history.json", "w") as file:
    json.dump({"best": best, "history": history}, file)
model.save("custom_loop.keras")
