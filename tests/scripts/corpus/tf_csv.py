"""make_csv_dataset with preprocessing layers per column, as TensorFlow's load CSV."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(26)
with open("titanic.csv", "w") as file:
    file.write("survived,sex,age,fare\n")
    for _ in range(96):
        sex = rng.choice(["male", "female"])
        file.write(f"{rng.integers(0, 2)},{sex},{rng.integers(1, 80)},{rng.random() * 50:.2f}\n")
data = tf.data.experimental.make_csv_dataset(
    "titanic.csv", batch_size=16, label_name="survived", num_epochs=1, ignore_errors=True
)
inputs = {
    "sex": tf.keras.Input(shape=(1,), name="sex", dtype=tf.string),
    "age": tf.keras.Input(shape=(1,), name="age", dtype=tf.float32),
    "fare": tf.keras.Input(shape=(1,), name="fare", dtype=tf.float32),
}
lookup = tf.keras.layers.StringLookup(vocabulary=["male", "female"], output_mode="one_hot")
norm = tf.keras.layers.Normalization()
norm.adapt(np.array([[30.0, 20.0], [50.0, 40.0]]))
numeric = norm(tf.keras.layers.Concatenate()([inputs["age"], inputs["fare"]]))
merged = tf.keras.layers.Concatenate()([lookup(inputs["sex"]), numeric])
body = tf.keras.layers.Dense(8, activation="relu")(merged)
model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(body))
model.compile(loss=tf.keras.losses.BinaryCrossentropy(from_logits=True), optimizer="adam")


def expand(features, label):
    return {
        "sex": tf.expand_dims(features["sex"], -1),
        "age": tf.expand_dims(tf.cast(features["age"], tf.float32), -1),
        "fare": tf.expand_dims(features["fare"], -1),
    }, label


model.fit(data.map(expand), epochs=4)
np.savez("result.npz", *model.get_weights())
