"""use_ema in the optimizer with SwapEMAWeights, multi-output model, loss weights."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(15)
x = rng.random((96, 8)).astype("float32")
targets = {"kind": rng.integers(0, 3, 96), "size": rng.random(96)}
inputs = keras.Input((8,))
h = layers.Dense(8, activation="relu")(inputs)
h = layers.Dropout(0.3)(h)
outputs = {"kind": layers.Dense(3, name="kind")(h), "size": layers.Dense(1, name="size")(h)}
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_momentum=0.9),
    loss={"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"},
    loss_weights={"kind": 1.0, "size": 0.5},
    metrics={"kind": ["accuracy"]},
)
model.fit(
    x,
    targets,
    epochs=4,
    batch_size=16,
    validation_data=(x[:32], {k: v[:32] for k, v in targets.items()}),
    callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
)
np.savez("result.npz", *model.get_weights())
