"""Neighbourhoods against closed forms, scikit-learn, and what they are there for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

import vicreg.neighbourhoods
from vicreg import InterruptedWarning, VICReg
from vicreg.config import Config, config_from
from vicreg.history import Moment
from vicreg.neighbourhoods import _fold, _nearest, _trained, contrast, fit_neighbourhoods
from vicreg.networks import Encoder, JointEmbedding, Neighbourhoods, Rows, projector


def clumps(n_rows: int, *, width: int = 6, apart: float = 4.0, seed: int = 0) -> torch.Tensor:
    """Rows of three normal clouds, in turn."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(3, width)) * apart / np.sqrt(width)
    rows = centres[np.arange(n_rows) % 3] + random.normal(size=(n_rows, width)) / np.sqrt(width)
    return torch.from_numpy(rows.astype(np.float32))


def rows_of(numbers: torch.Tensor) -> Rows:
    return Rows(numbers, torch.zeros(len(numbers), 0, dtype=torch.int32))


def fitted(
    numbers: torch.Tensor, *, scale: float = 1.0, steps: int = 100, components: int = 4
) -> JointEmbedding:
    """An encoder that hands on what it is given, and neighbourhoods of so many components."""
    width = numbers.shape[1]
    encoder = Encoder(width, [], hidden=[], n_components=width, n_neighbourhood=components)
    encoder.first.weight.data = torch.eye(width)
    assert encoder.first.bias is not None
    encoder.first.bias.data.zero_()
    network = JointEmbedding([encoder], [projector(width, [])])
    generator = torch.Generator().manual_seed(1)
    assert fit_neighbourhoods(
        network, rows_of(numbers), scale=scale, steps=steps, generator=generator
    )
    return network


def test_loss_is_a_cross_entropy() -> None:
    """A pair belongs together with odds of 1 / (1 + d²): against PyTorch's, from the log odds."""
    one, other = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    apart = torch.randn(5, 9, 3, generator=torch.Generator().manual_seed(1))

    def log_odds(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return -torch.log(1 + torch.cdist(left.unsqueeze(-2), right.unsqueeze(-2)).flatten() ** 2)

    together = log_odds(one, other)
    distant = log_odds(one.expand(5, 9, 3), apart).view(5, 9)
    wanted = F.binary_cross_entropy_with_logits(together, torch.ones(9))
    wanted += 5 * F.binary_cross_entropy_with_logits(distant, torch.zeros(5, 9))
    torch.testing.assert_close(contrast(one, other, apart), wanted)


@pytest.mark.parametrize("n_rows", [300, 60, 3])
def test_near_rows_are_those_of_scikit_learn(n_rows: int) -> None:
    numbers = clumps(n_rows)
    found = _nearest(numbers, torch.Generator().manual_seed(0))
    count = {300: 30, 60: 7, 3: 1}[n_rows]
    wanted = NearestNeighbors(n_neighbors=count).fit(numbers).kneighbors(return_distance=False)
    assert np.array_equal(np.sort(found.numpy(), axis=1), np.sort(wanted, axis=1))


def test_what_was_trained_and_what_is_kept_are_the_same_function() -> None:
    units = clumps(200)
    generator = torch.Generator().manual_seed(0)
    kept = Neighbourhoods(6, 16, 4)
    trained, finished = _trained(kept, units, _nearest(units, generator), 30, generator)
    assert finished
    mean, unit = torch.arange(6.0), torch.tensor(2.5)
    _fold(trained, kept, mean, unit)
    with torch.no_grad():
        torch.testing.assert_close(kept(units * unit + mean), trained(units), rtol=0, atol=1e-5)


def test_new_rows_of_a_clump_come_together() -> None:
    network = fitted(clumps(300))
    new = clumps(150, seed=1)
    embedding = network.embed(rows_of(new)).detach().numpy()
    clump = np.arange(150) % 3
    before, after = (silhouette_score(part, clump) for part in (new, embedding[:, 6:]))
    assert before < 0.7
    assert after > before + 0.15


def test_neighbours_stay_neighbours() -> None:
    X, _ = load_digits(return_X_y=True)
    numbers = torch.from_numpy(X[:600].astype(np.float32) / 16)
    embedding = fitted(numbers, steps=300).embed(rows_of(numbers)).detach().numpy()
    assert trustworthiness(X[:600], embedding[:, 64:], n_neighbors=10) > 0.9


def test_several_threads_give_the_same_bits_again() -> None:
    """A gradient that threads add up in the order they come has other last bits in every run."""
    before, numbers = torch.get_num_threads(), clumps(3000, width=64)
    torch.set_num_threads(2)
    try:
        runs = [fitted(numbers, steps=20, components=32).embed(rows_of(numbers)) for _ in range(4)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(run, runs[0]) for run in runs)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_deviation_is_the_one_asked_for(scale: float) -> None:
    numbers = clumps(200)
    embedding = fitted(numbers, scale=scale, steps=20).embed(rows_of(numbers)).detach()
    deviations = embedding.var(dim=0)
    ratio = (deviations[6:].sum() / deviations[:6].sum()).sqrt()
    assert ratio.item() == pytest.approx(scale, rel=1e-4)
    assert embedding[:, 6:].mean(dim=0).abs().max() < 1e-4


@pytest.mark.parametrize("n_rows", [2, 50])
def test_rows_that_are_all_the_same_have_finite_neighbourhoods(n_rows: int) -> None:
    numbers = torch.ones(n_rows, 3)
    assert torch.isfinite(fitted(numbers, steps=5).embed(rows_of(numbers))).all()


def test_nothing_else_of_the_embedding_is_touched() -> None:
    """The learnt components are the same bits; they stand first, the neighbourhoods behind."""
    X = clumps(200, width=9).numpy()
    with_them, without = (
        VICReg(160, hidden=(16,), steps=10, neighbourhood_scale=scale, random_state=0).fit(X)
        for scale in (1, 0)
    )
    config = with_them.embedder_.config
    assert (config.n_learnt, config.n_neighbourhood, config.n_details) == (128, 8, 24)
    Z = with_them.transform(X)
    assert np.array_equal(Z[:, :128], without.transform(X)[:, :128])
    parts = [Z[:, :128], Z[:, 128:136], Z[:, 136:]]
    learnt, neighbourhoods, details = (np.sqrt(part.var(axis=0).sum()) for part in parts)
    assert neighbourhoods == pytest.approx(learnt, rel=1e-3)
    assert details == pytest.approx(0.1 * learnt, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, 32),
        ({"n_components": 128}, 0),
        ({"n_components": 140}, 3),
        ({"detail_share": 0.5}, 32),
        ({"detail_share": 0}, 0),
        ({"shared_weights": False}, 0),
        ({"neighbourhood_scale": 0}, 0),
    ],
)
def test_how_many_there_are(settings: dict[str, object], wanted: int) -> None:
    config = Config(**settings)  # type: ignore[arg-type]
    assert config.n_neighbourhood == wanted
    assert config.n_learnt + wanted + config.n_details == config.n_components


def test_a_model_of_before_has_none() -> None:
    stored = Config().as_dict()
    del stored["neighbourhood_scale"]
    assert config_from(stored).n_neighbourhood == 0


def test_a_second_ctrl_c_ends_what_follows_training(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def interrupting(step: int, _steps: int, _warmup: float) -> float:
        steps.append(step)
        if step == 2:
            raise KeyboardInterrupt
        return 1.0

    def first(moment: Moment) -> None:
        if moment.step == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(vicreg.neighbourhoods, "warmup_cosine", interrupting)
    X = clumps(200, width=9).numpy()
    model = VICReg(n_components=160, hidden=(16,), steps=600, random_state=0)
    with pytest.warns(InterruptedWarning) as told:
        model.fit(X, observe=first)
    assert [str(one.message).partition(":")[0] for one in told] == [
        "interrupted at step 40 of 600",
        "interrupted after training",
    ]
    assert steps == [0, 1, 2]
    assert np.isfinite(model.transform(X)).all()


def test_what_follows_an_interrupted_fit_is_as_short(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def counted(step: int, steps: int, _warmup: float) -> float:
        taken.append((step, steps))
        return 1.0

    def at_40(moment: Moment) -> None:
        if moment.step == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(vicreg.neighbourhoods, "warmup_cosine", counted)
    model = VICReg(n_components=160, hidden=(16,), steps=600, random_state=0)
    with pytest.warns(InterruptedWarning, match="interrupted at step 40 of 600"):
        model.fit(clumps(200, width=9).numpy(), observe=at_40)
    assert taken == [(step, 20) for step in range(20)]


def test_ctrl_c_keeps_what_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupting(_step: int, _steps: int, warmup: float) -> float:
        calls.append(warmup)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(vicreg.neighbourhoods, "warmup_cosine", interrupting)
    X = clumps(200, width=9).numpy()
    model = VICReg(n_components=160, hidden=(16,), steps=40, random_state=0)
    with pytest.warns(InterruptedWarning, match="interrupted after training"):
        model.fit(X)
    assert len(calls) == 3
    assert model.history_["stopped"] == "interrupted"
    assert any("interrupted" in note for note in model.notes_)
    assert np.isfinite(model.transform(X)).all()
