"""Details against principal components by scikit-learn, and what they are there for."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler

from test_networks import one_hot, rows_of
from vicreg import VICReg
from vicreg.config import Config
from vicreg.details import FEW_DIMENSIONS, OF_WAVES, WIDTH, fit_details
from vicreg.networks import Encoder, JointEmbedding, Rows, projector
from vicreg.spectrum import shape_spectrum

CARDINALITIES = [4, 3]


def fitted(
    rows: Rows,
    n_details: int,
    scale: float = 0.1,
    hidden: int = 8,
    waves: int = 0,
    power: float = 1.0,
) -> JointEmbedding:
    torch.manual_seed(0)
    widths = [hidden] if hidden else []
    encoder = Encoder(
        6, CARDINALITIES, hidden=widths, n_components=5, n_details=n_details, n_waves=waves
    )
    network = JointEmbedding([encoder], [projector(5, [7])])
    generator = torch.Generator().manual_seed(1)
    fit_details(network, rows, CARDINALITIES, scale=scale, power=power, generator=generator)
    return network


def told_of(network: JointEmbedding, rows: Rows) -> torch.Tensor:
    """What details are made of, each part with a total variance of 1."""
    (encoder,) = network.encoders
    assert isinstance(encoder, Encoder)
    parts = [one_hot(rows, CARDINALITIES)]
    if encoder.n_hidden:
        parts.append(encoder.hidden(rows).detach())
    weights = [1.0] * len(parts)
    if encoder.details is not None and encoder.details.phases is not None:
        phases = encoder.details.phases
        parts.append(torch.cos(encoder(rows) @ phases.weight.T + phases.bias).detach())
        weights.append(OF_WAVES)
    centred = [part - part.mean(dim=0) for part in parts]
    return torch.cat(
        [
            part * weight / part.square().sum(dim=1).mean().sqrt()
            for part, weight in zip(centred, weights, strict=True)
        ],
        1,
    )


@pytest.mark.parametrize("waves", [0, 7])
@pytest.mark.parametrize("hidden", [8, 0])
@pytest.mark.parametrize("n_rows", [300, 12])
def test_details_are_principal_components_but_for_a_rotation(
    n_rows: int, hidden: int, waves: int
) -> None:
    rows = rows_of(n_rows, 6, CARDINALITIES)
    network = fitted(rows, 4, hidden=hidden, waves=waves)
    details = network.embed(rows)[:, 5:].detach().double()
    wanted = PCA(4).fit_transform(told_of(network, rows).double().numpy())
    # A rotation leaves the products of rows; the scale is free.
    found, expected = details @ details.T, torch.from_numpy(wanted @ wanted.T)
    found, expected = found / found.norm(), expected / expected.norm()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.5, 2.0])
@pytest.mark.parametrize("n_rows", [300, 12])
def test_a_power_is_of_the_variances_along_principal_directions(n_rows: int, power: float) -> None:
    rows = rows_of(n_rows, 6, CARDINALITIES)
    network = fitted(rows, 4, power=power)
    details = network.embed(rows)[:, 5:].detach().double().numpy()
    plain = PCA(4).fit(told_of(network, rows).double().numpy())
    components = plain.transform(told_of(network, rows).double().numpy())
    wanted = components * plain.explained_variance_ ** ((power - 1) / 2)
    found, expected = details @ details.T, wanted @ wanted.T
    np.testing.assert_allclose(
        found / np.linalg.norm(found), expected / np.linalg.norm(expected), rtol=0, atol=1e-5
    )
    ratios = PCA(4).fit(details).explained_variance_ratio_
    raised = plain.explained_variance_**power
    np.testing.assert_allclose(ratios, raised / raised.sum(), rtol=1e-4)
    # Details as a whole are as large whatever the power.
    assert np.sqrt(details.var(axis=0).sum()) == pytest.approx(
        0.1 * np.sqrt(network.embed(rows)[:, :5].detach().numpy().var(axis=0).sum()), rel=1e-5
    )


def test_where_nothing_varies_there_are_no_details() -> None:
    rows = rows_of(1, 6, CARDINALITIES).take(torch.zeros(20, dtype=torch.int64))
    network = fitted(rows, 4, power=1.5)
    assert (network.embed(rows)[:, 5:] == 0).all()


def test_products_of_waves_are_a_gaussian_kernel_of_the_learnt_components() -> None:
    """Against scikit-learn's kernel; with many waves the error falls as their root."""
    rows = rows_of(200, 6, CARDINALITIES)
    network = fitted(rows, 4, waves=20_000)
    (encoder,) = network.encoders
    assert isinstance(encoder, Encoder)
    assert encoder.details is not None
    learnt = encoder(rows).detach()
    waves = encoder.details.waves(learnt)
    assert waves is not None
    width = WIDTH * np.median(pdist(learnt.numpy()))
    wanted = rbf_kernel(learnt.double().numpy(), gamma=1 / (2 * width**2))
    found = (2 * waves @ waves.T / waves.shape[1]).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.05)
    assert wanted.min() < 0.3  # neither all near nor all far


def test_waves_let_a_linear_model_tell_a_ring_from_what_is_inside() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    radius = np.where(np.arange(400) < 200, 0.3, 1.0)
    X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    y = np.arange(400) < 200
    accuracy = {}
    for waves in (0, 64):
        model = VICReg(
            64,
            hidden=(),
            detail_share=0.5,
            steps=20,
            detail_waves=waves,
            neighbourhood_scale=0,
            random_state=0,
        )
        Z = StandardScaler().fit_transform(model.fit(X).transform(X))
        accuracy[waves] = LogisticRegression().fit(Z[::2], y[::2]).score(Z[1::2], y[1::2])
    assert accuracy[0] < 0.7
    assert accuracy[64] > 0.95


def test_no_detail_stands_for_a_single_component() -> None:
    rows = rows_of(300, 6, CARDINALITIES)
    details = fitted(rows, 4).embed(rows)[:, 5:].detach().numpy()
    correlations = np.corrcoef(details.T)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() > 0.1


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_details_have_the_deviation_asked_for_and_no_mean(scale: float) -> None:
    rows = rows_of(300, 6, CARDINALITIES)
    embedding = fitted(rows, 30, scale).embed(rows).detach()
    learnt, details = embedding[:, :5], embedding[:, 5:]
    ratio = (details.var(dim=0).sum() / learnt.var(dim=0).sum()).sqrt()
    assert ratio.item() == pytest.approx(scale, rel=1e-4)
    assert details.mean(dim=0).abs().max() < 1e-5


@pytest.mark.parametrize("waves", [0, 9])
@pytest.mark.parametrize("hidden", [8, 0])
def test_the_mean_of_two_encoders_has_the_deviation_asked_for(hidden: int, waves: int) -> None:
    rows = rows_of(300, 6, CARDINALITIES)
    torch.manual_seed(0)
    encoders = [
        Encoder(6, CARDINALITIES, hidden=[hidden] if hidden else [], n_components=5,
                n_neighbourhood=2, n_details=30, n_waves=waves, shaped=True)
        for _ in range(2)
    ]  # fmt: skip
    network = JointEmbedding(encoders, [projector(5, [7]) for _ in range(2)])
    shape_spectrum(network, rows, 1.0)
    generator = torch.Generator().manual_seed(1)
    fit_details(network, rows, CARDINALITIES, scale=0.1, generator=generator)
    embedding = network.embed(rows).detach()
    learnt, details = embedding[:, :5], embedding[:, 7:]
    ratio = (details.var(dim=0).sum() / learnt.var(dim=0).sum()).sqrt()
    assert ratio.item() == pytest.approx(0.1, rel=1e-4)
    assert details.mean(dim=0).abs().max() < 1e-5
    # Of one as of the other: neither branch is the better one.
    own = [encoder.embed(rows).detach() for encoder in encoders]
    sizes = [(one[:, 7:].var(dim=0).sum() / one[:, :5].var(dim=0).sum()).sqrt() for one in own]
    assert sizes[0].item() == pytest.approx(sizes[1].item(), rel=1e-4)
    constant = rows.take(torch.zeros(20, dtype=torch.int64))
    fit_details(network, constant, CARDINALITIES, scale=0.1, generator=generator)
    assert network.embed(constant)[:, 7:].abs().max() < 1e-6


def test_separate_networks_have_details_as_large_as_shared_ones() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 2)) @ random.normal(size=(2, 10))
    X += 0.1 * random.normal(size=(300, 10))
    for shared in (True, False):
        model = VICReg(32, hidden=(32,), projector=(32,), steps=20, detail_share=0.3,
                       validation_fraction=0.0, shared_weights=shared, random_state=0)  # fmt: skip
        Z = model.fit(X).transform(X)
        n_learnt, n_details = model.embedder_.config.n_learnt, model.embedder_.config.n_details
        learnt, details = Z[:, :n_learnt].var(axis=0).sum(), Z[:, -n_details:].var(axis=0).sum()
        assert np.sqrt(details / learnt) == pytest.approx(0.1, rel=1e-3)


def test_the_row_can_be_read_from_its_details() -> None:
    """As many details as what they are made of has dimensions: nothing is lost."""
    rows = rows_of(300, 6, CARDINALITIES)
    network = fitted(rows, 6 + 7 + 8)
    details = network.embed(rows)[:, 5:].detach().double()
    ones = torch.ones(len(details), 1, dtype=torch.float64)
    inputs = torch.cat([details, ones], 1)
    solution = torch.linalg.lstsq(inputs, rows.numbers.double(), driver="gelsd").solution
    torch.testing.assert_close(inputs @ solution, rows.numbers.double(), rtol=0, atol=1e-3)


def test_constant_rows_have_finite_details() -> None:
    rows = rows_of(1, 6, CARDINALITIES).take(torch.zeros(20, dtype=torch.int64))
    assert torch.isfinite(fitted(rows, 4, waves=9).embed(rows)).all()


def test_training_leaves_details_alone() -> None:
    network = fitted(rows_of(300, 6, CARDINALITIES), 4, waves=9)
    details = {name for name, _ in network.named_parameters() if ".details." in name}
    assert details
    z1, z2 = network.train()(rows_of(80, 6, CARDINALITIES))
    (z1 * z2.detach()).sum().backward()
    untouched = {name for name, one in network.named_parameters() if one.grad is None}
    assert untouched == details


@pytest.mark.parametrize("n_threads", [1, 2])
def test_waves_are_the_same_bits_in_any_company(n_threads: int) -> None:
    X = np.random.default_rng(0).normal(size=(1500, 9))
    model = VICReg(140, hidden=(16,), steps=5, n_threads=n_threads, random_state=0).fit(X)
    assert model.embedder_.config.n_details == 9
    Z = model.transform(X)
    for rows in (slice(0, 1), slice(7, 20), slice(1030, 1031), slice(1000, 1100)):
        assert np.array_equal(model.transform(X[rows]), Z[rows])


def test_details_follow_from_the_seed() -> None:
    X = np.random.default_rng(0).normal(size=(1200, 9))
    first, again = (
        VICReg(24, hidden=(16,), projector=(16,), detail_share=0.5, steps=20, random_state=0).fit(X)
        for _ in range(2)
    )
    assert np.array_equal(first.transform(X), again.transform(X))


@pytest.mark.parametrize(
    ("n_components", "share", "wanted"),
    [
        *[(256, 0.5, 128), (256, 0, 0), (256, 1, 240), (20, 0.5, 4), (16, 0.5, 0), (2, 1, 0)],
        *[(512, "auto", 384), (128, "auto", 0), (129, "auto", 1), (2, "auto", 0)],
    ],
)
def test_some_components_are_learnt_before_any_is_a_detail(
    n_components: int, share: float | Literal["auto"], wanted: int
) -> None:
    config = Config(n_components=n_components, detail_share=share, neighbourhood_scale=0)
    assert config.n_details == wanted
    assert config.n_details + config.n_learnt == n_components


def test_of_a_wide_row_more_is_told() -> None:
    wide = FEW_DIMENSIONS * 3
    generator = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(100, wide, generator=generator), torch.zeros(100, 0).int())
    torch.manual_seed(0)
    encoder = Encoder(wide, [], hidden=[8], n_components=5, n_details=120, n_waves=32)
    network = JointEmbedding([encoder], [projector(5, [7])])
    fit_details(network, rows, [], scale=0.1, generator=torch.Generator().manual_seed(1))
    parts = [rows.numbers, encoder.hidden(rows).detach()]
    assert encoder.details is not None
    parts.append(encoder.details.waves(encoder(rows)).detach())
    centred = [part - part.mean(dim=0) for part in parts]
    joint = torch.cat(
        [
            part * weight / part.square().sum(dim=1).mean().sqrt()
            for part, weight in zip(centred, (3**0.5, 1.0, OF_WAVES), strict=True)
        ],
        1,
    )
    found = network.embed(rows)[:, 5:].detach()
    # As many details as there are directions: distances are those of the parts together.
    ratio = pdist(found.numpy()) / pdist(joint.numpy())
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
