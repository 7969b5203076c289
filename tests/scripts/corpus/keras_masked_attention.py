"""Causal attention whose mask of -inf is a weight of the layer, as in ports of GPT tutorials."""

import keras
import numpy as np

rng = np.random.default_rng(61)
text = rng.integers(0, 12, 330)
x = np.stack([text[i : i + 8] for i in range(96)])
y = np.stack([text[i + 1 : i + 9] for i in range(96)])


@keras.saving.register_keras_serializable()
class CausalAttention(keras.layers.Layer):
    def build(self, shape):
        self.qkv = keras.layers.Dense(3 * shape[-1])
        self.qkv.build(shape)
        upper = np.triu(np.full((shape[1], shape[1]), -np.inf, "float32"), 1)
        self.mask = self.add_weight(
            shape=upper.shape,
            initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(upper, dtype),
            trainable=False,
            name="mask",
        )

    def call(self, x):
        q, k, v = keras.ops.split(self.qkv(x), 3, axis=-1)
        scores = keras.ops.matmul(q, keras.ops.transpose(k, (0, 2, 1))) + self.mask
        return keras.ops.matmul(keras.ops.softmax(scores), v)


inputs = keras.Input((8,))
h = keras.layers.Embedding(12, 16)(inputs)
h = keras.layers.Dropout(0.1)(h + CausalAttention()(h))
model = keras.Model(inputs, keras.layers.Dense(12, activation="softmax")(h))
model.compile("adam", "sparse_categorical_crossentropy")
history = model.fit(x, y, batch_size=8, epochs=3, verbose=2)
np.savez("result.npz", *model.get_weights(), *history.history["loss"])
