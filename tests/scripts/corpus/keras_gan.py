"""GAN that overrides train_step, with a monitor that writes samples, as keras.io's DCGAN."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

latent_dim = 4
discriminator = keras.Sequential(
    [
        keras.Input(shape=(6,)),
        layers.Dense(8),
        layers.LeakyReLU(),
        layers.Dropout(0.2),
        layers.Dense(1),
    ]
)
generator = keras.Sequential(
    [keras.Input(shape=(latent_dim,)), layers.Dense(8), layers.LeakyReLU(), layers.Dense(6)]
)


class GAN(keras.Model):
    def __init__(self, discriminator, generator, latent_dim):
        super().__init__()
        self.discriminator = discriminator
        self.generator = generator
        self.latent_dim = latent_dim
        self.seed_generator = keras.random.SeedGenerator(1337)

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer = d_optimizer
        self.g_optimizer = g_optimizer
        self.loss_fn = loss_fn
        self.d_loss_metric = keras.metrics.Mean(name="d_loss")
        self.g_loss_metric = keras.metrics.Mean(name="g_loss")

    @property
    def metrics(self):
        return [self.d_loss_metric, self.g_loss_metric]

    def train_step(self, real):
        n = ops.shape(real)[0]
        noise = keras.random.normal(shape=(n, self.latent_dim), seed=self.seed_generator)
        combined = ops.concatenate([self.generator(noise), real], axis=0)
        labels = ops.concatenate([ops.ones((n, 1)), ops.zeros((n, 1))], axis=0)
        labels += 0.05 * tf.random.uniform(tf.shape(labels))
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(combined))
        grads = tape.gradient(d_loss, self.discriminator.trainable_weights)
        self.d_optimizer.apply_gradients(zip(grads, self.discriminator.trainable_weights))
        noise = keras.random.normal(shape=(n, self.latent_dim), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            g_loss = self.loss_fn(ops.zeros((n, 1)), self.discriminator(self.generator(noise)))
        grads = tape.gradient(g_loss, self.generator.trainable_weights)
        self.g_optimizer.apply_gradients(zip(grads, self.generator.trainable_weights))
        self.d_loss_metric.update_state(d_loss)
        self.g_loss_metric.update_state(g_loss)
        return {"d_loss": self.d_loss_metric.result(), "g_loss": self.g_loss_metric.result()}


class GANMonitor(keras.callbacks.Callback):
    def __init__(self, num=3):
        self.num = num
        self.seed_generator = keras.random.SeedGenerator(42)

    def on_epoch_end(self, epoch, logs=None):
        noise = keras.random.normal(shape=(self.num, latent_dim), seed=self.seed_generator)
        np.savetxt(f"generated_{epoch:03d}.txt", np.asarray(self.model.generator(noise)))


data = np.random.default_rng(9).random((96, 6)).astype("float32")
dataset = tf.data.Dataset.from_tensor_slices(data).shuffle(buffer_size=1024).batch(16)
gan = GAN(discriminator, generator, latent_dim)
gan.compile(
    d_optimizer=keras.optimizers.Adam(learning_rate=0.0003),
    g_optimizer=keras.optimizers.Adam(learning_rate=0.0003),
    loss_fn=keras.losses.BinaryCrossentropy(from_logits=True),
)
gan.fit(dataset, epochs=4, callbacks=[GANMonitor()])
np.savez("result.npz", *generator.get_weights(), *discriminator.get_weights())
