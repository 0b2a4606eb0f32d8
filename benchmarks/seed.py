"""The seed's notebook job, as the seed did it and as this package does it, in one run.

    python benchmarks/seed.py [--fits 30] [--seed-fits 30]

make_blobs (100 x 100, 10 centres, cluster_std 5), two separate networks 100 -> 50 -> P, one dense
layer and a ReLU each; 30 fits of 300 steps with parameters drawn from the seed's search space, and
one more with the best of them, on one thread. All sides get the same parameters, in turns of ten
fits: the seed; this package, one fit after the other; and its stacks of ten, as tuning has them.
Beside them stands the whole of ``vicreg.tune`` with the seed's space and score, sampler and final
fit included, on one thread and on all cores. Prints the seconds of each side, their ratios, and
silhouettes (on the fitted rows, as the seed did). ``--seed-fits`` below ``--fits`` shortens the
slow side and scales its time up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.datasets import make_blobs
from sklearn.utils import check_random_state
from torch import Tensor, nn

from timing import machine
from vicreg import CollapseWarning, TuningResult, VICReg, preset, tune
from vicreg.config import Config
from vicreg.embedder import Embedder
from vicreg.fitting import Asked, fit_together
from vicreg.metrics import silhouette
from vicreg.search_space import Range

Fit: TypeAlias = Callable[[np.ndarray, dict[str, Any], int], tuple[float, np.ndarray]]
Fits: TypeAlias = Callable[
    [np.ndarray, list[dict[str, Any]], list[int]], list[tuple[float, np.ndarray]]
]

#: Fits of a side before it is another's turn, and those in a stack.
TURN = 10
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


def our_config(parameters: dict[str, Any]) -> dict[str, Any]:
    """The seed's architecture; the loss is this package's."""
    return {**preset("seed"), **parameters, "steps": STEPS}


def our_fit(X: np.ndarray, parameters: dict[str, Any], seed: int) -> tuple[float, np.ndarray]:
    """The same job by this package."""
    model = VICReg(**our_config(parameters), random_state=seed, n_threads=1)
    embedding = model.fit_transform(X)
    return min(model.history_["total"]), embedding


def in_stacks(
    X: np.ndarray, parameters: list[dict[str, Any]], seeds: list[int]
) -> list[tuple[float, np.ndarray]]:
    """Fits of this package that are made at once."""
    asked = []
    for one, seed in zip(parameters, seeds, strict=True):
        own = int(check_random_state(seed).randint(2**31 - 1))  # as the estimator does
        asked.append(Asked(X, Config(**our_config(one)), own))
    found = []
    for fitted in fit_together(asked, n_threads=1):
        assert isinstance(fitted, Embedder)
        found.append((min(m.total for m in fitted.history.moments), fitted.embed(X)))
    return found


def tuned(X: np.ndarray, y: np.ndarray, n_trials: int, n_threads: int = 1) -> TuningResult:
    """The job as a user of this package asks for it: search, then fit the best."""
    searched = {
        "projector_width": Range(50, 200),
        "lam": Range(1, 25),
        "mu": Range(1, 25),
        "lr": Range(0.001, 0.1),
        "beta1": Range(0.9, 0.99),
        "beta2": Range(0.96, 0.99),
        "batch_size": Range(5, 20),
    }
    fixed = {**preset("seed"), "projector_depth": 1, "steps": STEPS}
    for name in ("projector", "lam", "mu", "lr", "betas", "batch_size"):
        fixed.pop(name, None)
    return tune(
        X,
        y,
        n_trials=n_trials,
        space=searched,
        only=True,
        fixed=fixed,
        sampler="tpe",
        finalists=0,
        prune=False,
        n_threads=n_threads,
        random_state=0,
    )


def one_by_one(fit: Fit) -> Fits:
    """A side that makes its fits one after the other."""
    return lambda X, parameters, seeds: [
        fit(X, one, seed) for one, seed in zip(parameters, seeds, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--seed-fits", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    X, y = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
    X = X.astype(np.float32)
    random = np.random.default_rng(0)
    drawn = [drawn_parameters(random) for _ in range(options.fits)]
    sides: dict[str, Fits] = {
        "seed": one_by_one(seed_fit),
        "vicreg, one by one": one_by_one(our_fit),
        "vicreg, in stacks": in_stacks,
    }
    for run in sides.values():  # loads what torch loads late
        run(X, drawn[:2], [0, 1])
    tuned(X, y, 2)
    searches: dict[str, list[float]] = {}
    embeddings: dict[str, np.ndarray] = {}

    seconds = dict.fromkeys(sides, 0.0)
    found: dict[str, list[tuple[float, np.ndarray]]] = {name: [] for name in sides}
    for start in range(0, options.fits, TURN):
        for name, run in sides.items():
            stop = min(start + TURN, options.fits if name != "seed" else options.seed_fits)
            trials = list(range(start, stop))
            begun = time.perf_counter()
            found[name] += run(X, [drawn[trial] for trial in trials], trials)
            seconds[name] += time.perf_counter() - begun
        for threads in sorted({1, os.cpu_count() or 1}):
            name = f"vicreg.tune, {threads} thread(s)"
            torch.set_num_threads(threads)
            begun = time.perf_counter()
            result = tuned(X, y, options.fits, threads)
            searches.setdefault(name, []).append(time.perf_counter() - begun)
            embeddings[name] = result.best_estimator_.transform(X)
            torch.set_num_threads(1)
    print(machine())
    print(f"{options.fits} fits x {STEPS} steps and a refit; silhouette raw {silhouette(X, y):.3f}")
    totals = {}
    for name in sides:
        scores = [silhouette(embedding, y) for _, embedding in found[name]]
        best = int(np.argmin([loss for loss, _ in found[name]]))
        refit = seed_fit if name == "seed" else our_fit
        begun = time.perf_counter()
        refit(X, drawn[best], options.fits)
        of_refit = time.perf_counter() - begun
        totals[name] = seconds[name] / len(scores) * options.fits + of_refit
        print(
            f"{name}: {totals[name]:.1f} s, {of_refit:.2f} of it the refit, silhouette median "
            f"{statistics.median(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})"
        )
    for name, taken in searches.items():
        totals[name] = statistics.median(taken)
        print(
            f"{name}: {totals[name]:.1f} s ({min(taken):.1f} to {max(taken):.1f}), "
            f"silhouette of the final fit {silhouette(embeddings[name], y):.3f}"
        )
    for name, total in totals.items():
        if name != "seed":
            print(f"{name}: {totals['seed'] / total:.0f} times faster than the seed")
    default = VICReg(random_state=0, n_threads=1).fit_transform(X)
    print(f"silhouette of the default configuration: {silhouette(default, y):.3f}")


if __name__ == "__main__":
    main()
