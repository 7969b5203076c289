"""Train a model of Keras by `train_on_batch` in a loop over epochs, on the backend that is set."""

import keras
import numpy as np

from rekindle.jobs import resumable

dice = np.random.default_rng(1)
X = dice.normal(size=(120, 12)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
model = keras.Sequential(
    [
        keras.layers.Input((12,)),
        keras.layers.Dense(24, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1),
    ]
)
model.compile("adam", "mse", metrics=["mae"])
losses = []
loop = resumable(model=model, every="4 steps", state={"losses": losses})
for _epoch in loop.epochs(4):
    model.reset_metrics()
    for x, y in loop.batches((X, Y), batch_size=10):
        loss = float(model.train_on_batch(x, y)[0])
        loop.log(loss=loss)
    losses.append(loss)
np.savez("end.npz", *map(np.asarray, model.get_weights()), np.array(losses))
