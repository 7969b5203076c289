"""Deep Q-learning on a small chain, with a replay buffer in a deque and a target network."""

import collections
import random

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs import resumable

random.seed(85)
np.random.seed(85)
SIZE, GAMMA, BATCH = 6, 0.95, 16


def network():
    return keras.Sequential(
        [keras.Input((SIZE,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    )


class Chain:
    """Walk left or right; the right end pays."""

    def __init__(self):
        self.place, self.steps = 0, 0

    def reset(self):
        self.place, self.steps = np.random.randint(SIZE - 1), 0
        return np.eye(SIZE, dtype="float32")[self.place]

    def step(self, action):
        self.steps += 1
        self.place = min(SIZE - 1, self.place + 1) if action else max(0, self.place - 1)
        done = self.place == SIZE - 1 or self.steps >= 12
        return np.eye(SIZE, dtype="float32")[self.place], float(self.place == SIZE - 1), done


model, target = network(), network()
target.set_weights(model.get_weights())
optimizer = keras.optimizers.Adam(1e-2)
optimizer.build(model.trainable_variables)
memory = collections.deque(maxlen=200)
episode_rewards = []
epsilon, episode_reward = 1.0, 0.0
env = Chain()
state = env.reset()


def train(batch):
    states, actions, rewards, following, done = map(np.array, zip(*batch))
    best = tf.reduce_max(target(following), axis=1)
    wanted = rewards.astype("float32") + GAMMA * best * (1.0 - done.astype("float32"))
    with tf.GradientTape() as tape:
        chosen = tf.reduce_sum(model(states) * tf.one_hot(actions, 2), axis=1)
        loss = tf.reduce_mean((wanted - chosen) ** 2)
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)


loop = resumable(model=model, optimizer=optimizer)
for part in loop.epochs(6):
    for frame in loop.batches(range(15)):
        if random.random() < epsilon:
            action = random.randrange(2)
        else:
            action = int(np.argmax(model(state[None])))
        following, reward, done = env.step(action)
        memory.append((state, action, reward, following, done))
        episode_reward += reward
        state = following
        if len(memory) >= BATCH:
            train(random.sample(memory, BATCH))
        if loop.step % 20 == 19:
            target.set_weights(model.get_weights())
        if done:
            episode_rewards.append(episode_reward)
            state, episode_reward = env.reset(), 0.0
        epsilon = max(0.1, epsilon * 0.97)
np.savez(
    "result.npz",
    *model.get_weights(),
    *target.get_weights(),
    rewards=episode_rewards,
    ends=[epsilon, len(memory)],
)
