"""Keras is imported inside of the function that trains: scripts with a fast `--help`."""

import argparse


def train(epochs):
    from slow import data, pause
    from tensorflow import keras

    x, y = data()
    model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
    model.fit(x, y, batch_size=16, epochs=epochs, callbacks=[slow], verbose=2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    train(parser.parse_args().epochs)
