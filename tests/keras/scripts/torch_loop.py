"""A plain loop of PyTorch: dropout, statistics, Adam and a schedule, over tensors."""

import sys

import numpy as np
import torch
from torch import nn

from rekindle.jobs import resumable

torch.manual_seed(7)
rng = np.random.default_rng(1)
X = torch.tensor(rng.normal(size=(96, 8)), dtype=torch.float32)
Y = (X.sum(1, keepdim=True) > 0).float()
model = nn.Sequential(
    nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(16), nn.Linear(16, 1)
)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
loop = resumable(state={"model": model, "optimizer": optimizer, "schedule": schedule}, every=5)
seen = []
for _ in loop.epochs(4):
    for x, y in loop.batches((X, Y), 16):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        seen.append(loss.item())
        loop.log(loss=loss.item())
assert not {"keras", "tensorflow"} & sys.modules.keys()
np.savez("end.npz", seen, *[value.detach().numpy() for value in model.state_dict().values()])
