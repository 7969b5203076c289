"""DCGAN tutorial of PyTorch: two networks, two optimizers, fixed noise and lists of losses."""

import numpy as np
import torch
from torch import nn

from rekindle.jobs import resumable

torch.manual_seed(999)
real = torch.randn(160, 6) * 0.5 + torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -2.0])
loader = torch.utils.data.DataLoader(real, batch_size=16, shuffle=True)
netG = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
netD = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid())
criterion = nn.BCELoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.999))
fixed_noise = torch.randn(8, 4)
G_losses, D_losses, img_list, iters = [], [], [], 0
loop = resumable(
    state={"G": netG, "D": netD, "optG": optimizerG, "optD": optimizerD}, every="2 steps"
)
for _epoch in loop.epochs(4):
    for data in loop.batches(loader):
        netD.zero_grad()
        ones, zeros = torch.ones(len(data)), torch.zeros(len(data))
        errD_real = criterion(netD(data).view(-1), ones)
        errD_real.backward()
        fake = netG(torch.randn(len(data), 4))
        errD_fake = criterion(netD(fake.detach()).view(-1), zeros)
        errD_fake.backward()
        optimizerD.step()
        netG.zero_grad()
        errG = criterion(netD(fake).view(-1), ones)
        errG.backward()
        optimizerG.step()
        G_losses.append(errG.item())
        D_losses.append((errD_real + errD_fake).item())
        if iters % 7 == 0:
            with torch.no_grad():
                img_list.append(netG(fixed_noise).numpy())
        iters += 1
np.savez("end.npz", np.array(G_losses), np.array(D_losses), np.stack(img_list))
