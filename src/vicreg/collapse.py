"""Whether an embedding collapsed during a fit, and why."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.config import Config
    from vicreg.networks import JointEmbedding, Rows

__all__ = ["CollapseWarning", "Deviations", "warn_of_collapse"]


class CollapseWarning(UserWarning):
    """The embedding has lost dimensions, with the likely cause."""


class Deviations(NamedTuple):
    """Standard deviation of every dimension over some rows."""

    projection: Tensor
    embedding: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, network: JointEmbedding, batches: Sequence[Rows], rows: Rows) -> Deviations:
        """Of the first views' projection, over all batches of views, and of the rows' embedding."""
        network.eval()
        projection = torch.cat([network(views)[0] for views in batches])
        return cls(projection.std(dim=0), network.learnt(rows).std(dim=0))


def warn_of_collapse(
    at_start: Deviations, at_end: Deviations, ranks: Sequence[float], config: Config
) -> None:
    """Warn if dimensions died between start and end, or if the effective rank fell.

    Parameters
    ----------
    at_start, at_end : Deviations
        Of the same rows, before and after the fit.
    ranks : sequence of float
        The embedding's effective rank during the fit; empty if there was none.
    config : Config
        What may be the cause.
    """
    if not ranks:
        return
    findings = []
    for name, before, after in zip(Deviations._fields, at_start, at_end, strict=True):
        # The loss gives the projection its scale; the embedding's is its own.
        is_projection = name == "projection"
        floor = 0.05 * (config.gamma or 1.0) if is_projection else 1e-3 * float(after.median())
        # What was as small at the start has not died in the fit: a short one leaves it so.
        dead = int(((after < floor) & (after < before / 2)).sum())
        if dead > len(after) // 10:
            findings.append(f"{dead} of {len(after)} dimensions of the {name} are dead")
    if ranks[-1] < 0.5 * ranks[0] and ranks[-1] < 0.1 * config.n_learnt:
        findings.append(f"its effective rank fell from {ranks[0]:.1f} to {ranks[-1]:.1f}")
    if findings:
        message = f"the embedding collapses: {'; '.join(findings)}. {_cause(config)}"
        warnings.warn(message, CollapseWarning, stacklevel=3)


def _cause(config: Config) -> str:
    if config.mu == 0 or config.gamma == 0:
        return (
            f"Nothing keeps dimensions apart: the variance term is off (mu={config.mu:g}, "
            f"gamma={config.gamma:g})"
        )
    if config.mu < 0.2 * config.lam:
        return (
            f"The variance term is weak beside the invariance: mu={config.mu:g}, "
            f"lam={config.lam:g}; the paper takes them equal"
        )
    if config.final_relu:
        return "A ReLU on the last layer can switch units off for good: try final_relu=False"
    if config.nu == 0:
        return "Nothing decorrelates dimensions: the covariance term is off (nu=0)"
    if config.swap + config.mask + config.noise > 0.9:
        return (
            f"The views have little in common: swap={config.swap:g}, mask={config.mask:g}, "
            f"noise={config.noise:g}; try weaker corruption"
        )
    return f"The learning rate may be too high: lr={config.lr:g}"
