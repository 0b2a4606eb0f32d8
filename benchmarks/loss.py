"""The closed-form loss against the official formula in plain autograd, forward and backward.

    python benchmarks/loss.py [--rounds 15] [--threads 1]

Prints, for each shape, both medians, their ratio, and the peak of the memory that a forward and
backward pass holds beyond its inputs and the two gradients that it returns. Both sides run in the
same process, in turn; the plain side with PyTorch's default settings.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

from timing import interleaved, machine, peak_extra_memory
from vicreg.loss import LossWeights, vicreg_loss

__all__ = ["plain_autograd"]

PAPER = LossWeights(25.0, 25.0, 1.0, 1.0, 1e-4)
SHAPES = [(256, 64), (256, 256), (256, 1024), (256, 2048), (1024, 512), (1024, 2048), (512, 8192)]


def plain_autograd(z1: Tensor, z2: Tensor, weights: LossWeights = PAPER) -> Tensor:
    """The official formula, term by term, with autograd's own gradient."""
    lam, mu, nu, gamma, eps = weights
    rows, dims = z1.shape
    total = lam * F.mse_loss(z1, z2)
    for z in (z1, z2):
        centred = z - z.mean(dim=0)
        deviations = torch.sqrt(centred.var(dim=0) + eps)
        total = total + mu * torch.mean(torch.relu(gamma - deviations)) / 2
        covariance = centred.T @ centred / (rows - 1)
        off_diagonal = covariance - torch.diag(covariance.diagonal())
        total = total + nu * off_diagonal.square().sum() / dims
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds per shape")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    print(
        "| rows x dims | plain ms | vicreg ms (quartiles) | times faster "
        "| plain MiB | vicreg MiB | memory |"
    )
    print("|---|---|---|---|---|---|---|")
    for rows, dims in SHAPES:
        generator = torch.Generator().manual_seed(0)
        z1 = torch.randn(rows, dims, generator=generator, requires_grad=True)
        z2 = torch.randn(rows, dims, generator=generator, requires_grad=True)

        def plain(z1: Tensor = z1, z2: Tensor = z2) -> None:
            torch.autograd.grad(plain_autograd(z1, z2), (z1, z2))

        def ours(z1: Tensor = z1, z2: Tensor = z2) -> None:
            torch.autograd.grad(vicreg_loss(z1, z2).total, (z1, z2))

        for one, other in zip(
            torch.autograd.grad(plain_autograd(z1, z2), (z1, z2)),
            torch.autograd.grad(vicreg_loss(z1, z2).total, (z1, z2)),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
        calls = max(1, 20_000_000 // (rows * dims * min(rows, dims)))
        times = interleaved({"plain": plain, "ours": ours}, rounds=options.rounds, calls=calls)
        returned = 2 * rows * dims * 4  # both sides must hold the two gradients
        memory = {
            "plain": peak_extra_memory(plain) - returned,
            "ours": peak_extra_memory(ours) - returned,
        }
        slow, fast = times["plain"], times["ours"]
        print(
            f"| {rows}x{dims} | {slow.median * 1e3:.3f} "
            f"| {fast.median * 1e3:.3f} ({fast.low * 1e3:.3f} to {fast.high * 1e3:.3f}) "
            f"| {slow.median / fast.median:.1f} "
            f"| {memory['plain'] / 2**20:.1f} | {memory['ours'] / 2**20:.1f} "
            f"| {memory['ours'] / memory['plain']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
