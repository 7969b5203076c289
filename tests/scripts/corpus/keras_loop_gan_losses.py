"""GAN with two optimizers, whose losses go into lists, and a fixed noise for its pictures."""

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

keras.utils.set_random_seed(86)
NOISE, BATCH = 4, 16
real = np.random.default_rng(86).normal(2.0, 0.5, (96, 3)).astype("float32")
dataset = tf.data.Dataset.from_tensor_slices(real).shuffle(96).batch(BATCH)
entropy = keras.losses.BinaryCrossentropy(from_logits=True)


def main():
    generator = keras.Sequential(
        [keras.Input((NOISE,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )
    critic = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(8, "leaky_relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(1),
        ]
    )
    optimizers = [keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3)]
    optimizers[0].build(generator.trainable_variables)
    optimizers[1].build(critic.trainable_variables)
    seed = np.random.normal(size=(2, NOISE)).astype("float32")

    @tf.function
    def train_step(images, noise):
        with tf.GradientTape() as first, tf.GradientTape() as second:
            fake = generator(noise, training=True)
            on_real, on_fake = critic(images, training=True), critic(fake, training=True)
            g_loss = entropy(tf.ones_like(on_fake), on_fake)
            d_loss = entropy(tf.ones_like(on_real), on_real)
            d_loss += entropy(tf.zeros_like(on_fake), on_fake)
        for tape, loss, model, optimizer in (
            (first, g_loss, generator, optimizers[0]),
            (second, d_loss, critic, optimizers[1]),
        ):
            optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        return g_loss, d_loss

    g_losses, d_losses, pictures = [], [], {}
    best_loss, best_epoch = float("inf"), -1
    loop = resumable(model={"g": generator, "d": critic}, optimizer=optimizers)
    batches = loop.data(dataset)
    for epoch in loop.epochs(6):
        g_sum, count = 0.0, 0
        for images in loop.batches(batches):
            noise = np.random.normal(size=(len(images), NOISE)).astype("float32")
            g_loss, d_loss = train_step(images, noise)
            g_sum += float(g_loss)
            count += 1
            d_losses.append(float(d_loss))
        g_losses.append(g_sum / count)
        pictures[epoch] = generator(seed).numpy()
        if g_losses[-1] < best_loss:
            best_loss, best_epoch = g_losses[-1], epoch
    np.savez(
        "result.npz",
        *generator.get_weights(),
        *critic.get_weights(),
        g=g_losses,
        d=d_losses,
        pictures=np.stack(list(pictures.values())),
        best=[best_loss, best_epoch],
    )


main()
