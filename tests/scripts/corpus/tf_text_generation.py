"""Subclassed model with a GRU and character windows, as TensorFlow's text generation."""

import numpy as np
import tensorflow as tf

text = "the quick brown fox jumps over the lazy dog and runs away " * 8
vocab = sorted(set(text))
ids_from_chars = tf.keras.layers.StringLookup(vocabulary=list(vocab), mask_token=None)
all_ids = ids_from_chars(tf.strings.unicode_split(text, "UTF-8"))
sequences = tf.data.Dataset.from_tensor_slices(all_ids).batch(11, drop_remainder=True)
dataset = (
    sequences.map(lambda s: (s[:-1], s[1:]))
    .shuffle(10000)
    .batch(6, drop_remainder=True)
    .prefetch(tf.data.experimental.AUTOTUNE)
)


class MyModel(tf.keras.Model):
    def __init__(self, vocab_size, embedding_dim, rnn_units):
        super().__init__()
        self.embedding = tf.keras.layers.Embedding(vocab_size, embedding_dim)
        self.gru = tf.keras.layers.GRU(rnn_units, return_sequences=True, return_state=True)
        self.dense = tf.keras.layers.Dense(vocab_size)

    def call(self, inputs, states=None, return_state=False, training=False):
        x = self.embedding(inputs, training=training)
        if states is None:
            states = self.gru.get_initial_state(tf.shape(x)[0])
        x, states = self.gru(x, initial_state=states, training=training)
        x = self.dense(x, training=training)
        return (x, states) if return_state else x


model = MyModel(len(ids_from_chars.get_vocabulary()), 8, 8)
model.compile(optimizer="adam", loss=tf.losses.SparseCategoricalCrossentropy(from_logits=True))
checkpoint = tf.keras.callbacks.ModelCheckpoint("ckpt_{epoch}.weights.h5", save_weights_only=True)
model.fit(dataset, epochs=4, callbacks=[checkpoint])
np.savez("result.npz", *model.get_weights())
