"""Train on a DataLoader with workers that begins at any batch, and reads no sample twice."""

import multiprocessing
import random
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from rekindle.jobs import ResumableSampler, resumable

read = multiprocessing.Value("i", 0)


class Augmented(Dataset):
    """Add noise to samples, drawn in the workers; count what is read."""

    def __init__(self):
        self.x = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        with read.get_lock():
            read.value += 1
        noise = 0.1 * torch.randn(6) + float(np.random.rand()) + random.random()
        return self.x[index] + noise, self.x[index].sum()


data = Augmented()
loader = DataLoader(data, batch_size=16, sampler=ResumableSampler(data, seed=3), num_workers=3)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
loop = resumable(state={"model": model, "optimizer": optimizer}, every="4 steps")


def train(epoch):
    """Train an epoch, or what is left of it; compare what was read with what was trained."""
    trained, found = 0, []
    before = read.value
    for x, y in loop.batches(loader):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x)[:, 0], y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        loop.log(loss=found[-1])
        trained += 1
    return found, read.value - before, trained


losses = []
for epoch in loop.epochs(4):
    found, samples, batches = train(epoch)
    losses += found
    print(f"epoch {epoch}: {samples} samples read, {batches} batches", flush=True)

assert not {"keras", "tensorflow"} & sys.modules.keys()
arrays = [one.detach().numpy() for one in model.state_dict().values()]
np.savez("end.npz", np.array(losses), torch.get_rng_state().numpy(), *arrays)
