"""Embeddings of encoded rows, the same to the bit in any company."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vicreg.networks import Rows
from vicreg.precision import fastest_float32, onednn_is_exact

if TYPE_CHECKING:
    from vicreg.networks import JointEmbedding

__all__ = ["BLOCK", "embed"]

#: Rows of a block.
BLOCK = 1024


@torch.no_grad()
def embed(network: JointEmbedding, rows: Rows) -> Tensor:
    """Embeddings of rows (n, k), in blocks of one fixed size.

    A matrix product may round a row differently in a larger or smaller matrix. With every block of
    the same size, the last one filled up, and in a library that treats all rows of a block alike,
    a row's embedding is the same to the bit whatever the other rows of the call are. Where there is
    no such library the products are done in float64, whose rounding is gone in float32.
    """
    if network.training:
        network.eval()
    on_cpu = rows.numbers.device.type == "cpu"
    if on_cpu and not onednn_is_exact():
        network = copy.deepcopy(network).double()
        rows = Rows(rows.numbers.double(), rows.codes)
    outputs = []
    with fastest_float32(math.inf):
        for start in range(0, len(rows), BLOCK):
            part = rows.take(slice(start, start + BLOCK))
            missing = BLOCK - len(part)
            if missing:
                part = Rows(
                    nn.functional.pad(part.numbers, (0, 0, 0, missing)),
                    nn.functional.pad(part.codes, (0, 0, 0, missing)),
                )
            outputs.append(network.embed(part)[: BLOCK - missing].float())
    return torch.cat(outputs)
