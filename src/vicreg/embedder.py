"""What a fit leaves: the encoded table's columns and a network, ready to embed rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from vicreg.details import fit_details
from vicreg.inference import BLOCK, Inference
from vicreg.neighbourhoods import fit_neighbourhoods
from vicreg.pairs import PairedEmbedding
from vicreg.plain_state import threads
from vicreg.sources import blocks
from vicreg.spectrum import shape_spectrum
from vicreg.training import InterruptedWarning

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicreg.config import Config
    from vicreg.history import History
    from vicreg.networks import JointEmbedding, Rows
    from vicreg.sources import Source
    from vicreg.table import TableEncoder

__all__ = ["Embedder"]

#: Rows, at the most, that what follows training is worked out from.
MOST_ROWS = 1000


@dataclass
class Embedder:
    """A fitted table encoder and network."""

    config: Config
    table: TableEncoder
    network: JointEmbedding
    history: History
    notes: list[str] = field(default_factory=list)
    n_threads: int = 1
    #: What the networks were trained in, ``"float32"`` or ``"bfloat16"``.
    precision: str = "float32"
    #: The encoder of the second table, where pairs of rows were fitted.
    paired: TableEncoder | None = None

    def finish(self, rows: Rows, generator: torch.Generator, *, whole: bool = False) -> None:
        """What follows training, from training rows on the network's device.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C, if the fit must be ``whole``.
        """
        sample = rows.sample(MOST_ROWS, generator)
        if not isinstance(self.config.spectrum, str):
            shape_spectrum(self.network, sample, self.config.spectrum)
        scale, power = self.config.neighbourhood_scale, self.config.detail_power
        assert not isinstance(scale, str)  # the rules have numbers for them
        assert not isinstance(power, str)
        # Who stops a fit from the keyboard does not wait for half of the steps that are left out.
        interrupted = self.history.stopped == "interrupted"
        steps = self.history.last_step if interrupted else self.config.steps
        finished = fit_neighbourhoods(
            self.network,
            rows,
            scale=scale,
            steps=max(1, steps // 2),
            generator=generator,
        )
        if not finished:
            if whole:
                raise KeyboardInterrupt
            self.history.stopped = "interrupted"
            warnings.warn(
                "interrupted after training: the model keeps what its neighbourhoods have learnt "
                "so far",
                InterruptedWarning,
                stacklevel=2,
            )
        fit_details(
            self.network,
            sample,
            self.table.cardinalities,
            scale=self.config.detail_scale,
            power=power,
            generator=generator,
        )

    def note_the_end(self) -> None:
        """Note how training ended, where it did not run to its end."""
        history = self.history
        if history.stopped == "early":
            self.notes.append(
                f"stopped early at step {history.moments[-1].step} of {self.config.steps}: "
                f"the held-out loss was best at step {history.best_step}"
            )
        elif history.stopped == "interrupted":
            self.notes.append("interrupted from the keyboard: trained only in part")

    def side(self, place: int = 0) -> tuple[JointEmbedding, TableEncoder]:
        """Network and table encoder of one table: the first, or the second of a pair."""
        if self.paired is None:
            return self.network, self.table
        assert isinstance(self.network, PairedEmbedding)
        return self.network.side(place), (self.table, self.paired)[place]

    def embed(self, source: Source, *, side: int = 0, first_row: int = 0) -> NDArray[np.float32]:
        """Embedding (rows, n_components) of a table with the fitted columns.

        ``side`` 1 is the second table, where pairs of rows were fitted; ``first_row`` is what
        messages call the first of the rows.
        """
        network, table = self.side(side)
        device = next(network.parameters()).device
        embedding = torch.empty(source.shape[0], self.config.n_components)
        embed = Inference(network)
        with threads(self.n_threads):
            for start, part in blocks(source, least_rows=BLOCK):
                rows = table.transform(part, first_row=first_row + start).to(device)
                place = embedding[start : start + len(rows)]
                if device.type == "cpu":
                    embed(rows, out=place)
                else:  # in one copy: each waits for the device
                    place.copy_(embed(rows))
                del rows  # before the next block is encoded beside them
        found: NDArray[np.float32] = embedding.numpy()
        return found
