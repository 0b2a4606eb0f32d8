"""Pictures, as matplotlib figures that belong to nobody: no global state, no window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["plot_history", "plot_maps", "plot_scores"]

#: Okabe and Ito's palette, which colour-blind people can tell apart, and more for many labels.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f6a00", "#5b4b8a",
    "#999999", "#000000",
)  # fmt: skip
EMBEDDING_COLOUR = "#0072b2"
OTHER_COLOUR = "#b8c0c8"
FEW_LABELS = 12


def plot_maps(
    maps: Mapping[str, Mapping[str, tuple[NDArray[np.floating], float]]],
    labels: NDArray[np.generic],
) -> Figure:
    """Two-dimensional maps side by side: a column per space, a row per kind of map.

    Parameters
    ----------
    maps : mapping
        Space (``"raw"``, ``"vicreg"``) to kind (``"PCA"``, ``"t-SNE"``) to points (rows, 2) and
        the silhouette of these points by label.
    labels : ndarray, shape (rows,)
        What the points are coloured by.
    """
    figure = _figure(8.0, 3.6 * len(next(iter(maps.values()))))
    kinds = list(next(iter(maps.values())))
    axes = figure.subplots(len(kinds), len(maps), squeeze=False)
    values, codes = np.unique(labels, return_inverse=True)
    for column, (space, of_space) in enumerate(maps.items()):
        for row, kind in enumerate(kinds):
            points, score = of_space[kind]
            axis = axes[row][column]
            for code, value in enumerate(values):
                chosen = points[codes == code]
                axis.scatter(
                    chosen[:, 0],
                    chosen[:, 1],
                    s=9,
                    linewidths=0,
                    color=PALETTE[code % len(PALETTE)],
                    marker="os^Dv"[(code // len(PALETTE)) % 5],
                    label=_plain(value),
                )
            axis.set_title(f"{kind} of {space}: silhouette {score:.2f}", fontsize=10)
            axis.set_xticks([])
            axis.set_yticks([])
    if len(values) <= FEW_LABELS:
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(len(values), 6), fontsize=8,
            frameon=False, markerscale=1.8,
        )  # fmt: skip
    return figure


def plot_scores(scores: Mapping[str, Mapping[str, float]], measures: Sequence[str]) -> Figure:
    """Bars of every measure, a group per measure, the embedding in colour."""
    figure = _figure(8.0, 0.8 + 0.26 * len(scores))
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    methods = list(scores)
    for axis, measure in zip(axes, measures, strict=True):
        values = [scores[method].get(measure, float("nan")) for method in methods]
        colours = [EMBEDDING_COLOUR if name == "vicreg" else OTHER_COLOUR for name in methods]
        bars = axis.barh(range(len(methods)), np.nan_to_num(values), color=colours)
        axis.bar_label(bars, labels=[f"{value:.3f}" for value in values], fontsize=8, padding=2)
        axis.set_yticks(range(len(methods)), methods, fontsize=9)
        axis.invert_yaxis()
        axis.set_title(measure, fontsize=10)
        axis.set_xticks([])
        axis.margins(x=0.25)
        for side in ("top", "right", "bottom"):
            axis.spines[side].set_visible(False)
    return figure


def plot_history(history: Mapping[str, Sequence[float]]) -> Figure:
    """The loss's terms, the held-out loss and the effective rank over the steps of a fit."""
    figure = _figure(8.0, 2.4)
    terms, total, rank = figure.subplots(1, 3)
    steps = history["step"]
    for place, name in enumerate(("invariance", "variance", "covariance")):
        terms.plot(steps, history[name], color=PALETTE[place], label=name)
    terms.set_yscale("symlog", linthresh=1e-2)
    terms.set_title("terms, not weighted", fontsize=10)
    terms.legend(fontsize=8, frameon=False)
    total.plot(steps, history["total"], color=PALETTE[0], label="training")
    total.plot(steps, history["held_out"], color=PALETTE[1], label="fixed views")
    total.set_title("loss", fontsize=10)
    total.legend(fontsize=8, frameon=False)
    rank.plot(steps, history["effective_rank"], color=PALETTE[2])
    rank.set_ylim(bottom=0)
    rank.set_title("effective rank of the embedding", fontsize=10)
    for axis in (terms, total, rank):
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(value: object) -> str:
    # A leading underscore or no text would hide the entry, and dollars would start mathematics.
    text = str(value)[:24]
    return ("" if text and text[0] != "_" else " ") + text.replace("$", r"\$")
