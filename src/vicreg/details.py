"""The details of an embedding: what training gives up on, kept at a small scale.

Training makes views of a row alike, so it gives up what the views disagree in. That makes good
distances, but a later model may want what is lost. So some components of the embedding hold the
row itself and the encoder's last hidden layer, each with a total variance of 1 (that of a wide row
is larger), as their first principal components. With them go waves: cosines of random projections
of the learnt components, whose products are about exp(-d²/2s²) of the distance d between rows, so
that a linear model can draw borders that are not straight. The principal components are rotated at
random, so that every component holds a bit of all of them: where components are standardised, as
before a logistic regression, the leading directions stay the leading ones. The components are
scaled to a small share of the learnt ones' deviation, so that euclidean distances are those of the
learnt components.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vicreg.neighbours import dense
from vicreg.networks import Encoder, TableLinear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.networks import JointEmbedding, Rows

__all__ = ["fit_details", "joint_moments"]

#: Rows whose distances tell how wide the waves are.
MOST_DISTANT = 500
#: Width of the waves, s, in units of the median distance of two rows.
WIDTH = 0.8
#: Deviation of all waves together; that of the row is 1, and that of the hidden layer.
OF_WAVES = 1.5
#: Dimensions of a row beyond which its variance grows with their number. Otherwise each would have
#: less of it than a wave has, and most of a wide row would not be among the components.
FEW_DIMENSIONS = 256
#: Least share of the largest variance that a principal direction must have, to be one.
LEAST_VARIANCE = 1e-9
#: Least deviation that the mean of several details has, in units of what is wanted, if any varies.
LEAST_DEVIATION = 1e-6


@torch.no_grad()
def fit_details(
    network: JointEmbedding,
    rows: Rows,
    cardinalities: Sequence[int],
    *,
    scale: float,
    power: float = 1.0,
    generator: torch.Generator,
) -> None:
    """Set the details of a network's encoders in closed form; nothing where there are none.

    Parameters
    ----------
    network : JointEmbedding
        Changed in place, and left in evaluation mode.
    rows : Rows
        Training rows, on the network's device; their square is held in memory.
    cardinalities : sequence of int
        Codes of each categorical column.
    scale : float
        Deviation of all details together, in units of that of the learnt components.
    power : float
        What the variances along principal directions are raised to; not negative.
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
    for encoder in network.encoders:
        _fit(encoder, rows, cardinalities, scale, power, generator)  # type: ignore[arg-type]
    if len(network.encoders) > 1:
        _fit_mean(network, rows, scale)


def _fit(
    encoder: Encoder,
    rows: Rows,
    cardinalities: Sequence[int],
    scale: float,
    power: float,
    generator: torch.Generator,
) -> None:
    details = encoder.details
    if details is None:
        return
    hidden = encoder.hidden(rows)
    learnt = encoder(rows)
    maps: list[TableLinear | nn.Linear] = [details.of_row]
    parts = [dense(rows, cardinalities)]
    if details.of_hidden is not None:
        maps.append(details.of_hidden)
        parts.append(hidden)
    if details.phases is not None and details.of_waves is not None:
        _draw_waves(details.phases, learnt, generator)
        maps.append(details.of_waves)
        parts.append(details.waves(learnt))
    shares = [max(1.0, math.sqrt(parts[0].shape[1] / FEW_DIMENSIONS)), *[1.0] * (len(parts) - 1)]
    if details.of_waves is not None:
        shares[-1] = OF_WAVES
    moments = [
        (mean, deviation / share)
        for (mean, deviation), share in zip(map(joint_moments, parts), shares, strict=True)
    ]
    del hidden
    joint = _joint(parts, moments)
    del parts  # what follows takes more than what is behind
    turned = _turned_components(joint, len(details.of_row.weight), power, generator)
    _, of_learnt = joint_moments(encoder.shaped(learnt))
    _, of_turned = joint_moments(joint @ turned)
    turned *= scale * of_learnt / of_turned
    centre = torch.zeros_like(turned[0])
    place = 0
    for layer, (mean, deviation) in zip(maps, moments, strict=True):
        matrix = turned[place : place + len(mean)] / deviation
        place += len(mean)
        centre += mean @ matrix
        if isinstance(layer, TableLinear):
            n_numbers = rows.numbers.shape[1]
            layer.codes.copy_(matrix[n_numbers:])
            matrix = matrix[:n_numbers]
        layer.weight.copy_(matrix.T)
    assert details.of_row.bias is not None
    details.of_row.bias.copy_(-centre)


def _fit_mean(network: JointEmbedding, rows: Rows, scale: float) -> None:
    """Give the mean of several encoders' details their deviation.

    Each has it, but they are rotated apart, so that their mean has less.
    """
    details = [encoder.details for encoder in network.encoders if isinstance(encoder, Encoder)]
    n_details = 0 if details[0] is None else len(details[0].of_row.weight)
    if not n_details:
        return
    embedding = network.embed(rows)
    n_learnt = network.learnt(rows).shape[1]
    _, of_learnt = joint_moments(embedding[:, :n_learnt])
    _, of_details = joint_moments(embedding[:, -n_details:])
    wanted = scale * of_learnt
    if not of_details > LEAST_DEVIATION * wanted:  # nothing varies: rounding stays small
        return
    factor = wanted / of_details
    for one in details:
        assert one is not None
        layers = [one.of_row, one.of_hidden, one.of_waves]
        for parameter in [p for layer in layers if layer is not None for p in layer.parameters()]:
            parameter.mul_(factor)


def _joint(parts: list[Tensor], moments: list[tuple[Tensor, Tensor]]) -> Tensor:
    """All parts beside each other in float64, in units of their moments; filled in place."""
    widths = [part.shape[1] for part in parts]
    joint = torch.empty(len(parts[0]), sum(widths), dtype=torch.float64, device=parts[0].device)
    for place, part, (mean, deviation) in zip(
        torch.split(joint, widths, dim=1), parts, moments, strict=True
    ):
        place.copy_(part).sub_(mean).div_(deviation)
    return joint


def _draw_waves(phases: nn.Linear, learnt: Tensor, generator: torch.Generator) -> None:
    """Frequencies and offsets of random Fourier features of the learnt components (n, k).

    Frequencies are drawn in blocks of k that are orthogonal to each other, which come nearer to the
    kernel than as many independent ones.

    Source: Yu et al., "Orthogonal Random Features", NIPS 2016, equation 3.
    """
    count, dims = phases.weight.shape
    device = generator.device
    order = torch.randperm(len(learnt), generator=generator, device=device)
    distances = torch.pdist(learnt[order[:MOST_DISTANT]].double())
    typical = distances.median() if len(distances) else distances.new_zeros(())
    blocks = []
    for _ in range(math.ceil(count / dims)):
        normal = torch.randn(dims, dims, generator=generator, device=device).double()
        lengths = torch.randn(dims, dims, generator=generator, device=device).double().norm(dim=1)
        blocks.append(torch.linalg.qr(normal).Q * lengths[:, None])
    phases.weight.copy_(torch.cat(blocks)[:count] / (WIDTH * typical if typical > 0 else 1))
    offsets = torch.rand(count, generator=generator, device=device)
    phases.bias.copy_(2 * math.pi * offsets)


def joint_moments(part: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,), and the deviation of all dimensions together; 1 where nothing varies."""
    variance, mean = torch.var_mean(part.double(), dim=0, correction=0)
    deviation = variance.sum().sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)


def _turned_components(
    joint: Tensor, count: int, power: float, generator: torch.Generator
) -> Tensor:
    """The first principal directions of centred rows (n, d), rotated at random: (d, count).

    Each is as long as raises the variance along it to a power, up to a factor that all have.
    """
    n_rows, width = joint.shape
    # The smaller of the two products has all that is needed.
    is_wide = width > n_rows
    values, vectors = torch.linalg.eigh(joint @ joint.T if is_wide else joint.T @ joint)
    found, directions = values.flip(0)[:count], vectors.flip(1)[:, :count]
    kept = found > LEAST_VARIANCE * found[:1]
    found, directions = found[kept], directions[:, kept]
    if is_wide:
        directions = joint.T @ directions
        directions /= found.sqrt()
    directions *= (found / found[:1]) ** ((power - 1) / 2)
    normal = torch.randn(count, count, generator=generator, device=generator.device)
    rotation, _ = torch.linalg.qr(normal.double())
    turned: Tensor = directions @ rotation[: directions.shape[1]]
    return turned
