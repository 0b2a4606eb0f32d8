"""What the quality benchmark compares: every method turns training rows into a map of rows.

``dae``, ``scarf`` and ``barlow`` train the encoder that VICReg's default configuration builds, from
the same initial weights, on the same rows, with the same batches, optimiser, schedule, steps and
early stopping; their loss is their own, and so are their views where the method defines them. With
VICReg's loss in their place the loop gives the very network that :class:`vicreg.VICReg` gives,
which ``tests/test_quality_benchmark.py`` holds.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state
from torch import Tensor, nn

from vicreg import VICReg
from vicreg.batches import mixed_batches, permuted_batches
from vicreg.companions import with_companions
from vicreg.config import Config
from vicreg.fitting import fit_embedder
from vicreg.optim import FlatOptimizer, warmup_cosine
from vicreg.precision import fastest_float32
from vicreg.preparation import held_out_rows
from vicreg.sources import read, shuffle_columns
from vicreg.table import TableEncoder
from vicreg.training import EVALUATIONS, FEWEST_AT_ONCE, MOST_HELD_OUT, DivergenceError
from vicreg.views import TwoViews, corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vicreg.embedder import Embedder
    from vicreg.networks import Rows
    from vicreg.sources import Source

__all__ = [
    "COMPARED",
    "CONTROLS",
    "Denoiser",
    "Projected",
    "available",
    "barlow_twins",
    "fit",
    "fit_with",
    "info_nce",
    "settings",
]

Matrix: TypeAlias = "NDArray[np.floating]"
#: Rows with the fitted columns to their place in a method's space.
Embed: TypeAlias = "Callable[[object], Matrix]"

#: The methods that are ranked.
COMPARED = ("raw", "pca", "untrained", "dae", "scarf", "barlow", "vicreg")
#: VICReg on a table of which only the columns' marginals are left.
CONTROLS = ("shuffled",)


def available() -> tuple[str, ...]:
    """Methods that can be run here, gradient boosting (the reference with labels) among them."""
    has_umap = importlib.util.find_spec("umap") is not None
    return (*COMPARED, "boosting", *CONTROLS, *(("umap",) if has_umap else ()))


def settings(method: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides a method's result beside data and seed."""
    config = Config(**overrides)
    if method in ("raw", "boosting", "umap"):
        return {}
    if method == "pca":
        return {"n_components": config.n_components}
    peer = PEERS.get(method)
    return (replace(config, **peer.views) if peer else config).as_dict()


def fit(method: str, X: object, *, random_state: int, overrides: dict[str, Any]) -> Embed:
    """Fit a method on training rows, without labels; ``overrides`` are VICReg's arguments."""
    if method in ("raw", "pca", "umap"):
        return _fit_raw(method, X, random_state, Config(**overrides).n_components)
    if method in PEERS:
        # As the estimator draws it: the same initial weights, held-out rows and batches.
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        peer = PEERS[method]
        config = replace(Config(**overrides), **peer.views)
        embedder = fit_with(peer.objective, read(X), config, seed=seed)
        return lambda rows: embedder.embed(read(rows))
    model = VICReg(**overrides, random_state=random_state, device="cpu", n_threads=1)
    if method == "shuffled":
        random = np.random.default_rng(random_state)
        source = shuffle_columns(read(X), random)
        X = source if isinstance(source, np.ndarray) else source.to_native()
    # Whole: half a fit, after Ctrl-C, must not be taken for a measurement.
    model._fit(X, untrained=method == "untrained", whole=True)
    return lambda rows: model.transform(rows)


def _fit_raw(method: str, X: object, random_state: int, width: int) -> Embed:
    """The encoded table, or PCA (of the embedding's width) or UMAP of it."""
    source = read(X)
    table = TableEncoder.fit(source)

    def raw(rows: object) -> Matrix:
        return table.dense(table.transform(read(rows)))

    if method == "raw":
        return raw
    dense = raw(X)
    if method == "pca":
        width = min(width, len(dense) - 1, dense.shape[1])
        space: Any = PCA(width, random_state=random_state)
    else:
        # Its compiler takes all cores, and torch's threads with them, unless told before.
        os.environ["NUMBA_NUM_THREADS"] = "1"
        import umap

        space = umap.UMAP(random_state=random_state, n_jobs=1)
    space.fit(dense)
    return lambda rows: np.asarray(space.transform(raw(rows)))


def fit_with(
    objective: Callable[[Embedder], nn.Module],
    source: Source,
    config: Config,
    *,
    seed: int,
) -> Embedder:
    """Train a configuration's encoder by another objective, all else as :mod:`vicreg` does it.

    Parameters
    ----------
    objective : callable
        Makes a module of the untrained embedder's encoder and what else is to be trained; the
        module takes both views, the first half and the second, to the loss.
    source : Source
    config : Config
        Its loss is not used.
    seed : int
    """
    embedder = fit_embedder(source, config, seed=seed, device="cpu", n_threads=1, untrained=True)
    config = embedder.config  # a batch is not larger than the table
    rows, held_out = _rows(source, embedder, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = objective(embedder)
    generator = torch.Generator().manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fastest_float32(2 * config.batch_size * embedder.network.largest_layer):
            _train(module, rows, held_out, embedder, config, generator)
            embedder.finish(rows, generator)
    finally:
        torch.set_num_threads(threads)
    return embedder


def _rows(source: Source, embedder: Embedder, seed: int) -> tuple[Rows, Rows | None]:
    """Training rows, and those that decide when to stop."""
    n_rows = source.shape[0]
    order = np.random.default_rng(seed).permutation(n_rows)
    n_held_out = held_out_rows(n_rows, embedder.config)
    parts = [np.sort(order[n_held_out:]), np.sort(order[:n_held_out])]
    rows, held_out = (embedder.table.transform(source, part) for part in parts)
    return rows, held_out if n_held_out else None


def _train(
    module: nn.Module,
    rows: Rows,
    held_out: Rows | None,
    embedder: Embedder,
    config: Config,
    generator: torch.Generator,
) -> None:
    optimizer = FlatOptimizer(
        module,
        config.optimizer,
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    layout = embedder.table.layout
    if config.block_share:
        seed = generator.initial_seed()
        layout = with_companions(layout, rows, embedder.table.cardinalities, seed)
    corrupt = corruption(
        swap=config.swap,
        mask=config.mask,
        noise=config.noise,
        block_share=config.block_share,
    )

    def views_of(table: Rows, n_rows: int) -> TwoViews:
        return TwoViews(table, layout, corrupt, n_rows, generator, sides=config.sides)

    judged = held_out
    if judged is None:
        judged = rows.sample(MOST_HELD_OUT, torch.Generator().manual_seed(0))
    most = max(config.batch_size, FEWEST_AT_ONCE)
    fixed_views = [
        views_of(judged, len(positions))(positions)
        for positions in mixed_batches(len(judged), most, judged.numbers.device)
    ]
    views = views_of(rows, config.batch_size)
    bfloat16 = embedder.precision == "bfloat16"
    batches = permuted_batches(len(rows), config.batch_size, generator)
    every = max(1, config.steps // EVALUATIONS)
    best, worse, weights = math.inf, 0, copy.deepcopy(module.state_dict())
    patience = config.patience if held_out is not None else 0
    module.train()
    for step in range(1, config.steps + 1):
        factor = warmup_cosine(step - 1, config.steps, config.warmup, constant=config.constant_lr)
        optimizer.set_rate(config.lr * factor)
        both = views(next(batches))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            loss = module(both)
        if not torch.isfinite(loss):
            raise DivergenceError(f"the loss became NaN or infinite at step {step}")
        optimizer.step(loss)
        if not patience or (step % every and step != config.steps):
            continue
        module.eval()
        with torch.no_grad():
            judgement = float(torch.stack([module(both) for both in fixed_views]).mean())
        module.train()
        if judgement < best:
            best, worse, weights = judgement, 0, copy.deepcopy(module.state_dict())
        else:
            worse += 1
            if worse >= patience:
                break
    optimizer.release()
    if patience:
        module.load_state_dict(weights)
    module.eval()


class Projected(nn.Module):
    """A loss of the two views' projections (rows, d)."""

    def __init__(self, embedder: Embedder, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network = embedder.network
        self.loss = loss

    def forward(self, views: Rows) -> Tensor:
        z1, z2 = self.network(views)
        with torch.autocast("cpu", enabled=False):
            return self.loss(z1.float(), z2.float())


class Denoiser(nn.Module):
    """The first view (the rows as they are) from the second's embedding, by a linear decoder.

    Squared error of the numbers and cross entropy of the codes, a mean over numbers and categories.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.n_numbers = embedder.table.n_numbers
        self.cardinalities: Sequence[int] = embedder.table.cardinalities
        self.encoders = embedder.network.encoders
        told = self.n_numbers + sum(self.cardinalities)
        self.decoder = nn.Linear(embedder.config.n_learnt, told)

    def forward(self, views: Rows) -> Tensor:
        view1, view2 = views.halves()
        told = self.decoder(self.encoders[0](view2)).float()
        numbers, *logits = told.split([self.n_numbers, *self.cardinalities], dim=1)
        loss: Tensor = (numbers - view1.numbers).square().mean(dim=0).sum()
        for place, of_column in enumerate(logits):
            loss = loss + F.cross_entropy(of_column, view1.codes[:, place].long())
        return loss / (self.n_numbers + len(self.cardinalities))


def info_nce(z1: Tensor, z2: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Cross entropy of finding a row's other view among the batch's, by cosine.

    Source: Bahri, Jiang, Tay, Metzler, "SCARF", ICLR 2022, arXiv 2106.15147, algorithm 1.
    """
    cosines = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T
    return F.cross_entropy(cosines / temperature, torch.arange(len(z1)))


def barlow_twins(z1: Tensor, z2: Tensor, *, lam: float = 5e-3) -> Tensor:
    """Squared distance of the views' cross-correlation from the identity.

    Source: Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins", ICML 2021, arXiv 2103.03230,
    equations 1 and 2.
    """
    one, other = (
        (z - z.mean(dim=0)) / (z.var(dim=0, unbiased=False) + 1e-5).sqrt() for z in (z1, z2)
    )
    correlation = one.T @ other / len(z1)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + lam * off_diagonal


class _Peer(NamedTuple):
    """An objective, and what it changes in the configuration: its views."""

    views: dict[str, Any]
    objective: Callable[[Embedder], nn.Module]


PEERS: dict[str, _Peer] = {
    "dae": _Peer({"sides": "one"}, Denoiser),
    "scarf": _Peer({"sides": "one", "swap": 0.6}, lambda embedder: Projected(embedder, info_nce)),
    "barlow": _Peer({}, lambda embedder: Projected(embedder, barlow_twins)),
}
