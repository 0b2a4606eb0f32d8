"""Two tables of the same rows: one space, either side alone, both; saved; refused where wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.cross_decomposition import CCA
from sklearn.metrics import silhouette_score

from vicreg import VICReg, evaluate, load
from vicreg.config import Config
from vicreg.loss import vicreg_loss
from vicreg.pairs import PairedEmbedding, PairedRows, PairedViews
from vicreg.preparation import build_network
from vicreg.table import TableEncoder
from vicreg.views import Compose

SMALL: dict[str, Any] = {
    "n_components": 8,
    "hidden": (16,),
    "projector": (16, 16),
    "steps": 20,
    "random_state": 0,
    "n_threads": 1,
}


def pair(n: int = 300, shared: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two tables that share ``shared`` hidden causes and have noise of their own."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(n, shared))
    maps = np.random.default_rng(99)
    X = causes @ maps.normal(size=(shared, 12)) + random.normal(size=(n, 12))
    X2 = causes @ maps.normal(size=(shared, 7)) + random.normal(size=(n, 7))
    return X, X2, causes


def test_either_side_and_both_are_embedded_into_one_space() -> None:
    X, X2, _ = pair()
    model = VICReg(**SMALL).fit(X, X_paired=X2)
    first, second = model.transform(X), model.transform(X_paired=X2)
    assert first.shape == second.shape == (300, 8)
    assert first.dtype == second.dtype == np.float32
    joined = model.transform(X, X_paired=X2)
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, (first + second) / 2, atol=1e-6)
    assert np.array_equal(VICReg(**SMALL).fit_transform(X, X_paired=X2), first)


def test_a_row_of_either_table_is_embedded_to_the_same_bits_alone() -> None:
    X, X2, _ = pair()
    model = VICReg(**SMALL).fit(X, X_paired=X2)
    whole = model.transform(X), model.transform(X_paired=X2), model.transform(X, X_paired=X2)
    for row in (0, 299):
        one = X[[row]], X2[[row]]
        assert np.array_equal(model.transform(one[0]), whole[0][[row]])
        assert np.array_equal(model.transform(X_paired=one[1]), whole[1][[row]])
        assert np.array_equal(model.transform(one[0], X_paired=one[1]), whole[2][[row]])


def test_training_finds_what_the_tables_share() -> None:
    """Partners of new rows are found, much as by canonical correlation, and not before."""
    X, X2, _ = pair(600)
    new, new2, _ = pair(100, seed=1)

    def found(a: np.ndarray, b: np.ndarray) -> float:
        a, b = ((z - z.mean(axis=0)) / z.std(axis=0) for z in (a, b))
        a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
        order = np.argsort(-(a @ b.T), axis=1)[:, :10]
        return float(np.mean([row in near for row, near in enumerate(order)]))

    settings = {**SMALL, "steps": 400, "batch_size": 128, "swap": 0.1}
    model = VICReg(**settings).fit(X, X_paired=X2)
    untrained = VICReg(**settings)._fit(X, X_paired=X2, untrained=True)
    ours, before = (
        found(one.transform(new), one.transform(X_paired=new2)) for one in (model, untrained)
    )
    linear = CCA(4).fit(X, X2)
    best = found(*linear.transform(new, new2))
    assert before < 0.25
    assert ours > 0.7 * best > 0.45


def test_the_networks_loss_is_that_of_each_row_against_itself_in_the_other_table() -> None:
    X, X2, _ = pair(64)
    config = Config(**{k: v for k, v in SMALL.items() if k not in ("random_state", "n_threads")})
    tables = TableEncoder.fit(X), TableEncoder.fit(X2)
    network = build_network(tables[0], config, 0, tables[1])
    assert isinstance(network, PairedEmbedding)
    rows = PairedRows.of(tables[0].transform(X), tables[1].transform(X2))
    views = PairedViews(
        rows,
        tables[0].layout,
        Compose(()),
        64,
        torch.Generator().manual_seed(0),
        second_layout=tables[1].layout,
        second_corrupt=Compose(()),
    )(torch.arange(64))
    network.eval()
    with torch.no_grad():
        z1, z2 = network(views)
        alone = [
            network.projectors[0](encoder(side))
            for encoder, side in zip(network.encoders, (rows.first, rows.second), strict=True)
        ]
    assert z1.shape == (128, 16)
    for z, wanted in zip((z1, z2), alone, strict=True):
        torch.testing.assert_close(z, wanted.repeat(2, 1))
    assert float(vicreg_loss(z1, z2).invariance) > 0


def test_a_pair_has_no_details_and_says_so_if_they_were_asked_for() -> None:
    random = np.random.default_rng(0)
    X, X2 = random.normal(size=(60, 4)), random.normal(size=(60, 3))
    plain: dict[str, Any] = {"n_components": 32, "hidden": (8,), "projector": (8,), "steps": 2}
    told = "detail_share is 0: of a pair of tables all components are learnt"
    asked = VICReg(**plain, detail_share=0.5).fit(X, X_paired=X2)
    assert told in asked.notes_
    assert asked.embedder_.config.n_details == 0
    assert told not in VICReg(**plain).fit(X, X_paired=X2).notes_


def test_views_of_a_row_are_that_row_in_both_tables() -> None:
    rows = PairedRows.of(*(TableEncoder.fit(x).transform(x) for x in pair(50)[:2]))
    layouts = [TableEncoder.fit(x).layout for x in pair(50)[:2]]
    views = PairedViews(
        rows,
        layouts[0],
        Compose(()),
        20,
        torch.Generator().manual_seed(0),
        second_layout=layouts[1],
        second_corrupt=Compose(()),
    )
    positions = torch.randperm(50, generator=torch.Generator().manual_seed(1))[:20]
    made = views(positions)
    assert torch.equal(made.numbers, rows.numbers[positions].repeat(2, 1))
    assert torch.equal(made.second.numbers, rows.second.numbers[positions].repeat(2, 1))


def test_saved_pairs_are_the_same_to_the_bit(tmp_path: Path) -> None:
    X, X2, _ = pair()
    frame = pd.DataFrame(X2, columns=[f"s{i}" for i in range(7)])
    model = VICReg(**SMALL).fit(X, X_paired=frame)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert np.array_equal(again.transform(X, X_paired=frame), model.transform(X, X_paired=frame))
    with pytest.raises(ValueError, match="unseen at fit time:\n- wrong"):
        again.transform(X_paired=frame.rename(columns={"s0": "wrong"}))
    VICReg(**SMALL).fit(X).save(tmp_path / "m")
    assert load(tmp_path / "m").paired_columns_ is None


def test_counts_groups_weights_and_categories_go_with_pairs() -> None:
    random = np.random.default_rng(0)
    counts = scipy.sparse.csr_matrix(random.poisson(random.gamma(0.2, 4.0, (1200, 210))))
    other = pd.DataFrame(
        {"a": random.normal(size=1200), "b": random.choice(["x", "y"], 1200), "c": 1.0}
    )
    model = VICReg(**SMALL, n_top_columns=150).fit(
        other, X_paired=counts, groups=np.arange(1200) // 4, sample_weight=1 + np.arange(1200) % 2
    )
    assert model.notes_[0] == "dropped 1 constant column: 'c'"
    assert model.notes_[1].startswith("X_paired: dropped 60 less variable columns")
    assert model.notes_[2].startswith("X_paired: read as counts")
    assert model.embedder_.paired is not None
    assert model.embedder_.paired.depth is not None
    assert np.isfinite(model.transform(other, X_paired=counts)).all()


def test_named_output_keeps_working_for_either_side() -> None:
    X, X2, _ = pair()
    model = VICReg(**SMALL).fit(X, X_paired=X2).set_output(transform="pandas")
    for Z in (model.transform(X), model.transform(X_paired=X2), model.transform(X, X_paired=X2)):
        assert list(Z.columns) == [f"vicreg{i}" for i in range(8)]


@pytest.mark.parametrize(
    ("settings", "paired", "message"),
    [
        ({}, np.zeros((299, 7)), "rows of X, in the same order, however: 299 rows, X has 300"),
        ({"neighbours": 3}, None, "neighbours must be 0.*however: neighbours=3"),
        ({"shared_weights": False}, None, "shared_weights must be True.*shared_weights=False"),
        ({}, np.ones((300, 2)), "no column to learn from: dropped 2 constant columns"),
    ],
)
def test_bad_pairs_are_refused_at_fit(settings: Any, paired: Any, message: str) -> None:
    X, X2, _ = pair()
    with pytest.raises(ValueError, match=message):
        VICReg(**{**SMALL, **settings}).fit(X, X_paired=X2 if paired is None else paired)


def test_bad_pairs_are_refused_at_transform() -> None:
    X, X2, _ = pair()
    alone, model = VICReg(**SMALL).fit(X), VICReg(**SMALL).fit(X, X_paired=X2)
    with pytest.raises(ValueError, match=re.escape("fit it with fit(X, X_paired=...)")):
        alone.transform(X, X_paired=X2)
    with pytest.raises(ValueError, match="however: neither is given"):
        model.transform()
    with pytest.raises(ValueError, match="however: 5 rows, X has 300"):
        model.transform(X, X_paired=X2[:5])
    with pytest.raises(ValueError, match="X_paired: X has 12 features, but VICReg is expecting 7"):
        model.transform(X_paired=X)


def test_of_a_pair_the_first_tables_embedding_is_evaluated() -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(200, 3))
    X, other = (hidden @ random.normal(size=(3, width)) for width in (8, 5))
    labels = (hidden[:, 0] > 0).astype(int)
    model = VICReg(n_components=8, hidden=(16,), projector=(16,), steps=20, random_state=0)
    model.fit(X, X_paired=other)
    card = evaluate(model, X, labels)
    wanted = silhouette_score(model.transform(X), labels)
    assert card.scores["vicreg"]["silhouette"] == pytest.approx(wanted, abs=1e-4)
    assert "controls are fitted without the second table of the model" in card.notes
    assert "<html" in card.to_html()


def test_errors_on_the_second_table_say_so() -> None:
    X, X2, _ = pair()
    odd = X2.copy()
    odd[3, 1] = np.inf
    for second, told in (
        (odd, "X_paired: Input X contains infinity .* column 'x1', row 3"),
        (np.zeros_like(X2), "X_paired: the table has no column to learn from"),
        (X2[:, :0], "X_paired: Found array with 0 feature"),
    ):
        with pytest.raises(ValueError, match=f"^{told}"):
            VICReg(**SMALL).fit(X, X_paired=second)
    fitted = VICReg(**SMALL).fit(X, X_paired=X2)
    with pytest.raises(ValueError, match="^X_paired: Input X contains infinity"):
        fitted.transform(X_paired=odd)
    with pytest.raises(ValueError, match="^Input X contains infinity"):
        VICReg(**SMALL).fit(odd, X_paired=X)
