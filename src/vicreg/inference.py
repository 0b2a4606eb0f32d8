"""Embeddings of encoded rows, the same to the bit in any company."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vicreg.networks import Rows
from vicreg.precision import fastest_float32

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vicreg.networks import JointEmbedding

__all__ = ["BLOCK", "Inference", "embed"]

#: Rows of a block.
BLOCK = 1024
#: Different rows that are set all over a block to see whether its places are alike.
WITNESSES = 4
#: Numbers of an embedding that are compared at every place, about: of few components rounding shows
#: in few, so more blocks are tried then, if not more than so many.
COMPARED = 2048
MOST_BLOCKS = 64

#: Whether places are alike, by what decides it: the layers' shapes, number of threads and device.
_found: dict[Hashable, bool] = {}


@torch.no_grad()
def embed(network: JointEmbedding, rows: Rows) -> Tensor:
    """Embeddings of rows (n, k), see :class:`Inference`."""
    return Inference(network)(rows)


class Inference:
    """Embeddings of rows (n, k), in blocks of one fixed size.

    A matrix product may round a row differently in a larger or smaller matrix. Every block has the
    same size, the last one with other rows behind it, so a row can only come out differently for
    its place within the block. Whether it does is tried before the first block of a network, if
    there was none of the same shapes: some libraries take the last rows or columns of some shapes
    by other instructions. There
    the products are done in float64, whose rounding is gone in float32; it takes longer.

    Parameters
    ----------
    network : JointEmbedding
        Left in evaluation mode. What is done to it later is not seen here.
    """

    @torch.no_grad()
    def __init__(self, network: JointEmbedding) -> None:
        if network.training:
            network.eval()
        self._network, self._folded = network, network.folded()
        self._exact: JointEmbedding | None = None

    @torch.no_grad()
    def __call__(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """The rows' embeddings; ``out`` is where they go (n, k), by default a tensor of their own.

        There must be a row.
        """
        with fastest_float32(math.inf):
            network = self._folded
            if not _places_are_alike(self._folded, rows):
                if self._exact is None:
                    self._exact = copy.deepcopy(self._network).double()
                network, rows = self._exact, Rows(rows.numbers.double(), rows.codes)
            block = rows.empty(BLOCK)
            block.numbers.zero_()
            block.codes.zero_()
            for start in range(0, len(rows), BLOCK):
                part = rows.take(slice(start, start + BLOCK))
                block.take(slice(0, len(part))).copy(part)
                embedded = network.embed(block)
                if out is None:
                    shape = len(rows), embedded.shape[1]
                    out = embedded.new_empty(shape, dtype=torch.float32)
                out[start : start + len(part)] = embedded[: len(part)]
        assert out is not None
        return out


def _places_are_alike(folded: JointEmbedding, rows: Rows) -> bool:
    """Whether a row's embedding does not depend, to the bit, on its place in a block.

    This is a matter of shapes, not of values: the order in which products are added up. Where it
    differs, some of a random row's components show it.
    """
    layers = tuple(
        (name, *one.shape)
        for name, one in folded.named_parameters()
        if not name.startswith("projectors")  # which embedding has no use for
    )
    key = layers, rows.numbers.dtype, torch.get_num_threads(), str(rows.numbers.device)
    if key not in _found:
        generator = torch.Generator().manual_seed(0)
        block = rows.empty(BLOCK)
        block.codes.zero_()
        even, width = _tried(folded, block, generator)
        blocks = min(math.ceil(COMPARED / (WITNESSES * width)), MOST_BLOCKS)
        _found[key] = even and all(_tried(folded, block, generator)[0] for _ in range(blocks - 1))
    return _found[key]


def _tried(folded: JointEmbedding, block: Rows, generator: torch.Generator) -> tuple[bool, int]:
    """Whether random rows are embedded alike wherever in a block they stand, and in what width."""
    witnesses = torch.randn(WITNESSES, block.numbers.shape[1], generator=generator)
    places = torch.randint(WITNESSES, (BLOCK,), generator=generator).to(block.numbers.device)
    torch.index_select(witnesses.to(block.numbers), 0, places, out=block.numbers)
    embedded = folded.embed(block)
    first = torch.stack([(places == one).nonzero()[0, 0] for one in range(WITNESSES)])
    return torch.equal(embedded, embedded[first[places]]), embedded.shape[1]
