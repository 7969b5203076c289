"""GAN with TensorFlow's own random operations, of parts that its first step builds."""

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers

tf.keras.utils.set_random_seed(4)
x = np.random.default_rng(1).random((96, 8)).astype("float32")


class GAN(tf.keras.Model):
    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.d_metric = tf.keras.metrics.Mean(name="d")
        self.g_metric = tf.keras.metrics.Mean(name="g")

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.entropy = tf.keras.losses.BinaryCrossentropy(from_logits=True)

    @property
    def metrics(self):
        return [self.d_metric, self.g_metric]

    def train_step(self, real):
        count = tf.shape(real)[0]
        fake = self.generator(tf.random.normal((count, 4)))
        labels = tf.concat([tf.ones((count, 1)), tf.zeros((count, 1))], 0)
        labels += 0.05 * tf.random.uniform(tf.shape(labels))
        with tf.GradientTape() as tape:
            d_loss = self.entropy(labels, self.discriminator(tf.concat([fake, real], 0)))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights))
        noise = tf.random.normal((count, 4))
        with tf.GradientTape() as tape:
            g_loss = self.entropy(tf.zeros((count, 1)), self.discriminator(self.generator(noise)))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights))
        self.d_metric.update_state(d_loss)
        self.g_metric.update_state(g_loss)
        return {"d": self.d_metric.result(), "g": self.g_metric.result()}


class Monitor(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.images = []

    def on_epoch_end(self, epoch, logs=None):
        self.images.append(self.model.generator(tf.random.normal((3, 4))).numpy())


discriminator = tf.keras.Sequential(
    [layers.Dense(8), layers.LeakyReLU(), layers.Dropout(0.2), layers.Dense(1)]
)
generator = tf.keras.Sequential([layers.Dense(8, "relu"), layers.Dense(8)])
gan = GAN(discriminator, generator)
gan.compile(tf.keras.optimizers.Adam(1e-3), tf.keras.optimizers.Adam(1e-3))
monitor = Monitor()
data = tf.data.Dataset.from_tensor_slices(x).shuffle(96).batch(16)
gan.fit(data, epochs=4, callbacks=[monitor], verbose=2)
np.save("images.npy", np.stack(monitor.images))
generator.save_weights("generator.weights.h5")
