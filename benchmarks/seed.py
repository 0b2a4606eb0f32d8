"""The seed's notebook job: 30 fits of 300 steps at the seed's sizes, on one core.

    python benchmarks/seed.py [--fits 30]

make_blobs (100 x 100, 10 centres, cluster_std 5), two separate networks 100 -> 50 -> P, one dense
layer and a ReLU each; every fit with parameters drawn from the seed's search space. Prints the
seconds in all and per step, and the silhouette of raw table and embeddings (on the fitted rows, as
the seed did).
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import make_blobs

from timing import machine
from vicreg import CollapseWarning, VICReg, preset
from vicreg.metrics import silhouette


def drawn_parameters(random: np.random.Generator) -> dict[str, object]:
    """One point of the seed's search space."""
    return {
        "projector": (int(random.integers(50, 201)),),
        "lam": float(random.integers(1, 26)),
        "mu": float(random.integers(1, 26)),
        "lr": float(random.uniform(0.001, 0.1)),
        "betas": (float(random.uniform(0.9, 0.99)), float(random.uniform(0.96, 0.99))),
        "batch_size": int(random.integers(5, 21)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    X, y = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
    X = X.astype(np.float32)
    random = np.random.default_rng(0)
    settings = {**preset("seed"), "n_threads": 1}
    VICReg(**{**settings, "steps": 2}, random_state=0).fit(X)  # loads what torch loads late

    seconds, scores = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        for trial in range(options.fits):
            model = VICReg(**{**settings, **drawn_parameters(random)}, random_state=trial)
            start = time.perf_counter()
            embedding = model.fit_transform(X)
            seconds.append(time.perf_counter() - start)
            scores.append(silhouette(embedding, y))
    total = sum(seconds)
    collapsed = sum(warning.category is CollapseWarning for warning in caught)
    print(machine())
    print(f"{options.fits} fits x {settings['steps']} steps: {total:.1f} s", end=", ")
    print(f"{total / options.fits / settings['steps'] * 1e3:.2f} ms a step")
    print(f"silhouette raw {silhouette(X, y):.3f}, embedding: ", end="")
    print(f"median {statistics.median(scores):.3f}, {min(scores):.3f} to {max(scores):.3f}")
    print(f"{collapsed} of {options.fits} fits warned of a collapse")
    default = VICReg(random_state=0, n_threads=1).fit_transform(X)
    print(f"silhouette of the default configuration: {silhouette(default, y):.3f}")


if __name__ == "__main__":
    main()
