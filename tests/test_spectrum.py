"""The shaped spectrum against scikit-learn's principal components, and what it must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from test_networks import rows_of
from vicreg import VICReg, load
from vicreg.networks import Encoder, JointEmbedding, Rows, projector
from vicreg.spectrum import FLOOR, shape_spectrum

CARDINALITIES = [4, 3]


def network_of(**changes: Any) -> JointEmbedding:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden": [8], "skip": True, **changes}
    branches = settings.pop("branches", 1)
    encoders = [Encoder(6, CARDINALITIES, n_components=5, **settings) for _ in range(branches)]
    return JointEmbedding(encoders, [projector(5, [7, 7]) for _ in range(branches)]).eval()


def variances(network: JointEmbedding, rows: Rows) -> np.ndarray:
    found: np.ndarray = PCA().fit(network.learnt(rows).detach().numpy()).explained_variance_
    return found


@pytest.mark.parametrize("power", [0.0, 0.5, 0.75, 1.25, 2.0])
@pytest.mark.parametrize(
    "changes", [{}, {"skip": False}, {"hidden": []}, {"hidden": [8, 9]}, {"branches": 2}]
)
def test_variances_are_raised_to_the_power_and_their_sum_stays(
    power: float, changes: dict[str, Any]
) -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of(**changes)
    before = variances(network, rows)
    shape_spectrum(network, rows, power)
    wanted = before**power
    np.testing.assert_allclose(
        variances(network, rows), wanted / wanted.sum() * before.sum(), rtol=1e-3
    )


def test_directions_stay_where_they_were() -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of()
    before = PCA().fit(network.learnt(rows).detach().numpy()).components_
    shape_spectrum(network, rows, 0.5)
    after = PCA().fit(network.learnt(rows).detach().numpy()).components_
    np.testing.assert_allclose(np.abs(np.sum(before * after, axis=1)), 1, atol=1e-4)


@pytest.mark.parametrize("branches", [1, 2])
def test_projections_stay_as_they_were(branches: int) -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of(branches=branches)
    before = network(rows)
    shape_spectrum(network, rows, 0.5)
    for found, wanted in zip(network(rows), before, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_power_of_one_changes_no_bit() -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of()
    before = network.learnt(rows)
    shape_spectrum(network, rows, 1.0)
    assert torch.equal(network.learnt(rows), before)


def test_directions_without_variance_are_not_blown_up() -> None:
    rows, network = rows_of(300, 6, CARDINALITIES), network_of(hidden=[], skip=False)
    (encoder,) = network.encoders
    assert isinstance(encoder, Encoder)
    first = encoder.first
    first.weight.data[3:], first.codes.data[:, 3:] = 0.0, 0.0
    first.weight.data[4, 0] = 1e-9
    shape_spectrum(network, rows, 0.0)
    assert network.learnt(rows).var(dim=0)[3:].max() <= 2 * FLOOR


def test_constant_rows_stay_finite() -> None:
    rows = rows_of(1, 6, CARDINALITIES).take(torch.zeros(20, dtype=torch.int64))
    network = network_of()
    shape_spectrum(network, rows, 0.5)
    assert torch.isfinite(network.embed(rows)).all()


def test_a_fit_shapes_what_it_learnt_and_keeps_it(tmp_path: Any) -> None:
    X = load_digits(return_X_y=True)[0][:400]
    settings: dict[str, Any] = {"n_components": 8, "hidden": (16,), "steps": 30, "random_state": 0}
    plain = VICReg(**settings, spectrum=1).fit(X)
    auto = VICReg(**settings).fit(X)
    assert auto.spectrum == "auto"
    assert auto.embedder_.config.spectrum == 0.75  # pixels tell much about each other
    before, after = (PCA().fit(one.transform(X)).explained_variance_ for one in (plain, auto))
    np.testing.assert_allclose(after / after.sum(), before**0.75 / (before**0.75).sum(), rtol=0.05)
    auto.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").transform(X), auto.transform(X))


def test_noise_is_quietened_where_columns_go_their_own_ways() -> None:
    X = np.random.default_rng(0).normal(size=(300, 12))
    model = VICReg(8, hidden=(16,), steps=5, random_state=0).fit(X)
    assert model.embedder_.config.spectrum == 1.25


def test_an_encoder_that_ends_in_a_relu_keeps_its_spectrum() -> None:
    X = load_digits(return_X_y=True)[0][:200]
    settings: dict[str, Any] = {"n_components": 8, "hidden": (16,), "steps": 5, "final_relu": True}
    assert VICReg(**settings, random_state=0).fit(X).embedder_.config.spectrum == 1
    with pytest.raises(ValueError, match=r"spectrum stays as it is.*however: spectrum=0.5"):
        VICReg(**settings, spectrum=0.5).fit(X)
    with pytest.raises(ValueError, match="cannot be followed by a matrix"):
        network_of(final_relu=True).encoders[0].follow_by(torch.eye(5))  # type: ignore[operator]


def test_counts_and_pairs_keep_their_spectrum_unless_told() -> None:
    random = np.random.default_rng(0)
    settings: dict[str, Any] = {"n_components": 8, "hidden": (16,), "steps": 5, "random_state": 0}
    counts = random.poisson(random.gamma(0.3, size=(200, 12)))
    assert VICReg(**settings, kind="counts").fit(counts).embedder_.config.spectrum == 1
    X, X2 = random.normal(size=(200, 6)), random.normal(size=(200, 4))
    assert VICReg(**settings).fit(X, X_paired=X2).embedder_.config.spectrum == 1
    plain, told = (
        VICReg(**settings, spectrum=power).fit(X, X_paired=X2).transform(X, X_paired=X2)
        for power in (1, 0.5)
    )
    before, after = (PCA().fit(one).explained_variance_ for one in (plain, told))
    np.testing.assert_allclose(after / after.sum(), before**0.5 / (before**0.5).sum(), rtol=0.1)
