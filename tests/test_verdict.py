"""The verdict from constructed intervals; every advice with a case that calls for it and one that
does not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from vicreg import VICReg, evaluate, vicreg_loss
from vicreg.intervals import Estimate
from vicreg.scores import Scores
from vicreg.verdict import Advice, advise, compare, decisive, verdict_of

NAN = float("nan")
CONFIG = {"n_components": 100, "steps": 40, "gamma": 1.0, "swap": 0.5, "mask": 0.0, "noise": 0.1}
SPECTRUM = {"dead dimensions": 0.0, "effective rank": 30.0}
HISTORY: dict[str, Any] = {
    "step": [10, 20, 30, 40, 50],
    "held_out": [9.0, 5.0, 4.0, 4.0, 4.0],
    "invariance": [0.5],
    "variance": [0.0],
    "stopped": "finished",
}


def sure(value: float) -> Estimate:
    return Estimate(value, np.full(201, value))


def within(value: float, half: float) -> Estimate:
    """95 % of the replicates lie within ``half``."""
    return Estimate(value, value + np.linspace(-half, half, 201) / 0.95)


def scores_of(measure: str = "silhouette", half: float = 0.02, **values: float) -> Scores:
    """One measure: that of the embedding is sure, the others' intervals have a half width."""
    return {
        name.replace("_", " "): {measure: sure(value) if name == "vicreg" else within(value, half)}
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("own", "kind", "words"),
    [
        (0.530, "better", "The embedding is better than the raw table by silhouette (0.530 ± 0.000 "
         "against 0.500 ± 0.020)."),
        (0.470, "worse", "The embedding is worse than the raw table by silhouette (0.470 ± 0.000 "
         "against 0.500 ± 0.020)."),
        (0.515, "level", "The embedding is not clearly different from the raw table by silhouette "
         "(0.515 ± 0.000 against 0.500 ± 0.020)."),
    ],
)  # fmt: skip
def test_the_sentence_follows_from_the_interval_of_the_difference(
    own: float, kind: str, words: str
) -> None:
    found = verdict_of(scores_of(vicreg=own, raw=0.5), target_known=True)
    assert found.kind == kind
    assert found.sentences == (words,)
    assert found.text == words


@pytest.mark.parametrize(
    ("measure", "own", "rival", "wanted"),
    [
        ("silhouette", 0.506, 0.5, 1),
        ("silhouette", 0.504, 0.5, 0),  # sure, and too little to matter
        ("silhouette", 0.494, 0.5, -1),
        ("10-NN error", 198.0, 200.0, 1),  # less is better, and shares of the rival count
        ("10-NN error", 199.5, 200.0, 0),
        ("10-NN error", 202.0, 200.0, -1),
        ("silhouette", NAN, 0.5, None),
        ("silhouette", 0.5, NAN, None),
    ],
)
def test_a_sure_difference_must_matter_too(
    measure: str, own: float, rival: float, wanted: int | None
) -> None:
    scores = scores_of(measure, 0.0, vicreg=own, raw=rival)
    assert compare(scores, measure, "raw") == wanted
    assert compare(scores, measure, "pca") is None


def test_intervals_are_of_the_paired_difference() -> None:
    moved = np.linspace(-0.3, 0.3, 201)
    together = {
        "vicreg": {"R²": Estimate(0.52, 0.52 + moved)},
        "raw": {"R²": Estimate(0.5, 0.5 + moved)},
    }
    assert compare(together, "R²", "raw") == 1
    together["raw"]["R²"] = Estimate(0.5, 0.5 - moved)
    assert compare(together, "R²", "raw") == 0


@pytest.mark.parametrize("measure", ["leakage", "10-NN error"])
def test_where_less_is_better_less_is_told_as_better(measure: str) -> None:
    scores = scores_of(measure, vicreg=0.2, raw=0.5)
    assert compare(scores, measure, "raw") == 1
    assert compare(scores_of(measure, vicreg=0.5, raw=0.2), measure, "raw") == -1


def test_without_an_interval_no_difference_is_sure() -> None:
    alone = {name: {"dead dimensions": Estimate(value, np.array([NAN]))}
             for name, value in (("vicreg", 0.0), ("raw", 4.0))}  # fmt: skip
    assert compare(alone, "dead dimensions", "raw") == 0


def test_a_verdict_on_several_measures_tells_all_of_them() -> None:
    scores: Scores = {
        "vicreg": {"silhouette": sure(0.3), "10-NN": sure(0.8), "linear": sure(0.7)},
        "raw": {"silhouette": sure(0.2), "10-NN": sure(0.9), "linear": sure(0.7)},
        "pca": {"silhouette": sure(0.1), "10-NN": sure(0.7), "linear": sure(NAN)},
    }
    found = verdict_of(scores, target_known=True)
    assert found.kind == "mixed"
    assert found.sentences == (
        "The embedding is better than the raw table by silhouette (0.300 ± 0.000 against 0.200 ± "
        "0.000); worse by 10-NN (0.800 ± 0.000 against 0.900 ± 0.000); not clearly different by "
        "linear (0.700 ± 0.000 against 0.700 ± 0.000).",
        "Against PCA it is better by silhouette (0.300 ± 0.000 against 0.100 ± 0.000) and 10-NN "
        "(0.800 ± 0.000 against 0.700 ± 0.000).",
    )


@pytest.mark.parametrize(
    ("raw", "pca", "kind", "headline"),
    [
        ((0.4, 0.5), (0.4, 0.5), "better", "Better than the raw table and PCA by silhouette"),
        ((0.4, 0.4), (0.4, 0.5), "better", "Better than the raw table and PCA by silhouette"),
        ((0.4, 0.5), (0.5, 0.4), "better",
         "Better than the raw table by silhouette and than PCA by linear"),
        ((0.5, 0.5), (0.4, 0.4), "better", "Better than PCA by silhouette and linear"),
        ((NAN, 0.4), (NAN, NAN), "better", "Better than the raw table by linear"),
        ((0.5, 0.6), (0.5, 0.6), "worse", "Worse than the raw table and PCA by linear"),
        ((0.4, 0.6), (0.5, 0.5), "mixed", "Better in part, and worse in part"),
        ((0.5, 0.5), (0.5, 0.5), "level", "Not clearly different from the raw table and PCA"),
        ((NAN, NAN), (0.5, 0.5), "level", "Not clearly different from PCA"),
        ((NAN, NAN), (NAN, NAN), "unknown", "Cannot be told"),
    ],
)  # fmt: skip
def test_the_headline_claims_what_the_sentences_say(
    raw: tuple[float, float], pca: tuple[float, float], kind: str, headline: str
) -> None:
    scores: Scores = {
        name: dict(zip(("silhouette", "linear"), map(sure, values), strict=True))
        for name, values in (("vicreg", (0.5, 0.5)), ("raw", raw), ("pca", pca))
    }
    found = verdict_of(scores, target_known=True)
    assert (found.kind, found.headline) == (kind, headline)


def test_better_than_one_rival_and_level_with_the_other_is_better() -> None:
    scores = scores_of(half=0.001, vicreg=0.5, raw=0.5, pca=0.4)
    assert verdict_of(scores, target_known=True).kind == "better"


def test_the_raw_table_is_taken_in_its_stronger_form() -> None:
    scores = scores_of(half=0.0, vicreg=0.5, raw=0.4, raw_unscaled=0.6)
    found = verdict_of(scores, target_known=True)
    assert found.kind == "worse"
    assert "(0.500 ± 0.000 against 0.600 ± 0.000, unscaled)" in found.text
    errors = scores_of("10-NN error", 0.0, vicreg=0.5, raw=0.4, raw_unscaled=0.6)
    assert "against 0.400 ± 0.000)" in verdict_of(errors, target_known=True).text


def test_where_only_pca_can_be_compared_the_sentence_says_so() -> None:
    scores = scores_of(half=0.0, vicreg=0.5, raw=NAN, pca=0.4)
    assert verdict_of(scores, target_known=True).sentences == (
        "The embedding is better than PCA by silhouette (0.500 ± 0.000 against 0.400 ± 0.000).",
    )


def test_without_a_score_nothing_can_be_told() -> None:
    found = verdict_of(scores_of(vicreg=NAN, raw=0.5, pca=0.5), target_known=True)
    assert found.kind == "unknown"
    assert "too few rows or labels" in found.text


def test_what_decides_is_of_the_target_and_clusters_only_without_one() -> None:
    scores: Scores = {
        "vicreg": {name: sure(0.5) for name in ("silhouette of clusters", "linear", "silhouette")}
    }
    assert decisive(scores, target_known=True) == ["silhouette", "linear"]
    assert decisive(scores, target_known=False) == ["silhouette of clusters"]
    assert decisive({"vicreg": {"R²": sure(0.5)}}, target_known=True) == ["R²"]
    assert decisive({"vicreg": {"R²": sure(0.5)}}, target_known=False) == []


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (sure(15.5), "15.500 ± 0.000"),  # all rows miss by the same
        (within(0.1234, 0.0456), "0.123 ± 0.046"),
        (within(123.456, 7.89), "123.5 ± 7.9"),
        (within(12345.6, 789.0), "12346 ± 789"),
        (Estimate(0.12345, np.array([NAN])), "0.123"),
    ],
)
def test_numbers_have_the_decimals_that_their_interval_allows(
    estimate: Estimate, words: str
) -> None:
    scores: Scores = {
        "vicreg": {"10-NN error": sure(1e6)},
        "raw": {"10-NN error": estimate},
    }
    assert f"against {words})" in verdict_of(scores, target_known=True).text


def test_the_sentences_numbers_are_the_scorecards() -> None:
    X, y = load_iris(return_X_y=True)
    model = VICReg(4, hidden=(8,), projector=(8,), steps=20, random_state=0, n_threads=1)
    card = evaluate(model, X, y, maps=False, controls=False)
    of_raw, of_pca = card.judgement.sentences
    assert card.verdict == f"{of_raw} {of_pca}"
    for rival, sentence in (("raw", of_raw), ("pca", of_pca)):
        told = re.findall(
            r"(silhouette|10-NN|linear) \((\S+) ± (\S+) against (\S+) ± ([\d.]+)(, unscaled)?\)",
            sentence,
        )
        assert len(told) == 3
        for measure, own, own_half, other, other_half, unscaled in told:
            name = "raw unscaled" if unscaled else rival
            for method, value, half in (("vicreg", own, own_half), (name, other, other_half)):
                estimate = card.estimates[method][measure]
                assert float(value) == pytest.approx(estimate.value, abs=6e-4)
                assert float(half) == pytest.approx(estimate.half_width, abs=6e-4)


def titles(
    scores: Scores | None = None,
    history: dict[str, Any] | None = None,
    *,
    target_known: bool = True,
    n_groups: int = 0,
) -> list[str]:
    return [
        one.title.partition(":")[0]
        for one in advice_on(scores, history, target_known=target_known, n_groups=n_groups)
    ]


def advice_on(
    scores: Scores | None = None,
    history: dict[str, Any] | None = None,
    *,
    target_known: bool = True,
    n_groups: int = 0,
) -> list[Advice]:
    """On a fit in which nothing is off, but for what is given."""
    every: Scores = {
        "vicreg": {"silhouette": sure(0.6)},
        "raw": {"silhouette": within(0.5, 0.02)},
        "pca": {"silhouette": within(0.5, 0.02)},
        "untrained": {"silhouette": within(0.5, 0.02)},
        "shuffled": {"silhouette": within(0.5, 0.02)},
    }
    for method, of_method in (scores or {}).items():
        every[method] = {**every.get(method, {}), **of_method}
    for method in every:
        every[method] = {**{name: sure(one) for name, one in SPECTRUM.items()}, **every[method]}
    return advise(
        every, {**HISTORY, **(history or {})}, CONFIG, target_known=target_known, n_groups=n_groups
    )


def test_where_nothing_is_off_there_is_no_advice() -> None:
    assert advice_on() == []


@pytest.mark.parametrize(
    ("own", "raw_rank", "reason"),
    [
        ({"dead dimensions": 11.0}, 30.0, "11 of 100 dimensions hardly vary."),
        ({"dead dimensions": 10.0}, 30.0, None),
        ({"effective rank": 2.9}, 30.0, "the effective rank is 2.9 of 100 dimensions; the raw "
         "table's is 30.0."),
        ({"effective rank": 3.1}, 30.0, None),
        ({"effective rank": 9.9}, 500.0, "the effective rank is 9.9 of 100 dimensions; the raw "
         "table's is 500.0."),
        ({"effective rank": 10.1}, 500.0, None),  # the width limits it, not the table
    ],
)  # fmt: skip
def test_collapse(own: dict[str, float], raw_rank: float, reason: str | None) -> None:
    found = advice_on(
        {
            "vicreg": {name: sure(value) for name, value in own.items()},
            "raw": {"effective rank": sure(raw_rank)},
        }
    )
    wanted = "The embedding has collapsed: raise mu or nu, or lower lam"
    assert found == ([] if reason is None else [Advice(wanted, reason)])


@pytest.mark.parametrize(
    ("changed", "advised"),
    [
        ({"held_out": [9.0, 6.0, 5.0, 4.0, 3.8]}, True),
        ({"held_out": [9.0, 6.0, 5.0, 4.0, 3.89]}, False),  # by 2.75 %
        ({"held_out": [9.0, 6.0, 5.0, 3.0, 3.8]}, False),  # it rose
        ({"held_out": [9.0, 6.0, 5.0, 4.0, 3.8], "stopped": "early"}, False),
        ({"held_out": [9.0, 6.0, 5.0, 4.0, 3.8], "stopped": "interrupted"}, False),
        ({"held_out": [9.0, 6.0, 4.0, 3.8], "step": [10, 20, 30, 40]}, False),  # too few to tell
        ({"held_out": [9.0, 6.0, 5.0, float("inf"), 3.8]}, False),
    ],
)
def test_a_fit_that_was_too_short(changed: dict[str, Any], advised: bool) -> None:
    found = advice_on(history=changed)
    assert [one.title for one in found] == ["Train for longer: steps=80"] * advised
    if advised:
        assert "still falling when the fit ended: by 5% from step 40 to 50" in found[0].reason


def terms_of_views(correlation: float, deviation: float) -> dict[str, list[float]]:
    """The loss's own terms of two projections drawn with a correlation and a deviation."""
    generator = torch.Generator().manual_seed(0)
    shared, one, other = (
        torch.randn(20_000, 8, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    z1, z2 = (
        deviation * (correlation**0.5 * shared + (1 - correlation) ** 0.5 * own)
        for own in (one, other)
    )
    terms = vicreg_loss(z1, z2)
    return {"invariance": [float(terms.invariance)], "variance": [float(terms.variance)]}


@pytest.mark.parametrize("deviation", [0.95, 0.5])
@pytest.mark.parametrize(
    ("correlation", "title"),
    [(0.25, "Corrupt less"), (0.35, None), (0.98, None), (0.999, "Corrupt more")],
)
def test_corruption_that_is_too_strong_or_too_weak(
    correlation: float, title: str | None, deviation: float
) -> None:
    history = terms_of_views(correlation, deviation)
    assert titles(history=history) == ([] if title is None else [title])
    for one in advice_on(history=history):
        told = re.search(r"correlation of (?:about )?(\d\.\d+)", one.reason)
        assert told is not None
        assert float(told[1]) == pytest.approx(correlation, abs=0.015)
        assert "(swap=0.5, mask=0, noise=0.1)" in one.reason


def test_a_fit_that_never_looked_at_itself_says_nothing_of_its_views() -> None:
    assert titles(history={"invariance": [], "variance": []}) == []


@pytest.mark.parametrize(
    ("control", "words"),
    [("shuffled", "trained on shuffled columns"), ("untrained", "as it was initialised")],
)
def test_nothing_learnt(control: str, words: str) -> None:
    title = "Little was learnt"
    as_good = {control: {"silhouette": within(0.59, 0.02)}}
    assert titles(as_good) == [title]
    assert words in advice_on(as_good)[0].reason
    assert titles({control: {"silhouette": within(0.7, 0.02)}}) == [title]
    assert titles({control: {"silhouette": within(0.57, 0.02)}}) == []
    # One measure by which something was learnt is enough.
    by_another = {"vicreg": {"linear": sure(0.9)}, control: {"linear": within(0.5, 0.02)}}
    assert titles({**by_another, control: {**by_another[control], **as_good[control]}}) == []
    assert titles({control: {"silhouette": sure(NAN)}}) == []


def test_principal_components_that_do_as_well() -> None:
    title = "PCA does as well, and is simpler"
    assert titles({"pca": {"silhouette": within(0.59, 0.02)}}) == [title]
    better = "PCA does better, and is simpler"
    assert titles({"pca": {"silhouette": within(0.7, 0.02)}}) == [better]
    assert titles({"pca": {"silhouette": within(0.57, 0.02)}}) == []
    assert titles({"pca": {"silhouette": sure(NAN)}}) == []


def test_advice_names_the_measures_that_could_be_compared() -> None:
    own = {"silhouette": sure(0.6), "10-NN": sure(NAN), "linear": sure(0.6)}
    level = {"silhouette": sure(0.6), "10-NN": sure(0.9), "linear": sure(0.6)}
    for rival, words in (
        ("pca", "By silhouette and linear the embedding is not clearly better than PCA."),
        ("shuffled", "By silhouette and linear, an encoder trained on shuffled columns"),
    ):
        (found,) = advice_on({"vicreg": own, rival: level})
        assert found.reason.startswith(words)
    (found,) = advice_on({"vicreg": own, "pca": {**level, "linear": sure(0.7)}})
    assert found.reason == (
        "By linear the embedding is worse than PCA, and by no measure clearly better."
    )


def test_without_a_target_advice_goes_by_clusters() -> None:
    of_clusters = {
        "vicreg": {"silhouette of clusters": sure(0.4)},
        "pca": {"silhouette of clusters": within(0.4, 0.02)},
    }
    assert titles(of_clusters) == []
    assert titles(of_clusters, target_known=False) == ["PCA does as well, and is simpler"]


@pytest.mark.parametrize(
    ("leakage", "half", "n_groups", "advised"),
    [
        (0.9, 0.05, 2, True),
        (0.79, 0.03, 2, True),  # chance is 0.5: the lower end must be above 0.75
        (0.77, 0.03, 2, False),
        (0.45, 0.05, 4, True),
        (0.9, 0.05, 0, False),  # no batches were asked about
    ],
)
def test_batches_that_can_be_told_apart(
    leakage: float, half: float, n_groups: int, advised: bool
) -> None:
    scores = {
        "vicreg": {"leakage": within(leakage, half)},
        "raw": {"leakage": within(0.95, 0.01)},
    }
    found = advice_on(scores, n_groups=n_groups)
    assert [one.title.partition(":")[0] for one in found] == [
        "The embedding tells batches apart"
    ] * advised
    for one in found:
        assert f"accuracy of {leakage:.3f} ± {half:.3f}; chance is {1 / n_groups:.2f}" in one.reason
        assert "on the raw table it is 0.950 ± 0.010." in one.reason
