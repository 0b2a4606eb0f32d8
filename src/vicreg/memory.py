"""What a fit and an embedding will take of memory, predicted from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from vicreg.coherence import MOST_ROWS as MOST_OF_RULES
from vicreg.companions import MOST_SEEDS
from vicreg.embedder import MOST_ROWS
from vicreg.inference import BLOCK
from vicreg.neighbourhoods import MOST_NEAR, NEAREST, OTHERS, PAIRS
from vicreg.neighbours import BLOCK as NEAR_BLOCK
from vicreg.neighbours import MOST_CANDIDATES
from vicreg.networks import NEIGHBOURHOOD_WIDTH
from vicreg.precision import bfloat16_pays
from vicreg.preparation import build_network, held_out_rows
from vicreg.sources import block_rows

if TYPE_CHECKING:
    from vicreg.config import Config
    from vicreg.networks import JointEmbedding
    from vicreg.table import TableEncoder

__all__ = ["MemoryEstimate", "estimate_memory"]

#: What libraries take once for a fit, whatever the sizes: compiled kernels, scratch space.
FIXED = 5 * 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes beyond the process and the source, at the peak of a fit and of an embedding.

    ``table`` is the encoded table, which is there throughout; the others come one after the other:
    ``encoding`` a block of the source; ``coherence`` and ``fineness`` halves of the columns, from
    which it is found out what "auto" stands for; ``views`` what batches, donors and held-out rows
    hold of the table, ``parameters`` weights, gradients, the optimiser's two moments, the best
    weights and casts, ``activations`` what a step keeps for its gradient, these three at once;
    then, beside the network, ``neighbourhoods`` and ``details`` what the one is trained on, and the
    principal components of the other are taken of.
    """

    table: int
    encoding: int
    coherence: int
    fineness: int
    views: int
    parameters: int
    activations: int
    neighbourhoods: int
    details: int
    transform: int

    @property
    def training(self) -> int:
        """What training takes beside the table."""
        return self.views + self.parameters + self.activations

    @property
    def fit(self) -> int:
        """Peak of a fit: the phases follow each other, so the largest of them makes it.

        Measured: of what one phase frees, another finds some three quarters to use again. Blocks of
        up to 32 MiB come from a heap, and do not fit into the gaps that smaller ones have left.
        """
        before_training = self.encoding, self.coherence, self.fineness
        *others, largest = sorted(
            (*before_training, self.training, self.neighbourhoods, self.details)
        )
        return self.table + largest + sum(others) // 4 + FIXED


def estimate_memory(
    n_rows: int, table: TableEncoder, config: Config, *, frame: bool = False
) -> MemoryEstimate:
    """Predict the peak memory of a fit on the CPU, and of embedding as many rows.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    table : TableEncoder
        Its columns.
    config : Config
        The configuration.
    frame : bool
        The source is a data frame or a file, which is encoded in larger blocks than an array.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.config import Config
    >>> from vicreg.memory import estimate_memory
    >>> from vicreg.table import TableEncoder
    >>> table = TableEncoder.fit(np.random.default_rng(0).normal(size=(100, 60)))
    >>> estimate = estimate_memory(1_000_000, table, Config())
    >>> estimate.table // 10**6
    240
    """
    with torch.device("meta"):
        network = build_network(table, config, seed=0)
    sizes = _Sizes(n_rows, table, config, network, frame)
    return MemoryEstimate(
        table=n_rows * sizes.row,
        encoding=_encoding(sizes),
        coherence=_coherence(sizes) + _partners(sizes),
        fineness=_fineness(sizes),
        views=_views(sizes),
        parameters=_parameters(sizes),
        activations=_activations(sizes),
        neighbourhoods=_neighbourhoods(sizes),
        details=_details(sizes),
        transform=_transform(sizes),
    )


@dataclass(frozen=True)
class _Sizes:
    """What the phases' sizes are made of."""

    n_rows: int
    table: TableEncoder
    config: Config
    network: JointEmbedding  # on the meta device: it has shapes and takes nothing
    frame: bool

    @cached_property
    def row(self) -> int:
        """Bytes of an encoded row."""
        return 4 * (self.table.n_numbers + len(self.table.cardinalities))

    @cached_property
    def dims(self) -> int:
        """Numbers of a row, and codes as columns."""
        return self.table.n_numbers + sum(self.table.cardinalities)

    @cached_property
    def batch(self) -> int:
        return min(self.config.batch_size, self.n_rows)

    @cached_property
    def narrow(self) -> int:
        """Bytes of a number in the networks' products."""
        work = 2 * self.batch * self.network.largest_layer
        return 2 if bfloat16_pays(torch.device("cpu"), work) else 4

    @cached_property
    def of_encoder(self) -> list[int]:
        """Widths of the encoder's layers."""
        return [*self.config.hidden, self.config.n_learnt]

    @cached_property
    def n_weights(self) -> int:
        return sum(one.numel() for one in self.network.parameters() if one.requires_grad)

    @cached_property
    def n_set(self) -> int:
        """Parameters that no gradient trains."""
        return sum(one.numel() for one in self.network.parameters() if not one.requires_grad)

    def in_block(self, least_rows: int = 1) -> int:
        """Entries of a block of the source, of a multiple of ``least_rows`` rows."""
        n_columns = max(1, self.row // 4)
        most = block_rows(n_columns, frame=self.frame, least_rows=least_rows)
        return min(self.n_rows, most) * n_columns


def _encoding(sizes: _Sizes) -> int:
    # float64, its squared deviations, and these without gaps; which were gaps; and where rows are
    # held out the others of the block, as the source has them (float32).
    taken = 4 if held_out_rows(sizes.n_rows, sizes.config) else 0
    return sizes.in_block() * (8 * 3 + 1 + taken)


def _asks(sizes: _Sizes) -> bool:
    """Whether it has to be found out what some field stands for."""
    config = sizes.config
    values = config.sides, config.spectrum, config.neighbourhood_scale, config.detail_power
    return "auto" in values and sizes.table.depth is None


def _halves(sizes: _Sizes) -> int:
    """Two halves of the columns of some rows, and these rows where they are not all."""
    n_rows = min(sizes.n_rows, MOST_OF_RULES)
    return 4 * n_rows * sizes.dims * (2 if sizes.n_rows > n_rows else 1)


def _coherence(sizes: _Sizes) -> int:
    if not _asks(sizes):
        return 0
    n_rows = min(sizes.n_rows, MOST_OF_RULES)
    told = 4 * n_rows * sizes.dims  # as wide as one half, twice: a sum, and what is added to it
    return _halves(sizes) + max(told, _distances(n_rows, n_rows))


def _fineness(sizes: _Sizes) -> int:
    if not _asks(sizes) or sizes.config.spectrum != "auto":
        return 0
    n_rows, width = min(sizes.n_rows, MOST_OF_RULES), sizes.dims // 2
    centred = 8 * n_rows * width
    return _halves(sizes) + max(
        centred + centred // 2,  # a half in float64, with what it was made of
        _decomposition(min(n_rows, width)) + (centred if width <= n_rows else 0),
    )


def _partners(sizes: _Sizes) -> int:
    """Near rows that second views are made of: candidates, their squares, a block's distances."""
    count = sizes.config.neighbours
    n_candidates = min(sizes.n_rows, MOST_CANDIDATES)
    candidates = 4 * n_candidates * sizes.dims
    return (
        count * sizes.n_rows * 8 + 2 * candidates + _distances(sizes.n_rows, n_candidates)
        if count
        else 0
    )


def _views(sizes: _Sizes) -> int:
    config, batch, row, narrow = sizes.config, sizes.batch, sizes.row, sizes.narrow
    table, n_columns = sizes.table, len(sizes.table.columns)
    # Views are made in bfloat16 where nothing is computed with them.
    of_views = 4 if table.depth is not None or config.noise > 0 else narrow
    places = 8 * 2 * batch * n_columns  # where the first donors come from
    # Places of companions of each column, and of each row of the views, and what is less than that.
    blocks = (min(MOST_SEEDS, n_columns) * 4 + 2 * batch * 6) * n_columns
    # Thinning takes half of the rows' counts apart: twice as floats, their coins and comparisons.
    thinned = 0 if table.depth is None else 20 * batch * table.n_numbers
    held_out = held_out_rows(sizes.n_rows, config) or min(sizes.n_rows, 1000)
    return (
        4 * batch * (row // 4) * of_views
        + places
        + (blocks if config.block_share else 0)
        + thinned
        + 2 * held_out * row
        + 2 * batch * (row // 4) * narrow
    )


def _parameters(sizes: _Sizes) -> int:
    # Values, two moments, gradients layer by layer and joined, and room for one of these.
    of_weight = 4 * 6 + (sizes.narrow if sizes.narrow < 4 else 0)
    return sizes.n_weights * of_weight + sizes.n_set * 4 * 2


def _activations(sizes: _Sizes) -> int:
    config, batch, narrow = sizes.config, sizes.batch, sizes.narrow
    widths = [*sizes.of_encoder, *config.projector]
    hidden = [*config.hidden, *config.projector[:-1]]
    # Kept for the gradient: every layer's input; what normalisation reads and what ReLU writes.
    kept = sum(widths) + sum(hidden) * (2 if config.batch_norm else 1)
    dims = widths[-1]
    of_loss = 2 * batch * dims * 4 * 3 + min(batch, dims) ** 2 * 4
    largest = 2 * batch * max(widths) * narrow * 2  # a gradient and the one before it
    return 2 * batch * kept * narrow + of_loss + largest


def _after_training(sizes: _Sizes) -> int:
    """The network, and the sample of rows that what follows training is worked out from."""
    sample = MOST_ROWS * sizes.row if sizes.n_rows > MOST_ROWS else 0
    return 4 * (sizes.n_weights + sizes.n_set) + sample


def _neighbourhoods(sizes: _Sizes) -> int:
    config = sizes.config
    if not config.n_neighbourhood:
        return 0
    n_near = min(sizes.n_rows, MOST_NEAR)
    rows = n_near * sizes.row if sizes.n_rows > MOST_NEAR else 0
    # The rows' components, their neighbours, and of a block of them the distances; then a step.
    components = n_near * ((sum(sizes.of_encoder) + 2 * config.n_learnt) * 4 + NEAREST * 8)
    of_pair = 2 * (config.n_learnt + 4 * NEIGHBOURHOOD_WIDTH) + OTHERS * 4 * config.n_neighbourhood
    step = PAIRS * of_pair * 4
    return _after_training(sizes) + rows + components + max(_distances(n_near, n_near), step)


def _details(sizes: _Sizes) -> int:
    config = sizes.config
    if not config.n_details:
        return 0
    n_rows = min(sizes.n_rows, MOST_ROWS)
    joint = sizes.dims + sum(config.hidden[-1:]) + config.detail_waves
    whole = 8 * n_rows * joint
    decomposed = min(n_rows, joint)
    turned = 8 * joint * min(config.n_details, decomposed)
    return _after_training(sizes) + max(
        whole + whole // 2,  # all parts in float64, beside what they are made of
        whole + _decomposition(decomposed),
        whole + 2 * turned,  # directions, before and after their rotation
    )


def _distances(n_rows: int, n_candidates: int) -> int:
    """Distances of a block of rows, and which of them are a row's own."""
    return min(n_rows, NEAR_BLOCK) * n_candidates * 5


def _decomposition(width: int) -> int:
    """A square matrix in float64, its eigenvectors, and LAPACK's room (syevd: two more of it)."""
    return 8 * 4 * width**2


def _transform(sizes: _Sizes) -> int:
    config, row = sizes.config, sizes.row
    block = sizes.in_block(BLOCK)
    rows_of_block = 4 * block // max(4, row)
    embeddings, of_block = (
        4 * config.n_components * count for count in (sizes.n_rows, rows_of_block)
    )
    copied = 4 * sum(one.numel() for one in sizes.network.encoders.parameters())
    # A block as float64 and which are missing, beside what comes of it. What of a frame was float32
    # as it came is done with by then, and leaves a gap that the second block finds too small.
    encoding = 9 * min(sizes.in_block(), block) + 4 * block
    gap = 4 * block if sizes.frame and sizes.n_rows >= 2 * rows_of_block else 0
    widths = sum(sizes.of_encoder) + config.n_neighbourhood + config.n_details
    layers = (widths + config.detail_waves) * (4 * 2 * len(sizes.network.encoders))
    embedding = 4 * block + BLOCK * (row + layers)
    # The last block's embeddings are not touched before it is encoded.
    return copied + max(embeddings - of_block + encoding + gap, embeddings + embedding)
