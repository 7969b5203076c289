"""Run without a daemon: a loop, then ``fit`` twice; ``alone.py FOLDER``.

With ``--slowly`` each step takes a while, so that a signal arrives within one.
"""

import sys
import time

import keras
import numpy as np

from rekindle.jobs import resumable

keras.utils.set_random_seed(3)
dice = np.random.default_rng(1)
X = dice.normal(size=(160, 6)).astype("float32")
Y = (X.sum(1) > 0).astype("float32")
SLOWLY = 0.03 if "--slowly" in sys.argv else 0.0

model = keras.Sequential(
    [
        keras.layers.Input((6,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile("adam", "binary_crossentropy")
folder = sys.argv[1]
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(SLOWLY))

seen = []
loop = resumable(60, model=model, state={"seen": seen}, every=10, folder=folder, seed=5)
batches = loop.data((X, Y), 16)
for step in loop:
    x, y = next(batches)
    seen.append(float(model.train_on_batch(x, y)))
    print("step", step, flush=True)
    time.sleep(SLOWLY)
with resumable(every=10, folder=folder):
    first = model.fit(X, Y, batch_size=16, epochs=4, callbacks=[slow], verbose=2)
    second = model.fit(X, Y, batch_size=16, epochs=2, callbacks=[slow], verbose=2)
third = model.fit(X, Y, batch_size=16, epochs=1, shuffle=False, verbose=2)
with open("end.txt", "w") as file:
    print(seen, first.history, second.history, third.history, file=file)
    print([v.numpy().tolist() for v in [*model.variables, *model.optimizer.variables]], file=file)
