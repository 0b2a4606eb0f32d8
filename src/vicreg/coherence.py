"""How much the columns of a table tell about each other.

Neighbouring pixels, bands of a spectrum and measurements of one shape say the same thing many
times: rows that are near in some of the columns are near in the others too. Elsewhere columns go
their own ways (genes, words, letters of a sequence). Halves of the columns also tell whether small
directions matter, and whether rows fall into clusters at all. What follows from it is in
:mod:`vicreg.rules`.
"""

from __future__ import annotations

from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING

import torch

from vicreg.label_free import cluster_agreement
from vicreg.neighbours import dense, near_rows
from vicreg.networks import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from vicreg.views import Layout

__all__ = ["clumpiness", "coherence", "fineness"]

NEIGHBOURS = 10
MOST_ROWS = 1000
REPEATS = 16
#: Halves for fineness and clumpiness, each of which takes two decompositions or clusterings.
FEWER_REPEATS = 8
#: What variances are raised to in the flat space, and in the sharp one.
FLAT, SHARP = 0.25, 2.0
#: Least share of the largest variance that a direction must have, to be one.
LEAST_VARIANCE = 1e-4


def coherence(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], generator: torch.Generator
) -> float:
    """Share of the variance of one half of the columns that 10 neighbours in the other half tell.

    The mean over some random halves, of at most 1,000 rows; at most 1, and 0 or less where
    columns tell nothing of each other. A category counts as columns of 0 and 1.

    Parameters
    ----------
    rows : Rows
        Encoded rows, more than one.
    layout : Layout
        On the device of the rows.
    cardinalities : sequence of int
        Codes of each categorical column.
    generator : torch.Generator
        On the device of the rows.

    Examples
    --------
    >>> import torch
    >>> from vicreg.coherence import coherence
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout
    >>> generator = torch.Generator().manual_seed(0)
    >>> one = torch.randn(500, 1, generator=generator)
    >>> none = torch.zeros(500, 0, dtype=torch.int32)
    >>> copies, others = one.repeat(1, 6), torch.randn(500, 6, generator=generator)
    >>> round(coherence(Rows(copies, none), Layout.plain(6), [], generator), 1)
    1.0
    >>> coherence(Rows(others, none), Layout.plain(6), [], generator) < 0.1
    True
    """
    halves = _halves(rows, layout, cardinalities, generator, REPEATS)
    return _mean(starmap(partial(_told, generator=generator), halves))


def fineness(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], generator: torch.Generator
) -> float:
    """How much better neighbours tell a table where its spectrum is flat than where it is sharp.

    As :func:`coherence`, but what is told is the principal components of the other half, each with
    the same weight; and what is asked for is the difference between two spaces, the first half with
    its variances raised to the power of 1/4, and to the power of 2. The larger it is, the more the
    small directions of a table tell that its large ones do not.

    Parameters
    ----------
    rows, layout, cardinalities, generator
        As of :func:`coherence`.

    Examples
    --------
    >>> import torch
    >>> from vicreg.coherence import fineness
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout
    >>> generator = torch.Generator().manual_seed(0)
    >>> size = torch.tensor([10.0, 1.0, 1.0])  # one large direction, and two small ones
    >>> directions = size * torch.randn(500, 3, generator=generator)
    >>> none = torch.zeros(500, 0, dtype=torch.int32)
    >>> columns = directions @ torch.randn(3, 12, generator=generator)
    >>> fineness(Rows(columns, none), Layout.plain(12), [], generator) > 0.1
    True
    >>> noise = torch.randn(500, 12, generator=generator)
    >>> columns = directions[:, :1] + noise  # one large direction, and nothing else
    >>> fineness(Rows(columns, none), Layout.plain(12), [], generator) < 0.02
    True
    """
    halves = _halves(rows, layout, cardinalities, generator, FEWER_REPEATS)
    return _mean(starmap(partial(_finer, generator=generator), halves))


def clumpiness(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], generator: torch.Generator
) -> float:
    """How far two halves of the columns fall into the same clusters.

    The adjusted Rand index of the k-means clusters of two random halves, 10 clusters or one for
    every 10 rows, its mean over some halves. At most 1; about 0 where a half's clusters say nothing
    of the other's: cuts through a cloud that goes on evenly in several directions. 0 of fewer than
    20 rows, which are too few for two clusters.

    Parameters
    ----------
    rows, layout, cardinalities, generator
        As of :func:`coherence`.

    Examples
    --------
    >>> import torch
    >>> from vicreg.coherence import clumpiness
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout
    >>> generator = torch.Generator().manual_seed(0)
    >>> none = torch.zeros(500, 0, dtype=torch.int32)
    >>> centres = torch.randn(10, 12, generator=generator)
    >>> clumps = centres.repeat(50, 1) + 0.1 * torch.randn(500, 12, generator=generator)
    >>> clumpiness(Rows(clumps, none), Layout.plain(12), [], generator) > 0.8
    True
    >>> even = torch.randn(500, 12, generator=generator)
    >>> clumpiness(Rows(even, none), Layout.plain(12), [], generator) < 0.1
    True
    """
    halves = _halves(rows, layout, cardinalities, generator, FEWER_REPEATS)

    def agreement(one: Tensor, other: Tensor) -> float:
        seed = torch.randint(2**31 - 1, (1,), generator=generator, device=one.device)
        points = one.cpu().numpy(), other.cpu().numpy()
        return cluster_agreement(*points, random_state=int(seed))

    return _mean(starmap(agreement, halves))


def _finer(known: Tensor, asked: Tensor, generator: torch.Generator) -> float:
    """How much more of one space (n, q) is told by another (n, p) that is flat than if sharp."""
    components, variances = _whitened(known)
    whitened, _ = _whitened(asked)
    flat, sharp = (
        _told(components * variances.pow(power / 2), whitened, generator) for power in (FLAT, SHARP)
    )
    return flat - sharp


def _told(known: Tensor, asked: Tensor, generator: torch.Generator) -> float:
    """Share of the variance of one space (n, p) that a row's neighbours in another (n, q) tell."""
    no_codes = torch.zeros(len(known), 0, dtype=torch.int32, device=known.device)
    near = near_rows(Rows(known, no_codes), [], NEIGHBOURS, generator)
    told = torch.zeros_like(asked)
    for others in near.T:  # one by one: all at once would take ten tables of memory
        told += asked[others]
    error = told.div_(near.shape[1]).sub_(asked).square_().sum()
    variance = torch.sub(asked, asked.mean(dim=0), out=told).square_().sum()
    return float(1 - error / variance) if variance > 0 else 0.0


def _whitened(space: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components (n, k) of a space (n, p), all of one size, and their variances (k,)."""
    centred = (space - space.mean(dim=0)).double()
    n_rows, width = centred.shape
    # The smaller of the two products has all that is needed.
    if width <= n_rows:
        variances, directions = torch.linalg.eigh(centred.T @ centred)
    else:
        centred = centred @ centred.T  # a wide one itself is in the way, and not asked for again
        variances, directions = torch.linalg.eigh(centred)
    kept = variances > LEAST_VARIANCE * variances[-1:]
    variances, components = variances[kept], directions[:, kept]
    if width <= n_rows:
        components = centred @ components / variances.sqrt()
    return components.to(space.dtype), (variances / variances[-1:]).to(space.dtype)


def _halves(
    rows: Rows,
    layout: Layout,
    cardinalities: Sequence[int],
    generator: torch.Generator,
    repeats: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Halves of a table's columns drawn at random, and the others, with codes as columns.

    Of at most 1,000 rows; none where there is a single column. Take them with ``starmap``, which
    lets go of a pair before the next one is made; a loop's names would hold on to it.
    """
    rows = rows.sample(MOST_ROWS, generator)
    for _ in range(repeats if layout.n_columns > 1 else 0):
        column = torch.randperm(layout.n_columns, device=rows.numbers.device, generator=generator)
        first = column < layout.n_columns // 2
        yield (
            dense(*_half(rows, layout, cardinalities, first)),
            dense(*_half(rows, layout, cardinalities, ~first)),
        )


def _mean(found: Iterable[float]) -> float:
    """The mean, and 0 of nothing."""
    values = list(found)
    return sum(values) / max(1, len(values))


def _half(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], chosen: Tensor
) -> tuple[Rows, list[int]]:
    """The rows' numbers and codes of the columns chosen (n_columns,)."""
    numbers, codes = chosen[layout.numbers], chosen[layout.codes]
    kept = [c for c, is_kept in zip(cardinalities, codes.tolist(), strict=True) if is_kept]
    return Rows(rows.numbers[:, numbers], rows.codes[:, codes]), kept
