"""Pictures for papers, as matplotlib axes: SVG, PNG, PDF. No global state, no window.

Every function draws into ``ax``, or into a figure of its own, and returns the axes;
``ax.figure.savefig("name.svg")`` writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vicreg.view import CLUSTERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vicreg.scorecard import Scorecard
    from vicreg.view import View

__all__ = [
    "plot_confusion",
    "plot_history",
    "plot_importance",
    "plot_map",
    "plot_scores",
    "plot_spectrum",
]

#: Okabe and Ito's palette, which colour-blind people can tell apart, a purple for its yellow.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#1a1a1a", "#7a1f6b",
)  # fmt: skip
MARKERS = "os^D"
OTHERS = "#8a939c"
FEW_LABELS = 12
NAMES = {"raw": "raw table", "pca": "PCA", "vicreg": "embedding"}


def plot_scores(card: Scorecard, measure: str | None = None, *, ax: Axes | None = None) -> Axes:
    """A measure of every method with its 95 % interval, the embedding in colour.

    Parameters
    ----------
    card : Scorecard
    measure : str, optional
        One of the card's measures; by default the first.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default into a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        Those that were drawn into, as by every function here.

    Raises
    ------
    ValueError
        If the card has no such measure.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from vicreg import VICReg, evaluate, plot_scores
    >>> X, y = load_iris(return_X_y=True)
    >>> card = evaluate(VICReg(steps=5, random_state=0), X, y, controls=False, maps=False)
    >>> plot_scores(card, "linear").get_xlabel()
    'linear'
    """
    chosen = card.measures[0] if measure is None else measure
    known = (*card.measures, *card.diagnostics)
    if chosen not in known:
        raise ValueError(f"measure must be one of {', '.join(known)}, however: measure={chosen!r}")
    ax = _axes(ax, 5.0, 2.4)
    methods = [name for name, of_method in card.estimates.items() if chosen in of_method]
    for place, method in enumerate(methods):
        estimate = card.estimates[method][chosen]
        low, high = estimate.interval
        colour = PALETTE[0] if method == "vicreg" else OTHERS
        if np.isfinite(low):
            ax.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        ax.plot([estimate.value], [place], "o", color=colour, markersize=6)
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.set_xlabel(chosen)
    _bare(ax)
    return ax


def plot_map(
    card: Scorecard,
    space: Literal["raw", "pca", "vicreg"] = "vicreg",
    kind: str = "t-SNE",
    colour: str | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """A map of the rows in one space, coloured by label, cluster or any column the card shows.

    Parameters
    ----------
    card, ax
        See :func:`plot_scores`; the card evaluated with ``maps=True``.
    space : {"raw", "pca", "vicreg"}
    kind : str
        ``"PCA"``, ``"t-SNE"`` or ``"UMAP"``.
    colour : str, optional
        A name of ``card.view.colours`` or of a column; by default the first.

    Raises
    ------
    ValueError
        If the card has no such map or nothing of that name to colour by.
    """
    view = _view(card)
    if kind not in view.maps.get(space, {}):
        raise ValueError(
            f"space and kind must be of the card's maps, however: space={space!r}, kind={kind!r}"
        )
    points, (name, values) = view.maps[space][kind], _coloured(view, colour)
    unit = next((one.unit for one in view.columns if one.name == name), "")
    placed = np.isfinite(points[:, 0])
    points, values = points[placed], values[placed]
    ax = _axes(ax, 4.4, 4.4)
    size = 4 if len(points) > 5000 else 12
    known = np.isfinite(values) if values.dtype.kind == "f" else values != ""
    if not known.all():
        none = points[~known]
        ax.scatter(
            none[:, 0], none[:, 1], s=size, color=OTHERS, marker="x", linewidths=0.8,
            label="not scored" if name == CLUSTERS else "missing", rasterized=True,
        )  # fmt: skip
        points, values = points[known], values[known]
    if values.dtype.kind == "f":
        drawn = ax.scatter(
            points[:, 0],
            points[:, 1],
            c=values,
            s=size,
            cmap="cividis",
            linewidths=0,
            rasterized=True,
        )
        label = _plain(name if unit == "" else f"{name} ({unit})")
        ax.figure.colorbar(drawn, ax=ax, label=label, shrink=0.8)
        if not known.all():
            ax.legend(fontsize=8, frameon=False, loc="upper left")
    else:
        labels, counts = np.unique(values, return_counts=True)
        shown = np.sort(labels[np.argsort(-counts, kind="stable")[: 8 * len(MARKERS)]])
        rest = points[~np.isin(values, shown)]
        if len(rest):
            ax.scatter(
                rest[:, 0],
                rest[:, 1],
                s=size,
                color=OTHERS,
                linewidths=0,
                label="others",
                rasterized=True,
            )
        for code, label in enumerate(shown):
            own = points[values == label]
            ax.scatter(
                own[:, 0], own[:, 1], s=size, color=PALETTE[code % 8], linewidths=0,
                marker=MARKERS[code // 8], label=_plain(label), rasterized=True,
            )  # fmt: skip
        if len(shown) <= FEW_LABELS:
            ax.legend(
                title=_plain(name), fontsize=8, frameon=False, markerscale=1.6,
                loc="center left", bbox_to_anchor=(1.0, 0.5),
            )  # fmt: skip
    ax.set_title(f"{kind} of {NAMES[space]}", fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal", adjustable="datalim")
    return ax


def plot_history(
    card: Scorecard, what: Literal["loss", "terms", "rank"] = "loss", *, ax: Axes | None = None
) -> Axes:
    """The course of the fit: the loss, its terms (not weighted), or the effective rank.

    Parameters
    ----------
    card, ax
        See :func:`plot_scores`.
    what : {"loss", "terms", "rank"}

    Raises
    ------
    ValueError
        If ``what`` is none of these.
    """
    curves = {
        "loss": {"total": "training", "held_out": "held out"},
        "terms": {"invariance": "invariance", "variance": "variance", "covariance": "covariance"},
        "rank": {"effective_rank": "effective rank"},
    }
    if what not in curves:
        raise ValueError(f"what must be one of {', '.join(curves)}, however: what={what!r}")
    ax = _axes(ax, 4.4, 2.8)
    history = card.model.history_
    for place, (name, label) in enumerate(curves[what].items()):
        ax.plot(history["step"], history[name], ("-", "--", ":")[place], color=PALETTE[place],
                label=label)  # fmt: skip
    ax.set_xlabel("step")
    if what == "terms":
        ax.set_yscale("symlog", linthresh=1e-2)
    if what == "rank":
        ax.set_ylim(bottom=0)
        ax.set_ylabel("effective rank of what is learnt")
    else:
        ax.legend(fontsize=8, frameon=False)
    _bare(ax)
    return ax


def plot_spectrum(card: Scorecard, *, ax: Axes | None = None) -> Axes:
    """Shares of the covariance's eigenvalues in every space, both axes logarithmic.

    Parameters
    ----------
    card, ax
        See :func:`plot_scores`; the card evaluated with ``maps=True``.
    """
    ax = _axes(ax, 4.4, 2.8)
    styles = {"vicreg": ("-", 0), "raw": ("--", 1), "pca": (":", 2)}
    for space, values in _view(card).spectra.items():
        shares = np.array(values) / (np.sum(values) or 1.0)
        shares = shares[shares > 1e-7]
        style, place = styles[space]
        ax.loglog(
            np.arange(1, len(shares) + 1), shares, style, color=PALETTE[place], label=NAMES[space]
        )
    ax.set_xlabel("number")
    ax.set_ylabel("share of the variance")
    ax.legend(fontsize=8, frameon=False)
    _bare(ax)
    return ax


def plot_confusion(
    card: Scorecard, space: Literal["raw", "vicreg"] = "vicreg", *, ax: Axes | None = None
) -> Axes:
    """Of the nearest rows of each label's rows, which share has which label.

    Parameters
    ----------
    card, ax
        See :func:`plot_scores`; the card evaluated with labels and ``maps=True``.
    space : {"raw", "vicreg"}

    Raises
    ------
    ValueError
        If the card has no labels, or no such space.
    """
    confusion = _view(card).confusion
    if confusion is None or space not in confusion.shares:
        raise ValueError(f"the card must have labels and the space, however: space={space!r}")
    ax = _axes(ax, 4.4, 4.0)
    shares = confusion.shares[space][:, : len(confusion.labels)]
    ax.figure.colorbar(ax.imshow(shares, vmin=0, vmax=1, cmap="cividis"), ax=ax, shrink=0.8)
    names = [_plain(label) for label in confusion.labels]
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("label of the neighbours")
    ax.set_ylabel("label of the row")
    return ax


def plot_importance(card: Scorecard, most: int = 20, *, ax: Axes | None = None) -> Axes:
    """How far shuffling each column moves the embedding, with twice its standard error.

    Parameters
    ----------
    card, ax
        See :func:`plot_scores`; the card evaluated with ``maps=True``.
    most : int
        Columns, the first ones.
    """
    chosen = _view(card).importance[:most]
    ax = _axes(ax, 5.0, 1.0 + 0.22 * len(chosen))
    ax.barh(
        range(len(chosen)), [one.moved for one in chosen], color=PALETTE[0],
        xerr=[2 * one.error for one in chosen],
    )  # fmt: skip
    ax.set_yticks(range(len(chosen)), [_plain(one.name) for one in chosen], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("share of the squared distance between rows")
    _bare(ax)
    return ax


def _axes(ax: Axes | None, width: float, height: float) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _view(card: Scorecard) -> View:
    if card.view is None:
        raise ValueError("the card must be evaluated with maps=True, however: maps=False")
    return card.view


def _coloured(view: View, name: str | None) -> tuple[str, Any]:
    known: dict[str, Any] = {**view.colours}
    for column in view.columns:
        texts: Any = column.values
        if isinstance(texts, list):
            texts = np.array(["" if text is None else text for text in texts], dtype=str)
        known.setdefault(column.name, texts)
    chosen = next(iter(known)) if name is None else name
    if chosen not in known:
        raise ValueError(f"colour must be shown by the card, however: colour={chosen!r}")
    return chosen, known[chosen]


def _bare(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _plain(value: object) -> str:
    # A leading underscore or no text would hide the entry, and dollars would start mathematics.
    text = str(value)[:24]
    return ("" if text and text[0] != "_" else " ") + text.replace("$", r"\$")
