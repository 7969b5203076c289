"""MirroredStrategy on two logical devices, as TensorFlow's distributed training with Keras."""

import numpy as np
import tensorflow as tf

cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
BATCH_SIZE = 8 * strategy.num_replicas_in_sync
rng = np.random.default_rng(27)
x, y = rng.random((96, 8)).astype("float32"), rng.integers(0, 3, 96)
train = tf.data.Dataset.from_tensor_slices((x, y)).cache().shuffle(10000).batch(BATCH_SIZE)
with strategy.scope():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(8, activation="relu"),
            tf.keras.layers.BatchNormalization(),
            tf.keras.layers.Dropout(0.2),
            tf.keras.layers.Dense(3),
        ]
    )
    model.compile(
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=tf.keras.optimizers.Adam(learning_rate=0.001),
        metrics=["accuracy"],
    )


def decay(epoch):
    return 1e-3 if epoch < 2 else 1e-4


class PrintLR(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(f"\nLearning rate for epoch {epoch + 1} is {model.optimizer.learning_rate.numpy()}")


callbacks = [tf.keras.callbacks.LearningRateScheduler(decay), PrintLR()]
model.fit(train, epochs=4, callbacks=callbacks)
np.savez("result.npz", *model.get_weights())
