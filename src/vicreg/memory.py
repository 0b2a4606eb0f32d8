"""What a fit and an embedding will take of memory, predicted from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vicreg.companions import MOST_SEEDS
from vicreg.embedder import MOST_ROWS
from vicreg.inference import BLOCK
from vicreg.neighbourhoods import MOST_NEAR, NEAREST, OTHERS, PAIRS
from vicreg.neighbours import BLOCK as NEAR_BLOCK
from vicreg.networks import NEIGHBOURHOOD_WIDTH
from vicreg.precision import bfloat16_pays
from vicreg.preparation import build_network, held_out_rows
from vicreg.sources import ARRAY_BLOCK, FRAME_BLOCK

if TYPE_CHECKING:
    from vicreg.config import Config
    from vicreg.table import TableEncoder

__all__ = ["MemoryEstimate", "estimate_memory"]

#: What libraries take once for a fit, whatever the sizes: compiled kernels, scratch space.
FIXED = 5 * 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes beyond the process and the source, at the peak of a fit and of an embedding.

    ``table`` is the encoded table; ``views`` what batches, donors and held-out rows hold of it;
    ``parameters`` weights, gradients, the optimiser's two moments, the best weights and casts;
    ``activations`` what a step keeps for its gradient; ``neighbourhoods`` and ``details`` what the
    one is trained on, and the principal components of the other are taken of, after training.
    """

    table: int
    views: int
    parameters: int
    activations: int
    neighbourhoods: int
    details: int
    encoding: int
    transform: int

    @property
    def fit(self) -> int:
        """Peak of a fit: the table is encoded first, the network is trained afterwards.

        Measured: of what the one frees, the other finds some three quarters to use again.
        """
        training = max(
            self.views + self.parameters + self.activations, self.neighbourhoods, self.details
        )
        smaller, larger = sorted((self.encoding, training))
        return self.table + larger + smaller // 4 + FIXED


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
    row = 4 * (table.n_numbers + len(table.cardinalities))
    batch = min(config.batch_size, n_rows)
    with torch.device("meta"):
        network = build_network(table, config, seed=0)
    work = 2 * batch * network.largest_layer
    narrow = 2 if bfloat16_pays(torch.device("cpu"), work) else 4
    # Views are made in bfloat16 where nothing is computed with them.
    of_views = 4 if table.depth is not None or config.noise > 0 else narrow
    n_weights = sum(one.numel() for one in network.parameters() if one.requires_grad)
    n_set = sum(one.numel() for one in network.parameters() if not one.requires_grad)
    n_encoder = sum(one.numel() for one in network.encoders.parameters())
    branches = len(network.encoders)

    widths = [*config.hidden, config.n_learnt, *config.projector]
    hidden = [*config.hidden, *config.projector[:-1]]
    # Kept for the gradient: every layer's input; what normalisation reads and what ReLU writes.
    kept = sum(widths) + sum(hidden) * (2 if config.batch_norm else 1)
    dims = widths[-1]
    of_loss = 2 * batch * dims * 4 * 3 + min(batch, dims) ** 2 * 4
    largest = 2 * batch * max(widths) * narrow * 2  # a gradient and the one before it
    held_out = held_out_rows(n_rows, config) or min(n_rows, 1000)
    entries = FRAME_BLOCK if frame else ARRAY_BLOCK
    in_block = min(entries, max(n_rows, BLOCK) * row // 4)
    rows_of_block = min(n_rows, max(BLOCK, entries * 4 // max(1, row)))
    of_encoder = widths[: len(config.hidden) + 1]
    of_details = table.n_numbers + sum(table.cardinalities) + sum(config.hidden[-1:])
    of_details += config.detail_waves
    places = 8 * 2 * batch * len(table.columns)  # where the first donors come from
    # Places of companions of each column, and of each row of the views, and what is less than that.
    blocks = (min(MOST_SEEDS, len(table.columns)) * 4 + 2 * batch * 6) * len(table.columns)
    # Thinning takes half of the rows' counts apart: twice as floats, their coins and comparisons.
    thinned = 0 if table.depth is None else 20 * batch * table.n_numbers
    # The rows' components, their neighbours, and of a block of them the distances; then a step.
    n_near = min(n_rows, MOST_NEAR)
    neighbourhoods = (
        n_near * ((sum(of_encoder) + 2 * config.n_learnt) * 4 + NEAREST * 8)
        + max(
            min(n_near, NEAR_BLOCK) * n_near * 5,
            PAIRS
            * (
                2 * (config.n_learnt + 4 * NEIGHBOURHOOD_WIDTH)
                + OTHERS * 4 * config.n_neighbourhood
            )
            * 4,
        )
        if config.n_neighbourhood
        else 0
    )
    return MemoryEstimate(
        table=n_rows * row,
        views=4 * batch * (row // 4) * of_views
        + places
        + (blocks if config.block_share else 0)
        + thinned
        + 2 * held_out * row
        + 2 * batch * (row // 4) * narrow,
        # Values, two moments, gradients layer by layer and joined, and room for one of these.
        parameters=n_weights * (4 * 6 + (narrow if narrow < 4 else 0)) + n_set * 4 * 2,
        activations=2 * batch * kept * narrow + of_loss + largest,
        neighbourhoods=neighbourhoods,
        details=n_set * 8 * 2 + min(n_rows, MOST_ROWS) * of_details * 8 * 2
        if config.n_details
        else 0,
        encoding=in_block * 8 * 3,  # float64, and two steps towards its moments
        transform=n_rows * config.n_components * 4
        + n_encoder * 4  # a copy without normalisation
        + in_block * 9  # float64, and which are missing
        + rows_of_block * (row + config.n_components * 4)
        + BLOCK * row
        + BLOCK
        * (sum(of_encoder) + config.n_neighbourhood + config.n_details + config.detail_waves)
        * (4 * 2 * branches),
    )
