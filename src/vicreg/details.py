"""The details of an embedding: what training gives up on, kept at a small scale.

Training makes views of a row alike, so it gives up what the views disagree in. That makes good
distances, but a later model may want what is lost. So some components of the embedding hold the
row itself and the encoder's last hidden layer, each with a total variance of 1, as their first
principal components. These are rotated at random, so that every component holds a bit of all of
them: where components are standardised, as before a logistic regression, the leading directions
stay the leading ones. The components are scaled to a small share of the learnt ones' deviation,
so that euclidean distances are those of the learnt components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vicreg.neighbours import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.networks import Encoder, JointEmbedding, Rows

__all__ = ["fit_details"]

#: Rows that principal components are taken of, at the most.
MOST_ROWS = 1000


@torch.no_grad()
def fit_details(
    network: JointEmbedding,
    rows: Rows,
    cardinalities: Sequence[int],
    *,
    scale: float,
    generator: torch.Generator,
) -> None:
    """Set the details of a network's encoders in closed form; nothing where there are none.

    Parameters
    ----------
    network : JointEmbedding
        Changed in place, and left in evaluation mode.
    rows : Rows
        Training rows, on the network's device.
    cardinalities : sequence of int
        Codes of each categorical column.
    scale : float
        Deviation of all details together, in units of that of the learnt components.
    generator : torch.Generator
        Of the rotation, on the device of the rows.

    Examples
    --------
    >>> import torch
    >>> from vicreg.details import fit_details
    >>> from vicreg.networks import Encoder, JointEmbedding, Rows, projector
    >>> encoder = Encoder(3, [], hidden=[8], n_components=4, n_details=2)
    >>> network = JointEmbedding([encoder], [projector(4, [])])
    >>> rows = Rows(torch.randn(50, 3), torch.zeros(50, 0, dtype=torch.int32))
    >>> fit_details(network, rows, [], scale=0.1, generator=torch.Generator().manual_seed(0))
    >>> deviations = network.embed(rows).var(dim=0)
    >>> round((deviations[4:].sum() / deviations[:4].sum()).sqrt().item(), 3)
    0.1
    """
    network.eval()
    if len(rows) > MOST_ROWS:
        order = torch.randperm(len(rows), generator=generator, device=generator.device)
        rows = rows.take(order[:MOST_ROWS])
    for encoder in network.encoders:
        _fit(encoder, rows, cardinalities, scale, generator)  # type: ignore[arg-type]


def _fit(
    encoder: Encoder,
    rows: Rows,
    cardinalities: Sequence[int],
    scale: float,
    generator: torch.Generator,
) -> None:
    details = encoder.details
    if details is None:
        return
    parts = [dense(rows, cardinalities)]
    if details.of_hidden is not None:
        parts.append(encoder.hidden(rows))
    moments = [_moments(part) for part in parts]
    joint = torch.cat(
        [
            (part.double() - mean) / deviation
            for part, (mean, deviation) in zip(parts, moments, strict=True)
        ],
        dim=1,
    )
    turned = _turned_components(joint, len(details.of_row.weight), generator)
    _, of_learnt = _moments(encoder(rows))
    _, of_turned = _moments(joint @ turned)
    turned *= scale * of_learnt / of_turned
    centre = torch.zeros_like(turned[0])
    maps: list[Tensor] = []
    place = 0
    for mean, deviation in moments:
        maps.append(turned[place : place + len(mean)] / deviation)
        centre += mean @ maps[-1]
        place += len(mean)
    n_numbers = rows.numbers.shape[1]
    details.of_row.weight.copy_(maps[0][:n_numbers].T)
    details.of_row.codes.copy_(maps[0][n_numbers:])
    assert details.of_row.bias is not None
    details.of_row.bias.copy_(-centre)
    if details.of_hidden is not None:
        details.of_hidden.weight.copy_(maps[1].T)


def _moments(part: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,), and the deviation of all dimensions together; 1 where nothing varies."""
    variance, mean = torch.var_mean(part.double(), dim=0, correction=0)
    deviation = variance.sum().sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)


def _turned_components(joint: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The first principal directions of centred rows (n, d), rotated at random: (d, count)."""
    n_rows, width = joint.shape
    # The smaller of the two products has all that is needed.
    if width <= n_rows:
        _, vectors = torch.linalg.eigh(joint.T @ joint)
        directions = vectors.flip(1)[:, :count]
    else:
        values, vectors = torch.linalg.eigh(joint @ joint.T)
        found = values.flip(0)[:count]
        found = found[found > 1e-9 * found[0]]
        directions = joint.T @ vectors.flip(1)[:, : len(found)] / found.sqrt()
    normal = torch.randn(count, count, generator=generator, device=generator.device)
    rotation, _ = torch.linalg.qr(normal.double())
    turned: Tensor = directions @ rotation[: directions.shape[1]]
    return turned
