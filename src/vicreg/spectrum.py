"""The spectrum of the learnt components, raised to a power.

Euclidean distances weigh every direction by its variance, and training leaves some directions with
a hundred times the variance of others. In a table whose columns say the same thing many times, a
direction has much variance because it was measured often: there a power below 1 makes distances
that tell more. Where columns go their own ways, directions of little variance are mostly noise,
and a power above 1 quietens them. docs/quality.md has the measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vicreg.networks import JointEmbedding, Rows

__all__ = ["shape_spectrum"]

#: Least share of the largest variance that a direction is taken to have.
FLOOR = 1e-4


@torch.no_grad()
def shape_spectrum(network: JointEmbedding, rows: Rows, power: float) -> None:
    """Raise the variances along the learnt components' principal directions to a power.

    Their sum stays as it was. It is a linear map, which goes into the encoders' last layers; its
    inverse goes into the projectors' first ones, so that projections stay as they were too.

    Parameters
    ----------
    network : JointEmbedding
        Changed in place, and left in evaluation mode. Its encoders do not end in a ReLU.
    rows : Rows
        Training rows, on the network's device.
    power : float
        1 leaves all as it is, 0 would make the variances equal.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Encoder, JointEmbedding, Rows, projector
    >>> from vicreg.spectrum import shape_spectrum
    >>> encoder = Encoder(2, [], hidden=[], n_components=2)
    >>> encoder.first.weight.data = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> network = JointEmbedding([encoder], [projector(2, [])])
    >>> rows = Rows(torch.randn(1000, 2), torch.zeros(1000, 0, dtype=torch.int32))
    >>> shape_spectrum(network, rows, 0.5)
    >>> first, second = network.learnt(rows).std(dim=0).tolist()
    >>> round(first / second, 1)
    1.7
    """
    network.eval()
    if power == 1:
        return
    learnt = network.learnt(rows).double()
    learnt = learnt - learnt.mean(dim=0)
    variances, directions = torch.linalg.eigh(learnt.T @ learnt / len(learnt))
    if not variances[-1] > 0:
        return
    variances = variances.clamp(min=FLOOR * variances[-1])
    factors = variances ** ((power - 1) / 2)
    factors *= (variances.sum() / (variances * factors.square()).sum()).sqrt()
    there, back = (directions * one @ directions.T for one in (factors, 1 / factors))
    for encoder in network.encoders:
        encoder.follow_by(there)  # type: ignore[operator]
    for projector in network.projectors:
        _precede(projector, back)


def _precede(projector: nn.Module, matrix: Tensor) -> None:
    first = next(iter(projector.children()), None)
    if isinstance(first, nn.Linear):
        first.weight.copy_(first.weight.double() @ matrix.T)
