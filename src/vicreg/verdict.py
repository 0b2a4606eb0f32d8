"""What the scores and the course of a fit say, in words: a verdict, and advice with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vicreg.scores import MEASURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.intervals import Estimate
    from vicreg.scores import Scores

__all__ = ["Advice", "Verdict", "advise", "figure", "figures", "verdict_of"]

#: Differences below this are no difference, however sure.
TIE = 0.005
#: Numbers below this, errors of a target on a small scale, are told by their first digits.
SMALL = 0.005
#: What decides, in the order in which it is told; an embedding may be judged by one family only.
DECISIVE = (
    ("silhouette", "10-NN", "linear"),
    ("R²", "10-NN error"),
    ("silhouette of clusters",),
)
#: What the embedding is compared with, as it is called.
RIVALS = {"raw": "the raw table", "pca": "PCA"}
#: What is said of a sign: the words, and what joins a rival to them.
SIGNS = {1: ("better", "than"), -1: ("worse", "than"), 0: ("not clearly different", "from")}


class Verdict(NamedTuple):
    """``kind`` is better, mixed, level, worse or unknown; the sentences say it with figures, the
    headline without, and no more than they do."""

    kind: str
    sentences: tuple[str, ...]
    headline: str

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return " ".join(self.sentences)


class Advice(NamedTuple):
    """What to try, and why."""

    title: str
    reason: str


def verdict_of(scores: Scores, *, target_known: bool) -> Verdict:
    """Whether the embedding beats the raw table and PCA, by paired intervals.

    A measure is better or worse where the 95 % interval of the paired difference leaves out 0 and
    the difference is not below 0.005 (of the rival's value, for errors).
    """
    measures = decisive(scores, target_known=target_known)
    parts: list[str] = []
    found: dict[str, dict[int, list[str]]] = {}
    for rival, rival_name in RIVALS.items():
        by_sign: dict[int, list[str]] = {}
        phrases: dict[int, list[str]] = {}
        for measure in measures:
            name = _strongest(scores, rival, measure)
            sign = compare(scores, measure, name)
            if sign is None:
                continue
            by_sign.setdefault(sign, []).append(measure)
            phrases.setdefault(sign, []).append(_against(scores, measure, name, rival))
        if by_sign:
            subject = f"Against {rival_name} it" if found else "The embedding"
            parts.append(_sentence(subject, "" if found else rival_name, phrases))
            found[rival_name] = by_sign
    if not found:
        told_nothing = "There are too few rows or labels to tell whether the embedding is of use."
        return Verdict("unknown", (told_nothing,), "Cannot be told")
    signs = {sign for by_sign in found.values() for sign in by_sign}
    if 1 in signs:
        kind = "mixed" if -1 in signs else "better"
    else:
        kind = "worse" if -1 in signs else "level"
    return Verdict(kind, tuple(parts), _headline(kind, found))


def decisive(scores: Scores, *, target_known: bool) -> list[str]:
    """The measures that a verdict rests on."""
    for family in DECISIVE:
        present = [name for name in family if name in scores["vicreg"]]
        if present and (target_known or family == DECISIVE[-1]):
            return present
    return []


def compare(scores: Scores, measure: str, rival: str) -> int | None:
    """1 if the embedding is better than a rival, -1 if worse, 0 if open; None if unknown."""
    own, other = scores["vicreg"].get(measure), scores.get(rival, {}).get(measure)
    if own is None or other is None or not np.isfinite(own.value - other.value):
        return None
    difference = own.minus(other)
    low, high = difference.interval
    least = TIE * abs(other.value) if measure == "10-NN error" else TIE
    is_sure = low > 0 or high < 0  # without an interval nothing is
    if abs(difference.value) < least or not is_sure:
        return 0
    return int(np.sign(difference.value)) * (-1 if MEASURES[measure].better < 0 else 1)


def advise(
    scores: Scores,
    history: dict[str, Any],
    config: dict[str, Any],
    *,
    target_known: bool,
    n_groups: int = 0,
) -> list[Advice]:
    """What to try next, each with the reason; empty where nothing is off.

    Parameters
    ----------
    scores : dict
    history : dict
        Of the fit, :attr:`vicreg.VICReg.history_`.
    config : dict
        Of the fit.
    target_known : bool
        Whether there were labels or numbers to judge by.
    n_groups : int
        Batches whose leakage was measured; 0 for none.
    """
    found = [
        _on_collapse(scores, config),
        _on_training(history, config),
        _on_corruption(history, config),
        _on_controls(scores, target_known=target_known),
        _on_pca(scores, target_known=target_known),
        _on_batches(scores, n_groups),
    ]
    return [one for one in found if one is not None]


def _on_collapse(scores: Scores, config: dict[str, Any]) -> Advice | None:
    own, width = scores["vicreg"], config["n_components"]
    dead, rank = own["dead dimensions"].value, own["effective rank"].value
    raw_rank = scores["raw"]["effective rank"].value
    if dead > width / 10:
        reason = f"{dead:.0f} of {width} dimensions hardly vary"
    elif rank < 0.1 * min(width, raw_rank):
        reason = (
            f"the effective rank is {rank:.1f} of {width} dimensions; the raw table's is "
            f"{raw_rank:.1f}"
        )
    else:
        return None
    return Advice("The embedding has collapsed: raise mu or nu, or lower lam", f"{reason}.")


def _on_training(history: dict[str, Any], config: dict[str, Any]) -> Advice | None:
    loss, steps = history["held_out"], history["step"]
    if len(loss) < 5 or history["stopped"] != "finished":
        return None
    late = min(int(0.8 * len(loss)), len(loss) - 2)
    fell = (loss[late] - loss[-1]) / abs(loss[late]) if loss[late] else 0.0
    if not fell > 0.03:  # nan where the loss was infinite
        return None
    return Advice(
        f"Train for longer: steps={2 * config['steps']}",
        f"The held-out loss was still falling when the fit ended: by {fell:.0%} from step "
        f"{steps[late]} to {steps[-1]}.",
    )


def _on_corruption(history: dict[str, Any], config: dict[str, Any]) -> Advice | None:
    if not history["invariance"]:
        return None
    # Two views of deviation 1 and correlation r differ by 2 - 2r in the mean square.
    spread = max(config["gamma"] - history["variance"][-1], 1e-3)
    alike = 1 - history["invariance"][-1] / (2 * spread**2)
    strengths = ", ".join(f"{name}={config[name]:g}" for name in ("swap", "mask", "noise"))
    if alike < 0.3:
        return Advice(
            "Corrupt less: the views have little in common",
            f"At the end of the fit two views of a row had a correlation of about "
            f"{max(alike, 0.0):.2f} in the projection ({strengths}).",
        )
    if alike > 0.995:
        return Advice(
            "Corrupt more: the views are nearly the same",
            f"At the end of the fit two views of a row had a correlation of {alike:.3f} in the "
            f"projection ({strengths}); the task was too easy to teach much.",
        )
    return None


def _on_controls(scores: Scores, *, target_known: bool) -> Advice | None:
    for control, why in (
        (
            "shuffled",
            "an encoder trained on shuffled columns, where there is nothing to learn, is as good",
        ),
        ("untrained", "the encoder as it was initialised is as good"),
    ):
        signs = _signs(scores, control, target_known=target_known)
        if signs and max(signs.values()) <= 0:
            return Advice(
                "Little was learnt: the columns may have little to do with each other",
                f"By {_joined(list(signs))}, {why}. Check the table, try other corruption, or stay "
                "with the raw table.",
            )
    return None


def _on_pca(scores: Scores, *, target_known: bool) -> Advice | None:
    signs = _signs(scores, "pca", target_known=target_known)
    if not signs or max(signs.values()) > 0:
        return None
    worse = [measure for measure, sign in signs.items() if sign < 0]
    if worse:
        return Advice(
            "PCA does better, and is simpler",
            f"By {_joined(worse)} the embedding is worse than PCA"
            + (", and by no measure clearly better." if len(worse) < len(signs) else "."),
        )
    return Advice(
        "PCA does as well, and is simpler",
        f"By {_joined(list(signs))} the embedding is not clearly better than PCA.",
    )


def _signs(scores: Scores, rival: str, *, target_known: bool) -> dict[str, int]:
    """How the embedding compares with a rival, by every measure that can be compared."""
    found = {}
    for measure in decisive(scores, target_known=target_known):
        sign = compare(scores, measure, rival)
        if sign is not None:
            found[measure] = sign
    return found


def _on_batches(scores: Scores, n_groups: int) -> Advice | None:
    own, raw = scores["vicreg"].get("leakage"), scores["raw"].get("leakage")
    if not n_groups or own is None or raw is None or own.interval[0] <= 1.5 / n_groups:
        return None
    return Advice(
        "The embedding tells batches apart: correct the table for them first",
        f"A linear model finds the batch with a balanced accuracy of {_told(own)}; chance is "
        f"{1 / n_groups:.2f}, on the raw table it is {_told(raw)}.",
    )


def _strongest(scores: Scores, rival: str, measure: str) -> str:
    """The raw table as it came, where that is the stronger rival."""
    if rival != "raw" or measure not in scores.get("raw unscaled", {}):
        return rival
    plain, scaled = scores["raw unscaled"][measure].value, scores["raw"][measure].value
    return "raw unscaled" if (plain - scaled) * MEASURES[measure].better > 0 else rival


def _against(scores: Scores, measure: str, name: str, rival: str) -> str:
    own, other = scores["vicreg"][measure], scores[name][measure]
    told = f"{measure} ({_told(own)} against {_told(other)}"
    return f"{told}, unscaled)" if name != rival else f"{told})"


def _sentence(subject: str, rival: str, phrases: dict[int, list[str]]) -> str:
    """What is told of one rival, which the first of its phrases names."""
    told: list[str] = []
    for sign, (words, joint) in SIGNS.items():
        if sign in phrases:
            named = f" {joint} {rival}" * bool(rival and not told)
            told.append(f"{words}{named} by {_joined(phrases[sign])}")
    return f"{subject} is {'; '.join(told)}."


def _headline(kind: str, found: dict[str, dict[int, list[str]]]) -> str:
    if kind == "mixed":
        return "Better in part, and worse in part"
    if kind == "level":
        return f"Not clearly different from {_joined(list(found))}"
    sign = 1 if kind == "better" else -1
    of_rivals = {rival: by_sign.get(sign, []) for rival, by_sign in found.items()}
    first, *others = of_rivals.values()
    common = [measure for measure in first if all(measure in one for one in others)]
    if common:
        return f"{kind.capitalize()} than {_joined(list(found))} by {_joined(common)}"
    told = [f"than {rival} by {_joined(one)}" for rival, one in of_rivals.items() if one]
    return f"{kind.capitalize()} {_joined(told)}"


def _told(estimate: Estimate) -> str:
    return " ± ".join(filter(None, figures(estimate)))


def figures(estimate: Estimate) -> tuple[str, str]:
    """A score and the half width of its interval as text, the latter empty where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.intervals import Estimate
    >>> from vicreg.verdict import figures
    >>> figures(Estimate(0.98765, np.linspace(0.984, 0.992, 400)))
    ('0.988', '0.004')
    >>> figures(Estimate(98.765, np.linspace(98, 200, 400)))
    ('99', '49')
    """
    value, half = estimate.value, estimate.half_width
    if not np.isfinite(half):
        return figure(value), ""
    if 0 < max(abs(value), half) < SMALL:
        return f"{value:.3g}", f"{half:.2g}"
    # As many decimals as the interval has two significant digits of, three for shares.
    is_share = half == 0 or (abs(value) < 10 and half < 10)
    decimals = 3 if is_share else max(0, 1 - int(np.floor(np.log10(half))))
    return f"{value:.{decimals}f}", f"{half:.{decimals}f}"


def figure(value: float) -> str:
    """A score as text: three decimals, or the first digits where these would be zeros.

    Examples
    --------
    >>> from vicreg.verdict import figure
    >>> figure(0.98765), figure(0.0), figure(1.2345e-6)
    ('0.988', '0.000', '1.23e-06')
    """
    return f"{value:.3g}" if 0 < abs(value) < SMALL else f"{value:.3f}"


def _joined(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
