"""Encoder, projector, and the two of them on two views.

Source: arXiv 2105.04906, section 4.2 (encoder and expander), section 5.1 (their layers: linear,
batch normalisation, ReLU; the last layer linear), table 5 (networks that do not share weights).
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Details",
    "Encoder",
    "JointEmbedding",
    "Neighbourhoods",
    "Rows",
    "TableLinear",
    "fold_norm",
    "linear",
    "projector",
]

#: Width of the hidden layer behind the neighbourhoods.
NEIGHBOURHOOD_WIDTH = 256


@dataclass(frozen=True)
class Rows:
    """Encoded rows of a table: the numbers (rows, p) and the category codes (rows, q).

    Rows of counts have their depth (rows,) beside: the sum of all the row's counts.
    """

    numbers: Tensor
    codes: Tensor
    depth: Tensor | None = None

    def take(self, index: Tensor | slice) -> Rows:
        """Some of the rows."""
        return Rows(
            self.numbers[index],
            self.codes[index],
            None if self.depth is None else self.depth[index],
        )

    def halves(self) -> tuple[Rows, Rows]:
        """The first and the second half of the rows, without a copy."""
        n = len(self) // 2
        return self.take(slice(0, n)), self.take(slice(n, None))

    def empty(self, n_rows: int, dtype: torch.dtype | None = None) -> Rows:
        """So many rows of the same kind, on the same device, not filled; numbers of a dtype."""
        return Rows(
            self.numbers.new_empty(n_rows, self.numbers.shape[1], dtype=dtype),
            self.codes.new_empty(n_rows, self.codes.shape[1]),
            None if self.depth is None else self.depth.new_empty(n_rows),
        )

    def sample(self, most: int, generator: torch.Generator) -> Rows:
        """All rows, or so many of them at random; the generator is on the rows' device."""
        if len(self) <= most:
            return self
        order = torch.randperm(len(self), device=self.numbers.device, generator=generator)
        return self.take(order[:most])

    def to(self, device: torch.device) -> Rows:
        """The rows on another device."""
        return Rows(
            self.numbers.to(device),
            self.codes.to(device),
            None if self.depth is None else self.depth.to(device),
        )

    def fill(self, source: Rows, positions: Tensor) -> None:
        """Overwrite with the rows of another table at these positions."""
        if self.numbers.dtype == source.numbers.dtype:
            torch.index_select(source.numbers, 0, positions, out=self.numbers)
        else:
            self.numbers.copy_(source.numbers.index_select(0, positions))
        if source.codes.shape[1]:
            torch.index_select(source.codes, 0, positions, out=self.codes)
        if source.depth is not None and self.depth is not None:
            torch.index_select(source.depth, 0, positions, out=self.depth)

    def copy(self, other: Rows) -> None:
        """Overwrite with as many other rows."""
        self.numbers.copy_(other.numbers)
        if other.codes.shape[1]:
            self.codes.copy_(other.codes)
        if self.depth is not None and other.depth is not None:
            self.depth.copy_(other.depth)

    def __len__(self) -> int:
        return self.numbers.shape[0]


def linear(
    before: int, after: int, *, bias: bool = True, generator: torch.Generator | None = None
) -> nn.Linear:
    """PyTorch's linear layer with its initial weights, drawn from a generator of the caller's.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import linear
    >>> layer = linear(3, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(layer.weight.abs().max() < 1 / 3**0.5)
    True
    """
    layer = nn.Linear(before, after, bias=bias, device="meta").to_empty(device="cpu")
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if layer.bias is not None:
        bound = 1 / math.sqrt(before)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


class TableLinear(nn.Module):
    """A linear map of a table's rows: of its numbers, plus one learnt row per category code.

    The same as a linear map of the numbers beside one-hot codes, without ever making those.

    Parameters
    ----------
    n_numbers : int
        Numeric columns, p.
    cardinalities : sequence of int
        Number of codes of each categorical column, q in all, the bucket 0 counted.
    out_features : int
        Width of the result.
    bias : bool
        Add a learnt constant.
    generator : torch.Generator, optional
        On the CPU; initial weights are drawn from it, by default from PyTorch's global one.

    Shape
    -----
    - rows: numbers ``(rows, p)`` float32, codes ``(rows, q)`` integer
    - output: ``(rows, out_features)``

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows, TableLinear
    >>> layer = TableLinear(3, [4, 2], 5)
    >>> rows = Rows(torch.zeros(7, 3), torch.ones(7, 2, dtype=torch.int32))
    >>> layer(rows).shape
    torch.Size([7, 5])
    """

    offsets: Tensor

    def __init__(
        self,
        n_numbers: int,
        cardinalities: Sequence[int],
        out_features: int,
        *,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_numbers = n_numbers
        n_codes = sum(cardinalities)
        # What a dense layer over [numbers, one-hot codes] has as fan-in: a row has one code per
        # categorical column that is not zero.
        bound = 1 / math.sqrt(max(1, n_numbers + len(cardinalities)))

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        self.weight = drawn(out_features, n_numbers)
        self.codes = drawn(n_codes, out_features)
        self.bias = drawn(out_features) if bias else None
        starts = [sum(cardinalities[:column]) for column in range(len(cardinalities))]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int32), persistent=False)

    def forward(self, rows: Rows) -> Tensor:
        if rows.codes.shape[1] == 0:
            return F.linear(rows.numbers, self.weight, self.bias)
        of_codes = F.embedding_bag(rows.codes + self.offsets, self.codes, mode="sum")
        if self.bias is not None:
            of_codes = of_codes + self.bias
        if self.n_numbers == 0:
            return of_codes
        return torch.addmm(of_codes, rows.numbers, self.weight.T)


class Details(nn.Module):
    """A linear map of a row, of the last hidden layer, and of waves over the learnt components.

    No gradient trains it: :func:`vicreg.details.fit_details` sets it after training; until then it
    gives zeros. Waves are random Fourier features, cosines of random projections.

    Source: Rahimi, Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007,
    algorithm 1.

    Parameters
    ----------
    n_numbers, cardinalities
        The table, see :class:`TableLinear`.
    n_hidden : int
        Width of the last hidden layer; 0 if there is none.
    n_learnt : int
        Width of what is learnt, k.
    n_waves : int
        Random Fourier features of the learnt components; 0 for none.
    n_details : int
        Width of the result, r.

    Shape
    -----
    - rows: :class:`Rows` of n rows
    - hidden: ``(n, n_hidden)``
    - learnt: ``(n, k)``
    - output: ``(n, r)``
    """

    def __init__(
        self,
        n_numbers: int,
        cardinalities: Sequence[int],
        *,
        n_hidden: int,
        n_learnt: int,
        n_waves: int,
        n_details: int,
    ) -> None:
        super().__init__()
        own = torch.Generator()  # draws what is set to zero: others begin the same without it
        self.of_row = TableLinear(n_numbers, cardinalities, n_details, generator=own)
        self.of_hidden = (
            linear(n_hidden, n_details, bias=False, generator=own) if n_hidden else None
        )
        self.phases = linear(n_learnt, n_waves, generator=own) if n_waves else None
        self.of_waves = linear(n_waves, n_details, bias=False, generator=own) if n_waves else None
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)

    def waves(self, learnt: Tensor) -> Tensor:
        """Cosines of random projections (n, n_waves)."""
        assert self.phases is not None
        return torch.cos(self.phases(learnt))

    def forward(self, rows: Rows, hidden: Tensor, learnt: Tensor) -> Tensor:
        told: Tensor = self.of_row(rows)
        if self.of_hidden is not None:
            told = told + self.of_hidden(hidden)
        if self.of_waves is not None:
            told = told + self.of_waves(self.waves(learnt))
        return told


class Neighbourhoods(nn.Module):
    """A network of one hidden layer on the learnt components, which draws near rows together.

    :func:`vicreg.neighbourhoods.fit_neighbourhoods` trains it, when all else is trained; until then
    it gives zeros.

    Parameters
    ----------
    n_learnt, n_hidden, n_components : int
        Widths of what goes in, of the hidden layer and of what comes out.

    Shape
    -----
    - learnt: ``(n, n_learnt)``, as an embedding has them
    - output: ``(n, n_components)``
    """

    def __init__(self, n_learnt: int, n_hidden: int, n_components: int) -> None:
        super().__init__()
        own = torch.Generator()
        self.first = linear(n_learnt, n_hidden, generator=own)
        self.last = linear(n_hidden, n_components, generator=own)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)

    def forward(self, learnt: Tensor) -> Tensor:
        found: Tensor = self.last(F.relu(self.first(learnt)))
        return found


class Encoder(nn.Module):
    """The network that is kept: rows of a table to their embedding.

    Training sees the learnt components, which calling the module gives; :meth:`embed` shapes them
    and puts neighbourhoods and details beside them.

    Parameters
    ----------
    n_numbers, cardinalities
        The table, see :class:`TableLinear`.
    hidden : sequence of int
        Widths of the hidden layers, each linear, batch normalisation (if asked for), ReLU.
    n_components : int
        Width of what is learnt, k.
    batch_norm, final_relu, skip : bool
        See :class:`vicreg.config.Config`.
    n_neighbourhood : int
        Width of the neighbourhoods, m, see :class:`Neighbourhoods`.
    n_details, n_waves : int
        Width of the details, r, and of what some of them are made of, see :class:`Details`.
    shaped : bool
        Multiply the learnt components by a matrix that follows training, see
        :func:`vicreg.spectrum.shape_spectrum`.
    generator : torch.Generator, optional
        Of the initial weights, see :class:`TableLinear`.

    Shape
    -----
    - rows: :class:`Rows` of n rows
    - output: ``(n, k)``, of ``embed`` ``(n, k + m + r)``

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Encoder, Rows
    >>> encoder = Encoder(3, [], hidden=[8], n_components=2)
    >>> encoder(Rows(torch.zeros(5, 3), torch.zeros(5, 0, dtype=torch.int32))).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        n_numbers: int,
        cardinalities: Sequence[int],
        *,
        hidden: Sequence[int],
        n_components: int,
        batch_norm: bool = True,
        final_relu: bool = False,
        skip: bool = False,
        n_neighbourhood: int = 0,
        n_details: int = 0,
        n_waves: int = 0,
        shaped: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [*hidden, n_components]
        of_table = partial(TableLinear, n_numbers, cardinalities, generator=generator)
        self.first = of_table(widths[0])
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += _between(before, batch_norm=batch_norm)
            layers.append(linear(before, after, generator=generator))
        if final_relu:
            layers.append(nn.ReLU())
        self.rest = nn.Sequential(*layers)
        self.skip = of_table(n_components, bias=False) if skip else None
        self.n_hidden = hidden[-1] if hidden else 0
        self.shape = nn.Parameter(torch.eye(n_components), requires_grad=False) if shaped else None
        self.neighbourhoods: Neighbourhoods | None = None
        self.details: Details | None = None
        if n_neighbourhood:
            self.neighbourhoods = Neighbourhoods(n_components, NEIGHBOURHOOD_WIDTH, n_neighbourhood)
        if n_details:
            self.details = Details(
                n_numbers,
                cardinalities,
                n_hidden=self.n_hidden,
                n_learnt=n_components,
                n_waves=n_waves,
                n_details=n_details,
            )
        # Where the last hidden layer ends: what follows is linear, and a ReLU if asked for.
        self._after_hidden = len(layers) - (1 + final_relu) if hidden else 0

    def forward(self, rows: Rows) -> Tensor:
        return self._learnt(rows, self.hidden(rows))

    def hidden(self, rows: Rows) -> Tensor:
        """The last hidden layer's output; without hidden layers that of the first linear map."""
        hidden: Tensor = self.first(rows)
        for layer in list(self.rest)[: self._after_hidden]:
            hidden = layer(hidden)
        return hidden

    def embed(self, rows: Rows) -> Tensor:
        """The learnt components, shaped, then neighbourhoods, then details (n, k + m + r)."""
        hidden = self.hidden(rows)
        learnt = self._learnt(rows, hidden)
        shaped = self.shaped(learnt)
        parts = [shaped]
        if self.neighbourhoods is not None:
            parts.append(self.neighbourhoods(shaped))
        if self.details is not None:
            parts.append(self.details(rows, hidden, learnt))
        return torch.cat(parts, dim=1) if len(parts) > 1 else shaped

    def folded(self) -> Encoder:
        """A copy for embedding alone: batch normalisation is part of the linear maps before it."""
        copied = copy.deepcopy(self)
        linear: TableLinear | nn.Linear = copied.first
        for place, layer in enumerate(copied.rest):
            if isinstance(layer, nn.BatchNorm1d):
                fold_norm(linear, layer)
                copied.rest[place] = nn.Identity()
            elif isinstance(layer, nn.ReLU):
                copied.rest[place] = nn.ReLU(inplace=True)
            else:
                assert isinstance(layer, nn.Linear)
                linear = layer
        return copied

    def shaped(self, learnt: Tensor) -> Tensor:
        """The learnt components (n, k) as an embedding has them."""
        return learnt if self.shape is None else learnt @ self.shape

    def _learnt(self, rows: Rows, hidden: Tensor) -> Tensor:
        learnt = hidden
        for layer in list(self.rest)[self._after_hidden :]:
            learnt = layer(learnt)
        return learnt if self.skip is None else learnt + self.skip(rows)


@torch.no_grad()
def fold_norm(linear: TableLinear | nn.Linear, norm: nn.BatchNorm1d) -> None:
    """Make a linear map the same as itself with batch normalisation behind it, in evaluation.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from vicreg.networks import fold_norm
    >>> linear, norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
    >>> rows = torch.randn(50, 3)
    >>> _ = norm(linear(rows))  # in training: the norm learns mean and variance
    >>> wanted = norm.eval()(linear(rows))
    >>> fold_norm(linear, norm)
    >>> torch.allclose(linear(rows), wanted, atol=1e-6)
    True
    """
    assert linear.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    linear.weight.mul_(factor.unsqueeze(1))
    linear.bias.sub_(norm.running_mean).mul_(factor).add_(norm.bias)
    if isinstance(linear, TableLinear):
        linear.codes.mul_(factor)


def projector(
    n_components: int,
    widths: Sequence[int],
    *,
    batch_norm: bool = True,
    final_relu: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """The network that only training uses: an embedding (n, k) to its projection (n, widths[-1]).

    Hidden layers are linear, batch normalisation, ReLU; the last one is linear without bias, as in
    the paper, or linear and ReLU with ``final_relu``. Without widths it is the identity. Initial
    weights are drawn from the generator, see :class:`TableLinear`.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import projector
    >>> projector(4, [16, 16])(torch.zeros(5, 4)).shape
    torch.Size([5, 16])
    """
    layers: list[nn.Module] = []
    for depth, (before, after) in enumerate(zip([n_components, *widths], widths, strict=False)):
        if depth:
            layers += _between(before, batch_norm=batch_norm)
        is_last = depth == len(widths) - 1
        # Batch normalisation takes any constant away again.
        bias = final_relu if is_last else not batch_norm
        layers.append(linear(before, after, bias=bias, generator=generator))
    if final_relu and layers:
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class JointEmbedding(nn.Module):
    """Encoder and projector on two views, with shared weights or with two networks.

    With separate networks the embedding of a row is the mean of the two encoders' outputs: the
    loss pulls both towards the same projection, and neither branch is the better one.

    Shape
    -----
    - ``forward(views)``: of 2n rows, all first views before all second ones, two projections
      ``(n, d)``
    - ``learnt(rows)``: ``(n, k)``
    - ``embed(rows)``: ``(n, k + m + r)``, with m neighbourhood components and r details
    """

    def __init__(self, encoders: Sequence[Encoder], projectors: Sequence[nn.Module]) -> None:
        super().__init__()
        assert len(encoders) == len(projectors)
        assert len(encoders) in (1, 2)
        self.encoders = nn.ModuleList(encoders)
        self.projectors = nn.ModuleList(projectors)

    def forward(self, views: Rows) -> tuple[Tensor, Tensor]:
        if len(self.encoders) == 2:
            view1, view2 = views.halves()
            z1 = self.projectors[0](self.encoders[0](view1))
            z2 = self.projectors[1](self.encoders[1](view2))
            return z1, z2
        # One pass of both views: half the kernel launches. Batch normalisation then takes its
        # statistics over both. NOTE[DIFF] The authors' code passes the views one by one.
        z1, z2 = self.projectors[0](self.encoders[0](views)).chunk(2)
        return z1, z2

    @property
    def largest_layer(self) -> int:
        """Entries of the largest weight matrix: what a row costs at its dearest layer."""
        return max(p.numel() for p in self.parameters() if p.dim() == 2)

    def learnt(self, rows: Rows) -> Tensor:
        """What training sees of rows (n, k): the encoder's output, or the mean of the two's."""
        return _mean([encoder(rows) for encoder in self.encoders])

    def embed(self, rows: Rows) -> Tensor:
        """Embedding of rows (n, k + m + r): the same, with neighbourhoods and details."""
        return _mean([encoder.embed(rows) for encoder in self._encoders])

    def folded(self) -> JointEmbedding:
        """The same for embedding alone, see :meth:`Encoder.folded`."""
        other = copy.copy(self)
        other._modules = {
            **self._modules,
            "encoders": nn.ModuleList(encoder.folded() for encoder in self._encoders),
        }
        return other

    @property
    def _encoders(self) -> list[Encoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]


def _mean(outputs: Sequence[Tensor]) -> Tensor:
    first, *others = outputs
    total = sum(others, first)
    return total / len(outputs) if others else first


def _between(width: int, *, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm1d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
