"""Read the result of ``fit``, as a script that plots it does."""

import json

import keras
import numpy as np

dice = np.random.default_rng(4)
x = dice.normal(size=(100, 6)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
model = keras.Sequential(
    [keras.layers.Input((6,)), keras.layers.Dropout(0.3), keras.layers.Dense(2)]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
stop = keras.callbacks.EarlyStopping("loss", patience=9)
h = model.fit(x, y, batch_size=16, epochs=3, verbose=2, callbacks=[stop])
with open("seen.json", "w") as file:
    json.dump(
        {
            "params": h.params,
            "epochs": list(range(h.params["epochs"])),
            "epoch": h.epoch,
            "history": h.history,
            "model": h.model is model,
            "last": model.history is h,
            "of a callback": [stop.params, stop.model is model, stop.stopped_epoch],
        },
        file,
    )
