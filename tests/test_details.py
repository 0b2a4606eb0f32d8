"""Details against principal components by scikit-learn, and what they are there for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from test_networks import one_hot, rows_of
from vicreg import VICReg
from vicreg.config import Config
from vicreg.details import fit_details
from vicreg.networks import Encoder, JointEmbedding, Rows, projector

CARDINALITIES = [4, 3]


def fitted(rows: Rows, n_details: int, scale: float = 0.1, hidden: int = 8) -> JointEmbedding:
    torch.manual_seed(0)
    widths = [hidden] if hidden else []
    encoder = Encoder(6, CARDINALITIES, hidden=widths, n_components=5, n_details=n_details)
    network = JointEmbedding([encoder], [projector(5, [7])])
    generator = torch.Generator().manual_seed(1)
    fit_details(network, rows, CARDINALITIES, scale=scale, generator=generator)
    return network


def told_of(network: JointEmbedding, rows: Rows) -> torch.Tensor:
    """What details are made of, each part with a total variance of 1."""
    (encoder,) = network.encoders
    assert isinstance(encoder, Encoder)
    parts = [one_hot(rows, CARDINALITIES)]
    if encoder.n_hidden:
        parts.append(encoder.hidden(rows).detach())
    centred = [part - part.mean(dim=0) for part in parts]
    return torch.cat([part / part.square().sum(dim=1).mean().sqrt() for part in centred], 1)


@pytest.mark.parametrize("hidden", [8, 0])
@pytest.mark.parametrize("n_rows", [300, 12])
def test_details_are_principal_components_but_for_a_rotation(n_rows: int, hidden: int) -> None:
    rows = rows_of(n_rows, 6, CARDINALITIES)
    network = fitted(rows, 4, hidden=hidden)
    details = network.embed(rows)[:, 5:].detach().double()
    wanted = PCA(4).fit_transform(told_of(network, rows).double().numpy())
    # A rotation leaves the products of rows; the scale is free.
    found, expected = details @ details.T, torch.from_numpy(wanted @ wanted.T)
    found, expected = found / found.norm(), expected / expected.norm()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


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
    assert torch.isfinite(fitted(rows, 4).embed(rows)).all()


def test_training_leaves_details_alone() -> None:
    network = fitted(rows_of(300, 6, CARDINALITIES), 4)
    details = {name for name, _ in network.named_parameters() if ".details." in name}
    assert details
    z1, z2 = network.train()(rows_of(80, 6, CARDINALITIES))
    (z1 * z2.detach()).sum().backward()
    untouched = {name for name, one in network.named_parameters() if one.grad is None}
    assert untouched == details


def test_details_follow_from_the_seed() -> None:
    X = np.random.default_rng(0).normal(size=(1200, 9))
    first, again = (
        VICReg(24, hidden=(16,), projector=(16,), steps=20, random_state=0).fit(X) for _ in range(2)
    )
    assert np.array_equal(first.transform(X), again.transform(X))


@pytest.mark.parametrize(
    ("n_components", "share", "wanted"),
    [(256, 0.5, 128), (256, 0, 0), (256, 1, 240), (20, 0.5, 4), (16, 0.5, 0), (2, 1, 0)],
)
def test_sixteen_components_are_learnt_before_any_is_a_detail(
    n_components: int, share: float, wanted: int
) -> None:
    config = Config(n_components=n_components, detail_share=share)
    assert config.n_details == wanted
    assert config.n_details + config.n_learnt == n_components
