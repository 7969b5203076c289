"""TensorFlow first, everything through `tf.keras`: tutorials, the checkpoint article."""

import tensorflow as tf
from slow import data, pause

# fails once TensorFlow has started its context
tf.config.threading.set_inter_op_parallelism_threads(2)

x, y = data()
model = tf.keras.models.Sequential(
    [
        tf.keras.layers.Dense(16, activation="relu"),
        tf.keras.layers.Dropout(0.2),
        tf.keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
slow = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
model.fit(x, y, batch_size=16, epochs=4, validation_split=0.1, callbacks=[slow], verbose=2)
