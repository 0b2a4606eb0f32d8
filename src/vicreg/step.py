"""One optimiser step: views, networks, loss, gradient, update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vicreg.batches import permuted_batches, weighted_batches
from vicreg.loss import LossWeights, loss_and_gradient
from vicreg.optim import FlatOptimizer
from vicreg.views import TwoViews

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from vicreg.config import Config
    from vicreg.networks import JointEmbedding, Rows
    from vicreg.partners import Partners
    from vicreg.views import Corruption, Layout, ViewMaker

__all__ = ["TrainingStep"]

#: Steps taken as they are before one is captured: in them libraries make what they keep, and the
#: optimiser its moments.
BEFORE_CAPTURE = 3


class TrainingStep:
    """A step of training, called again and again; nothing in it waits for the device.

    But for counts, where the larger ones are thinned one by one, and their number is asked for.

    Parameters
    ----------
    network : JointEmbedding
        Trained in place; on the device of the rows, in training mode when called.
    rows : Rows
        Training rows, at least ``config.batch_size``.
    layout : Layout
    corrupt : Corruption
    config : Config
        Loss, optimiser and batch size.
    generator : torch.Generator
        The only source of randomness, on the device of the rows.
    near : Partners, optional
        What second views are made of in the rows' place.
    weights : Tensor, shape (rows,), optional
        How often a row stands in a batch, in proportion; by default once in an epoch.
    make_views : ViewMaker
        Makes a batch's views; of two tables with :class:`vicreg.pairs.PairedViews`.
    bfloat16 : bool
        Multiply matrices of the networks in bfloat16; loss, statistics and update stay in float32.
    capture : bool
        On a GPU, record networks, loss, gradient and update once as a CUDA graph and play it from
        then on: one launch in the place of a hundred. Not with LARS.
    """

    def __init__(
        self,
        network: JointEmbedding,
        rows: Rows,
        layout: Layout,
        corrupt: Corruption,
        config: Config,
        *,
        generator: torch.Generator,
        near: Partners | None = None,
        weights: Tensor | None = None,
        make_views: ViewMaker = TwoViews,
        bfloat16: bool = False,
        capture: bool = False,
    ) -> None:
        self.network, self.config = network, config
        self.weights = LossWeights(config.lam, config.mu, config.nu, config.gamma, config.eps)
        self._bfloat16 = bfloat16
        self._device = rows.numbers.device
        self._optimizer = FlatOptimizer(
            network,
            config.optimizer,
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            captured_on=self._device if capture else None,
        )
        self._captured = _Captured(self._update) if capture else None
        self._views = make_views(
            rows,
            layout,
            corrupt,
            config.batch_size,
            generator,
            sides=config.sides,
            near=near,
            weights=weights,
            dtype=torch.bfloat16 if bfloat16 else None,
        )
        if weights is None:
            self._batches = permuted_batches(len(rows), config.batch_size, generator)
        else:
            self._batches = weighted_batches(weights, config.batch_size, generator)
        #: Total, invariance, variance and covariance, summed over so many steps.
        self.sums, self.summed = torch.zeros(4, device=self._device), 0

    def __call__(self, factor: float) -> None:
        """Take a step with ``factor`` times the peak learning rate."""
        self._optimizer.set_rate(self.config.lr * factor)
        views = self.draw()
        if self._captured is None:
            self._update(views)
        else:
            self._captured(views)
        self.summed += 1

    @property
    def is_plain(self) -> bool:
        """Whether it multiplies in float32, or more, on a CPU."""
        return self._device.type == "cpu" and not self._bfloat16

    def draw(self) -> Rows:
        """Views of the next batch, first ones before second ones; overwritten by the next call."""
        return self._views(next(self._batches))

    def _update(self, views: Rows) -> None:
        with torch.autocast(
            self._device.type,
            dtype=torch.bfloat16,
            enabled=self._bfloat16,
            # Every weight is used once. What was kept of it would outlive the step in a caller's
            # autocast, and in a graph that is played again.
            cache_enabled=False,
        ):
            z1, z2 = self.network(views)
        terms, gradients = loss_and_gradient(z1, z2, self.weights)
        self._optimizer.step((z1, z2), gradients)
        self.sums += torch.stack(terms)

    def finish(self) -> None:
        """Leave the network as it is, with parameters of their own."""
        self._optimizer.release()

    def mean_terms(self) -> tuple[float, float, float, float]:
        """Means of total, invariance, variance and covariance since they were last forgotten.

        The one place that waits for the device.
        """
        total, invariance, variance, covariance = (self.sums / self.summed).tolist()
        return total, invariance, variance, covariance

    def forget_terms(self) -> None:
        """Begin the means of :meth:`mean_terms` anew."""
        self.sums.zero_()
        self.summed = 0


class _Captured:
    """An update of one buffer of views, recorded as a CUDA graph after a few calls.

    Source: PyTorch's notes on CUDA graphs, "whole-network capture".
    """

    def __init__(self, update: Callable[[Rows], None]) -> None:
        self._update = update
        self._calls = 0
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._place = 0

    def __call__(self, views: Rows) -> None:
        self._calls += 1
        if self._calls <= BEFORE_CAPTURE:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._update(views)
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        place = views.numbers.data_ptr()
        if self._calls == BEFORE_CAPTURE + 1:
            self._place = place
            with torch.cuda.graph(self._graph):  # records, and computes nothing
                self._update(views)
        assert place == self._place, "a captured update reads the buffer it was recorded with"
        self._graph.replay()
