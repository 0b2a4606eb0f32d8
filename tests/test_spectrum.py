"""The shaped spectrum against its formula on scikit-learn's principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from test_networks import rows_of
from vicreg import VICReg, load
from vicreg.networks import Encoder, JointEmbedding, projector
from vicreg.spectrum import FLOOR, shape_spectrum

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CARDINALITIES = [4, 3]
SMALL: dict[str, Any] = {"n_components": 8, "hidden": (16,), "steps": 10, "random_state": 0}


def network_of(**changes: Any) -> JointEmbedding:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden": [8], "skip": True, **changes}
    branches = settings.pop("branches", 1)
    encoders = [
        Encoder(6, CARDINALITIES, n_components=5, shaped=True, **settings) for _ in range(branches)
    ]
    return JointEmbedding(encoders, [projector(5, [7, 7]) for _ in range(branches)]).eval()


def spectrum(embedding: Any) -> PCA:
    return PCA().fit(np.asarray(embedding, dtype=np.float64))


def wanted_of(before: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """The formula of the documentation, in units of the sum."""
    wanted = np.sqrt(before) * (before / (before + noise * before.mean())) ** 2
    return np.asarray(wanted / wanted.sum())


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
@pytest.mark.parametrize(
    "changes", [{}, {"skip": False}, {"hidden": []}, {"final_relu": True}, {"branches": 2}]
)
def test_variances_follow_the_formula_and_their_sum_stays(
    noise: float, changes: dict[str, Any]
) -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of(**changes)
    before = spectrum(network.learnt(rows).detach())
    shape_spectrum(network, rows, noise)
    after = spectrum(network.embed(rows).detach())
    variances = np.maximum(before.explained_variance_, FLOOR * before.explained_variance_[0])
    wanted = wanted_of(variances, noise) * before.explained_variance_.sum()
    np.testing.assert_allclose(after.explained_variance_, wanted, rtol=1e-3, atol=1e-7)
    # Where directions went nowhere, they are the same or their mirror images.
    large = wanted > 0.01 * wanted.max()
    cosines = np.sum(before.components_ * after.components_, axis=1)
    np.testing.assert_allclose(np.abs(cosines)[large], 1, atol=1e-3)


def test_what_is_learnt_and_projected_stays() -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of()
    before = network.learnt(rows), *network(rows)
    shape_spectrum(network, rows, 0.3)
    for found, wanted in zip((network.learnt(rows), *network(rows)), before, strict=True):
        assert torch.equal(found, wanted)


def test_without_a_shape_what_is_learnt_is_embedded() -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of()
    assert torch.equal(network.embed(rows), network.learnt(rows))


def test_directions_without_variance_are_not_blown_up() -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of(hidden=[], skip=False)
    (encoder,) = network.encoders
    assert isinstance(encoder, Encoder)
    first = encoder.first
    first.weight.data[3:], first.codes.data[:, 3:] = 0.0, 0.0
    first.weight.data[4, 0] = 1e-9
    shape_spectrum(network, rows, 0.0)
    assert network.embed(rows).var(dim=0)[3:].max() < 1e-12


def test_constant_rows_stay_finite() -> None:
    rows = rows_of(1, 6, CARDINALITIES).take(torch.zeros(20, dtype=torch.int64))
    network = network_of()
    shape_spectrum(network, rows, 0.5)
    assert torch.isfinite(network.embed(rows)).all()


def test_a_fit_shapes_what_it_learnt_and_keeps_it(tmp_path: Path) -> None:
    X = load_digits(return_X_y=True)[0][:400]
    plain = VICReg(**SMALL, spectrum="learnt").fit(X)
    auto = VICReg(**SMALL).fit(X)
    assert auto.spectrum == "auto"
    assert auto.embedder_.config.spectrum == 0.2  # pixels tell much about each other
    before, after = (spectrum(one.transform(X)).explained_variance_ for one in (plain, auto))
    np.testing.assert_allclose(after / after.sum(), wanted_of(before, 0.2), rtol=0.05)
    auto.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").transform(X), auto.transform(X))


def test_there_is_more_noise_where_columns_go_their_own_ways() -> None:
    X = np.random.default_rng(0).normal(size=(300, 12))
    assert VICReg(**SMALL).fit(X).embedder_.config.spectrum == 6


def test_counts_have_a_level_of_their_own_and_pairs_keep_their_spectrum_unless_told() -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.3, size=(200, 12)))
    assert VICReg(**SMALL, kind="counts").fit(counts).embedder_.config.spectrum == 3
    X, X2 = random.normal(size=(200, 6)), random.normal(size=(200, 4))
    model = VICReg(**SMALL).fit(X, X_paired=X2)
    assert model.embedder_.config.spectrum == "learnt"
    told = VICReg(**SMALL, spectrum=0.3).fit(X, X_paired=X2)
    before, after = (
        spectrum(one.transform(X, X_paired=X2)).explained_variance_ for one in (model, told)
    )
    np.testing.assert_allclose(after / after.sum(), wanted_of(before, 0.3), rtol=0.1)
    both = (told.transform(X) + told.transform(X_paired=X2)) / 2
    np.testing.assert_allclose(told.transform(X, X_paired=X2), both, atol=1e-6)
