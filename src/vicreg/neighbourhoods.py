"""The neighbourhoods of an embedding: near rows drawn together, and all others apart.

Training spreads rows over all dimensions, and distances between rows of one dense region come out
nearly as large as those between regions. So some components are a neighbour embedding of the
learnt ones: a small network that learns, after training, to bring a row and its nearest rows
together and to keep other rows away. A region becomes a clump, which is what clustering, and the
silhouette, ask for. As it is a network, and no layout of the training rows, new rows have a place
in it, and near rows have near places.

The components have a deviation of their own (``neighbourhood_scale``): beside the learnt ones, so
that distances within a region are still told mostly by these.

Source: Damrich, Böhm, Hamprecht, Kobak, "From t-SNE to UMAP with contrastive learning", ICLR 2023,
arXiv 2206.01816, section 3 and table 1 (negative sampling with the kernel 1 / (1 + d²), as UMAP
has it); Sainburg, McInnes, Gentner, "Parametric UMAP embeddings", Neural Computation 33 (2021).
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicreg.details import joint_moments
from vicreg.neighbours import near_rows
from vicreg.networks import Encoder, Neighbourhoods, Rows, fold_norm, linear
from vicreg.optim import FlatOptimizer, warmup_cosine
from vicreg.precision import fastest_float32

if TYPE_CHECKING:
    from vicreg.networks import JointEmbedding

__all__ = ["contrast", "fit_neighbourhoods"]

#: Nearest rows of a row, at the most, and the share of all rows beyond which there are fewer.
NEAREST = 30
LARGEST_SHARE = 1 / 8
#: Pairs of near rows in a batch, and other rows that each is held against.
PAIRS = 512
OTHERS = 2
RATE = 1e-2
WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 4.0
#: Training rows that take part, at the most.
MOST_NEAR = 4000


def fit_neighbourhoods(
    network: JointEmbedding, rows: Rows, *, scale: float, steps: int, generator: torch.Generator
) -> bool:
    """Train the neighbourhoods of a network's encoder; nothing where there are none.

    Parameters
    ----------
    network : JointEmbedding
        Of one encoder, whose learnt components are what they will be. Changed in place, and left in
        evaluation mode.
    rows : Rows
        Training rows, on the network's device, more than one.
    scale : float
        Deviation of all neighbourhood components together, in units of that of the learnt ones.
    steps : int
        Optimiser steps.
    generator : torch.Generator
        The only source of randomness, on the device of the rows.

    Returns
    -------
    bool
        False if Ctrl-C ended it early; what was learnt until then stays.

    Examples
    --------
    >>> import torch
    >>> from vicreg.neighbourhoods import fit_neighbourhoods
    >>> from vicreg.networks import Encoder, JointEmbedding, Rows, projector
    >>> encoder = Encoder(3, [], hidden=[], n_components=4, n_neighbourhood=2)
    >>> network = JointEmbedding([encoder], [projector(4, [])])
    >>> rows = Rows(torch.randn(50, 3), torch.zeros(50, 0, dtype=torch.int32))
    >>> generator = torch.Generator().manual_seed(0)
    >>> fit_neighbourhoods(network, rows, scale=0.5, steps=20, generator=generator)
    True
    >>> deviations = network.embed(rows).var(dim=0)
    >>> round((deviations[4:].sum() / deviations[:4].sum()).sqrt().item(), 3)
    0.5
    """
    network.eval()
    encoder = network.encoders[0]
    assert isinstance(encoder, Encoder)
    if encoder.neighbourhoods is None:
        return True
    with torch.no_grad():
        rows = rows.sample(MOST_NEAR, generator)
        learnt = encoder.shaped(encoder(rows))
    mean, deviation = (moment.float() for moment in joint_moments(learnt))
    unit = deviation / math.sqrt(learnt.shape[1])
    units = (learnt - mean) / unit
    near = _nearest(units, generator)
    trained, finished = _trained(encoder.neighbourhoods, units, near, steps, generator)
    _fold(trained, encoder.neighbourhoods, mean, unit)
    with torch.no_grad():
        centre, of_found = joint_moments(encoder.neighbourhoods(learnt))
        factor = scale * deviation / of_found.float()
        last = encoder.neighbourhoods.last
        last.bias.sub_(centre.float()).mul_(factor)
        last.weight.mul_(factor)
    return finished


def contrast(one: Tensor, other: Tensor, apart: Tensor) -> Tensor:
    """Mean loss of pairs that belong together, each held against some that do not.

    With q = 1 / (1 + d²) of a distance d, a pair is taken for one that belongs together with the
    probability q / (1 + q).

    Parameters
    ----------
    one, other : Tensor, shape (pairs, dims)
        What belongs together, row by row.
    apart : Tensor, shape (others, pairs, dims)
        What ``one`` does not belong to.

    Examples
    --------
    >>> import torch
    >>> from vicreg.neighbourhoods import contrast
    >>> here, far = torch.zeros(1, 2), torch.full((1, 1, 2), 1e3)
    >>> round(contrast(here, here, far).exp().item(), 3)  # one half together, and apart for sure
    2.0
    """
    together = (one - other).square().sum(dim=-1)
    distant = (one - apart).square().sum(dim=-1)
    held_apart = (torch.log1p(distant) - torch.log(2 + distant)).sum(dim=0)
    return (torch.log(2 + together) - held_apart).mean()


def _nearest(units: Tensor, generator: torch.Generator) -> Tensor:
    n_rows = len(units)
    count = max(1, min(NEAREST, int(n_rows * LARGEST_SHARE)))
    no_codes = torch.zeros(n_rows, 0, dtype=torch.int32, device=units.device)
    return near_rows(Rows(units, no_codes), [], count, generator)


class _Learner(nn.Module):
    """:class:`vicreg.networks.Neighbourhoods`, normalised in between, to be trained."""

    def __init__(
        self, n_learnt: int, n_hidden: int, n_components: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.first = linear(n_learnt, n_hidden, generator=generator)
        self.norm = nn.BatchNorm1d(n_hidden)
        self.last = linear(n_hidden, n_components, generator=generator)

    def forward(self, units: Tensor) -> Tensor:
        found: Tensor = self.last(F.relu(self.norm(self.first(units))))
        return found


def _trained(
    wanted: Neighbourhoods, units: Tensor, near: Tensor, steps: int, generator: torch.Generator
) -> tuple[_Learner, bool]:
    """A network of the wanted widths for components in units, and whether it took all steps."""
    device, (n_rows, width) = units.device, units.shape
    hidden, n_components = wanted.first.out_features, wanted.last.out_features
    seed = torch.randint(2**31 - 1, (1,), generator=generator, device=device)
    of_weights = torch.Generator().manual_seed(int(seed))  # on the CPU, wherever the rows are
    network = _Learner(width, hidden, n_components, of_weights).to(device)
    optimizer = FlatOptimizer(
        network,
        "adamw",
        lr=RATE,
        betas=(0.9, 0.999),
        weight_decay=WEIGHT_DECAY,
        clip_norm=LARGEST_GRADIENT,
    )
    pairs = min(PAIRS, n_rows)

    def draw(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=generator, device=device)

    with fastest_float32(2 * pairs * hidden * max(width, n_components)):
        for step in range(steps):
            try:
                optimizer.set_rate(RATE * warmup_cosine(step, steps, 0.1))
                at = draw(n_rows, pairs)
                neighbours = near[at, draw(near.shape[1], pairs)]
                one, other = network(units[torch.cat([at, neighbours])]).chunk(2)
                # Not by index: several threads would add up its gradient in the order they come.
                apart = F.embedding(draw(pairs, OTHERS, pairs), other)
                loss = contrast(one, other, apart)
                optimizer.step(loss)
            except KeyboardInterrupt:
                return network.eval(), False
    return network.eval(), True


@torch.no_grad()
def _fold(trained: _Learner, into: Neighbourhoods, mean: Tensor, unit: Tensor) -> None:
    """Two linear maps of plain components in the place of what was trained on centred units."""
    first = copy.deepcopy(trained.first)
    fold_norm(first, trained.norm)
    weight = first.weight / unit
    into.first.weight.copy_(weight)
    into.first.bias.copy_(first.bias - weight @ mean)
    into.last.weight.copy_(trained.last.weight)
    into.last.bias.copy_(trained.last.bias)
