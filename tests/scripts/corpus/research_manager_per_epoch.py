"""An own CheckpointManager, and one fit per epoch that begins where it says."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(1)
x = rng.random((96, 8)).astype("float32")
y = x.sum(1)
model = tf.keras.Sequential(
    [
        tf.keras.Input((8,)),
        tf.keras.layers.Dense(8, "relu"),
        tf.keras.layers.Dropout(0.1),
        tf.keras.layers.Dense(1),
    ]
)
optimizer = tf.keras.optimizers.Adam()
model.compile(optimizer, "mse")
trained = tf.Variable(0)
checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, trained=trained)
manager = tf.train.CheckpointManager(checkpoint, "checkpoints", max_to_keep=2)
checkpoint.restore(manager.latest_checkpoint)
for epoch in range(int(trained), 4):
    model.fit(x, y, epochs=epoch + 1, initial_epoch=epoch, batch_size=16, verbose=0)
    trained.assign_add(1)
    manager.save()
model.save("final.keras")
