"""The seed's notebook job, as the seed did it and as this package does it, in one run.

    python benchmarks/seed.py [--fits 30] [--seed-fits 30]

make_blobs (100 x 100, 10 centres, cluster_std 5), two separate networks 100 -> 50 -> P, one dense
layer and a ReLU each; 30 fits of 300 steps with parameters drawn from the seed's search space, and
one more with the best of them, on one thread. Both sides get the same parameters, in turn. Prints
the seconds of each side, their ratio, and silhouettes (on the fitted rows, as the seed did).
``--seed-fits`` below ``--fits`` shortens the slow side and scales its time up.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.datasets import make_blobs
from torch import Tensor, nn

from timing import machine
from vicreg import CollapseWarning, VICReg, preset
from vicreg.metrics import silhouette

STEPS = 300
GAMMA, EPS, NU = 1.0, 0.01, 1.0


def drawn_parameters(random: np.random.Generator) -> dict[str, Any]:
    """One point of the seed's search space."""
    return {
        "projector": (int(random.integers(50, 201)),),
        "lam": float(random.integers(1, 26)),
        "mu": float(random.integers(1, 26)),
        "lr": float(random.uniform(0.001, 0.1)),
        "betas": (float(random.uniform(0.9, 0.99)), float(random.uniform(0.96, 0.99))),
        "batch_size": int(random.integers(5, 21)),
    }


def seed_loss(z1: Tensor, z2: Tensor, lam: float, mu: float) -> Tensor:
    """The seed's loss: a loop over dimensions, and a covariance without a gradient."""
    total = lam * nn.functional.mse_loss(z1, z2)
    for z in (z1, z2):
        shortfall = torch.zeros(())
        for dimension in range(z.shape[1]):
            deviation = torch.sqrt(torch.var(z[:, dimension]) + EPS)
            shortfall = shortfall + torch.clamp(GAMMA - deviation, min=0)
        # Rows stand for variables here, and the copy is detached: both are the seed's own.
        covariance = np.cov(z.detach().numpy())
        np.fill_diagonal(covariance, 0)
        total = total + mu * shortfall + NU * float((covariance**2).sum()) / z.shape[1]
    return total


def seed_fit(X: np.ndarray, parameters: dict[str, Any], seed: int) -> tuple[float, np.ndarray]:
    """One fit as the seed did it: the smallest loss of its batches, and the first embedding."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    (width,) = parameters["projector"]
    encoders = [nn.Sequential(nn.Linear(X.shape[1], 50), nn.ReLU()) for _ in range(2)]
    projectors = [nn.Sequential(nn.Linear(50, width), nn.ReLU()) for _ in range(2)]
    optimizer = torch.optim.Adam(
        [p for network in encoders + projectors for p in network.parameters()],
        lr=parameters["lr"],
        betas=parameters["betas"],
    )
    smallest = float("inf")
    for _ in range(STEPS):
        chosen = random.choice(len(X), parameters["batch_size"], replace=False)
        batch = torch.from_numpy(X[chosen])
        optimizer.zero_grad()
        z1, z2 = (
            project(encode(batch)) for encode, project in zip(encoders, projectors, strict=True)
        )
        loss = seed_loss(z1, z2, parameters["lam"], parameters["mu"])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        smallest = min(smallest, loss.item())
    with torch.no_grad():
        return smallest, encoders[0](torch.from_numpy(X)).numpy()


def our_fit(X: np.ndarray, parameters: dict[str, Any], seed: int) -> tuple[float, np.ndarray]:
    """The same job by this package: the seed's architecture, this package's loss."""
    settings = {**preset("seed"), **parameters, "steps": STEPS}
    model = VICReg(**settings, random_state=seed, n_threads=1)
    embedding = model.fit_transform(X)
    return min(model.history_["total"]), embedding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--seed-fits", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    X, y = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
    X = X.astype(np.float32)
    random = np.random.default_rng(0)
    drawn = [drawn_parameters(random) for _ in range(options.fits)]
    for fit in (our_fit, seed_fit):  # loads what torch loads late
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)
            fit(X, drawn[0], 0)

    seconds: dict[str, list[float]] = {"seed": [], "vicreg": []}
    scores: dict[str, list[float]] = {"seed": [], "vicreg": []}
    losses: dict[str, list[float]] = {"seed": [], "vicreg": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        for trial in range(options.fits + 1):
            for name, fit in (("seed", seed_fit), ("vicreg", our_fit)):
                is_refit = trial == options.fits
                if name == "seed" and trial >= options.seed_fits and not is_refit:
                    continue
                best = int(np.argmin(losses[name])) if is_refit else trial
                start = time.perf_counter()
                loss, embedding = fit(X, drawn[best], trial)
                seconds[name].append(time.perf_counter() - start)
                losses[name].append(loss)
                scores[name].append(silhouette(embedding, y))
    collapsed = sum(warning.category is CollapseWarning for warning in caught)
    print(machine())
    print(f"{options.fits} fits x {STEPS} steps and a refit; silhouette raw {silhouette(X, y):.3f}")
    totals = {}
    for name in ("seed", "vicreg"):
        totals[name] = statistics.mean(seconds[name]) * (options.fits + 1)
        low, high = min(scores[name]), max(scores[name])
        print(
            f"{name}: {totals[name]:.1f} s, "
            f"{statistics.mean(seconds[name]) / STEPS * 1e3:.2f} ms a step, silhouette median "
            f"{statistics.median(scores[name]):.3f} ({low:.3f} to {high:.3f})"
        )
    print(f"times faster: {totals['seed'] / totals['vicreg']:.0f}")
    print(f"{collapsed} of {options.fits + 1} fits warned of a collapse")
    default = VICReg(random_state=0, n_threads=1).fit_transform(X)
    print(f"silhouette of the default configuration: {silhouette(default, y):.3f}")


if __name__ == "__main__":
    main()
