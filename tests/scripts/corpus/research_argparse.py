"""argparse, a log file, a run folder and a main function, as research repositories."""

import argparse
import json
import logging
import os

import numpy as np
import tensorflow as tf


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", default="output")
    return parser.parse_args()


def main():
    args = get_args()
    os.makedirs(args.output_dir, exist_ok=True)
    logging.basicConfig(filename=os.path.join(args.output_dir, "train.log"), level=logging.INFO)
    np.random.seed(args.seed)
    tf.random.set_seed(args.seed)
    x, y = np.random.rand(96, 8).astype("float32"), np.random.randint(0, 2, 96)
    model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.Adam(args.lr), "mse")
    history = model.fit(x, y, epochs=args.epochs, batch_size=16, verbose=0)
    logging.info("loss %s", history.history["loss"])  # noqa: LOG015
    with open(os.path.join(args.output_dir, "history.json"), "w") as file:
        json.dump(history.history, file)
    np.savez(os.path.join(args.output_dir, "result.npz"), *model.get_weights())


if __name__ == "__main__":
    main()
