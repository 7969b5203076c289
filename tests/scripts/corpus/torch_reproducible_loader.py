"""Reproducible DataLoader of the notes of PyTorch: a generator, and workers that are seeded."""

import random
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from rekindle.jobs import resumable


class Augmented(Dataset):
    """Add noise to samples, drawn in the workers."""

    def __init__(self):
        self.x = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = 0.1 * torch.randn(6) + float(np.random.rand()) + random.random()
        return self.x[index] + noise, self.x[index].sum()


def seed_worker(worker_id):
    np.random.seed(torch.initial_seed() % 2**32)
    random.seed(torch.initial_seed() % 2**32)


generator = torch.Generator()
generator.manual_seed(7)
loader = DataLoader(
    Augmented(),
    batch_size=16,
    shuffle=True,
    num_workers=2,
    worker_init_fn=seed_worker,
    generator=generator,
)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
loop = resumable(state={"model": model, "optimizer": optimizer}, every="2 steps")
losses = []
for _epoch in loop.epochs(4):
    for x, y in loop.batches(loader):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x)[:, 0], y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        loop.log(loss=losses[-1])

assert not {"keras", "tensorflow"} & sys.modules.keys()
arrays = [one.detach().numpy() for one in model.state_dict().values()]
np.savez("end.npz", np.array(losses), generator.get_state().numpy(), *arrays)
