"""The spectrum of the learnt components, shaped after training.

Euclidean distances weigh every direction by its variance, and training leaves some directions with
a thousand times the variance of others. Neither end serves: the largest directions drown the next
ones, and the least ones are noise. So a direction's variance w becomes

    sqrt(w) · (w / (w + n))²

with n the level of the noise: the root brings directions above it nearer to each other, and
Wiener's weights, the share of w that is not noise, quieten those below it.

In a table whose columns say the same thing many times there is little noise to quieten, and less
still where its small directions tell much of each other; where columns go their own ways there is
much. docs/quality.md has the measurements.

Source: Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", 1949, for
the weights; the root and the square are this package's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vicreg.networks import Encoder

if TYPE_CHECKING:
    from vicreg.networks import JointEmbedding, Rows

__all__ = ["shape_spectrum"]

#: Least share of the largest variance that a direction is taken to have.
FLOOR = 1e-4


@torch.no_grad()
def shape_spectrum(network: JointEmbedding, rows: Rows, noise: float) -> None:
    """Set the matrix that follows the learnt components in an embedding.

    Directions stay where they are, and the variances' sum is what it was.

    Parameters
    ----------
    network : JointEmbedding
        Of encoders made with ``shaped=True``. Changed in place, and left in evaluation mode.
    rows : Rows
        Training rows, on the network's device.
    noise : float
        Level of the noise, n, in units of the mean variance of a direction; not negative.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Encoder, JointEmbedding, Rows, projector
    >>> from vicreg.spectrum import shape_spectrum
    >>> encoder = Encoder(2, [], hidden=[], n_components=2, shaped=True)
    >>> encoder.first.weight.data = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> network = JointEmbedding([encoder], [projector(2, [])])
    >>> rows = Rows(torch.randn(1000, 2), torch.zeros(1000, 0, dtype=torch.int32))
    >>> shape_spectrum(network, rows, 0.0)
    >>> first, second = network.embed(rows).var(dim=0).tolist()
    >>> round(first / second)
    4
    """
    network.eval()
    learnt = network.learnt(rows).double()
    learnt = learnt - learnt.mean(dim=0)
    variances, directions = torch.linalg.eigh(learnt.T @ learnt / len(learnt))
    if not variances[-1] > 0:
        return
    variances = variances.clamp(min=FLOOR * variances[-1])
    wanted = variances.sqrt() * (variances / (variances + noise * variances.mean())).square()
    wanted *= variances.sum() / wanted.sum()
    matrix = directions * (wanted / variances).sqrt() @ directions.T
    for encoder in network.encoders:
        assert isinstance(encoder, Encoder)
        assert encoder.shape is not None
        encoder.shape.copy_(matrix)
