"""Stacks of steps: every network's course is that of the same network alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

import vicreg.training
from vicreg.config import Config, preset
from vicreg.embedder import Embedder
from vicreg.fitting import Asked, fit_embedder, fit_together
from vicreg.history import Pulse
from vicreg.networks import JointEmbedding, Rows
from vicreg.preparation import build_network
from vicreg.stack import SAME, StackedStep, likeness
from vicreg.step import TrainingStep
from vicreg.table import TableEncoder
from vicreg.training import DivergenceError
from vicreg.views import corruption

X = make_blobs(n_samples=80, n_features=7, centers=4, random_state=0)[0].astype(np.float32)
TABLE = TableEncoder.fit(X)
SEED: dict[str, Any] = {**preset("seed"), "batch_size": 12, "projector": (9,)}
SMALL: dict[str, Any] = {
    "n_components": 5,
    "hidden": (8,),
    "projector": (9, 9),
    "detail_share": 0,
    "batch_size": 16,
    "swap": 0.3,
    "sides": "both",
}


@pytest.fixture(autouse=True)
def _alone_with_steps_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit alone is what stacks are held against here, and a small one would be a stack of one."""
    monkeypatch.setattr(vicreg.training, "WORK_FOR_STACKS", 0)


def step_of(seed: int, *, dtype: torch.dtype = torch.float64, **settings: Any) -> TrainingStep:
    """A training of one network, all of it drawn from the seed."""
    config = Config(**settings)
    network = build_network(TABLE, config, seed).train().to(dtype)
    rows = TABLE.transform(X)
    return TrainingStep(
        network,
        Rows(rows.numbers.to(dtype), rows.codes),
        TABLE.layout,
        corruption(swap=config.swap, mask=config.mask, noise=config.noise),
        config,
        generator=torch.Generator().manual_seed(seed),
    )


STACKS: dict[str, list[dict[str, Any]]] = {
    "the seed's": [SEED, {**SEED, "lam": 3.0, "mu": 2.0, "nu": 0.5, "betas": (0.95, 0.97)}],
    "other widths and batches": [
        SEED,
        {**SEED, "projector": (40,), "batch_size": 5},
        {**SEED, "projector": (9,), "n_components": 21, "eps": 1e-3, "gamma": 2.0},
    ],
    "more rows than dimensions": [
        {**SEED, "projector": (6,), "batch_size": 30},
        {**SEED, "projector": (4,), "batch_size": 20},
    ],
    "batch normalisation, skip and decay": [
        SMALL,
        {**SMALL, "hidden": (13,), "projector": (30, 20), "weight_decay": 0.1, "swap": 0.1},
    ],
    "clipped": [
        {**SMALL, "clip_norm": 0.1},
        {**SMALL, "clip_norm": 0.0},
        {**SMALL, "clip_norm": 1e6},
    ],
    "decay as a penalty": [
        {**SMALL, "optimizer": "adam", "weight_decay": 0.1},
        {**SMALL, "optimizer": "adam"},
    ],
    "without a projector": [{**SMALL, "projector": ()}, {**SMALL, "projector": (), "lr": 0.01}],
}


@pytest.mark.parametrize("settings", STACKS.values(), ids=STACKS.keys())
def test_every_training_takes_its_own_course(settings: list[dict[str, Any]]) -> None:
    alone, members = ([step_of(k, **one) for k, one in enumerate(settings)] for _ in range(2))
    stack = StackedStep(members)
    for factor in np.linspace(0.2, 1, 15):
        stack([float(factor)] * len(members))
        for step in alone:
            step(float(factor))
    for step, member in zip(alone, members, strict=True):
        np.testing.assert_allclose(member.mean_terms(), step.mean_terms(), rtol=1e-5)
        member.forget_terms()
    stack([1.0] * len(members))
    for step, member in zip(alone, members, strict=True):
        step.forget_terms()
        step(1.0)
        np.testing.assert_allclose(member.mean_terms(), step.mean_terms(), rtol=1e-5, atol=1e-9)
    stack.finish()
    for step, member in zip(alone, members, strict=True):
        step.finish()
        known = step.network.state_dict()
        for name, value in member.network.state_dict().items():
            assert value.shape == known[name].shape
            assert value.is_contiguous()
            if "num_batches" not in name:
                torch.testing.assert_close(value, known[name], rtol=0, atol=1e-7)


def test_a_finished_stack_shares_nothing() -> None:
    members = [step_of(k, **SMALL) for k in range(2)]
    stack = StackedStep(members)
    stack([1.0, 1.0])
    stack.finish()
    before = [one.clone() for one in members[1].network.state_dict().values()]
    for value in members[0].network.state_dict().values():
        value.zero_()
    after = members[1].network.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        (SMALL, {"batch_size": 20}),  # batch normalisation sees all rows
        (SMALL, {"hidden": (8, 8)}),
        (SMALL, {"skip": False}),
        (SMALL, {"optimizer": "adam"}),
        (SMALL, {"shared_weights": False}),
        (SMALL, {"batch_norm": False}),
    ],
)
def test_other_layers_are_not_alike(settings: dict[str, Any], other: dict[str, Any]) -> None:
    assert likeness(step_of(0, **settings)) == likeness(step_of(1, **settings, lam=3.0))
    assert likeness(step_of(0, **settings)) != likeness(step_of(0, **{**settings, **other}))


def test_what_must_be_the_same_is_all_that_makes_networks_unlike() -> None:
    """Of every other argument, two values make networks that are alike."""
    whole = Config(**{**SMALL, "batch_norm": False})
    usual = {field.name: getattr(whole, field.name) for field in fields(Config)}
    others: dict[str, Any] = {
        "lam": 3.0, "mu": 3.0, "nu": 0.5, "gamma": 2.0, "eps": 1e-3, "lr": 0.01,
        "betas": (0.5, 0.9), "weight_decay": 0.1, "warmup": 0.0, "constant_lr": True,
        "clip_norm": 1.0, "n_components": 6, "batch_size": 20, "swap": 0.1, "mask": 0.1,
        "noise": 0.1, "sides": "one", "spectrum": 0.2, "patience": 1, "validation_fraction": 0.0,
        "smooth_clip": 2.0, "thin": 0.1, "block_share": 0.5, "neighbours": 2, "near_share": 0.3,
        "detail_share": 0.2, "detail_scale": 0.5, "detail_waves": 0, "detail_power": 2.0,
        "neighbourhood_scale": 0.5,
    }  # fmt: skip
    assert set(usual) == set(others) | (SAME - {"hidden_depth", "projector_depth"})
    known = likeness(step_of(0, **usual))
    for name, value in others.items():
        assert likeness(step_of(0, **{**usual, name: value})) == known, name


def test_some_can_only_be_taken_alone() -> None:
    assert likeness(step_of(0, **SMALL, optimizer="lars")) is None
    letters = np.array([["a", "1"], ["b", "2"], ["c", "3"]] * 10, dtype=object)
    table = TableEncoder.fit(letters)
    config = Config(**{**SMALL, "batch_size": 4})
    of_codes = TrainingStep(
        build_network(table, config, 0),
        table.transform(letters),
        table.layout,
        corruption(swap=0.3, mask=0.0, noise=0.0),
        config,
        generator=torch.Generator().manual_seed(0),
    )
    assert table.cardinalities
    assert likeness(of_codes) is None


def test_fits_together_are_the_fits_alone() -> None:
    # A bias before batch normalisation has no gradient but rounding, which Adam makes steps of.
    plain = {**SMALL, "steps": 40, "batch_norm": False}
    configs = [
        Config(**{**plain, "lam": lam, "projector": (width, width)})
        for lam, width in ((25.0, 9), (5.0, 30), (10.0, 16))
    ]
    # One that is like no other stands between them.
    configs.insert(1, Config(**{**plain, "steps": 30}))
    found = fit_together(
        [Asked(X, config, seed) for seed, config in enumerate(configs)], n_threads=1
    )
    for seed, (config, together) in enumerate(zip(configs, found, strict=True)):
        assert isinstance(together, Embedder)
        alone = fit_embedder(X, config, seed=seed, n_threads=1)
        assert not together.network.training
        np.testing.assert_allclose(together.embed(X), alone.embed(X), atol=5e-3)
        assert together.history.stopped == "finished"
        assert together.history.best_step == config.steps
        ours, theirs = together.history.moments[-1], alone.history.moments[-1]
        assert ours.held_out == pytest.approx(theirs.held_out, rel=1e-3)
    single = found[1]
    assert isinstance(single, Embedder)
    alone = fit_embedder(X, configs[1], seed=1, n_threads=1)
    np.testing.assert_array_equal(single.embed(X), alone.embed(X))


def test_a_small_fit_is_a_stack_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(**{**SMALL, "steps": 40, "batch_norm": False})
    alone = fit_embedder(X, config, seed=0, n_threads=1)
    stacks: list[StackedStep] = []

    def stacked(steps: list[TrainingStep]) -> StackedStep:
        stacks.append(StackedStep(steps))
        return stacks[-1]

    monkeypatch.setattr(vicreg.training, "StackedStep", stacked)
    work = 2 * 16 * 9 * 9  # rows of both views x the largest layer
    for limit, count in ((work - 1, 0), (work, 1)):
        monkeypatch.setattr(vicreg.training, "WORK_FOR_STACKS", limit)
        single = fit_embedder(X, config, seed=0, n_threads=1)
        assert len(stacks) == count
        np.testing.assert_allclose(single.embed(X), alone.embed(X), atol=5e-3)
        assert len(single.history.moments) == len(alone.history.moments)
        assert single.history.moments[-1].held_out == pytest.approx(
            alone.history.moments[-1].held_out, rel=1e-3
        )
    lars = replace(config, optimizer="lars")  # which no stack takes
    assert fit_embedder(X, lars, seed=0, n_threads=1).history.last_step == 40
    assert len(stacks) == 1


def test_a_stack_stops_by_held_out_rows() -> None:
    data = np.random.default_rng(0).normal(size=(1200, 6)).astype(np.float32)
    config = Config(
        **{**SMALL, "steps": 400, "batch_size": 32, "lr": 0.05}, validation_fraction=0.2, patience=1
    )
    together = fit_together(
        [Asked(data, config, 0), Asked(data, replace(config, lr=1e-4), 1)], n_threads=1
    )
    assert all(isinstance(one, Embedder) for one in together)
    stopped = [one.history.stopped for one in together if isinstance(one, Embedder)]
    assert stopped[0] == "early"
    (first, _) = together
    assert isinstance(first, Embedder)
    assert first.history.best_step < first.history.moments[-1].step
    assert any("stopped early" in note for note in first.notes)


def test_what_follows_an_early_stop_draws_as_it_does_alone() -> None:
    """A stack goes on for the others; rotations and neighbourhoods are those of the fit alone."""
    data = np.random.default_rng(0).normal(size=(900, 16)).astype(np.float32)
    config = Config(
        **{**SMALL, "steps": 200, "batch_size": 32, "batch_norm": False, "lr": 1e-3, "lam": 5.0},
        validation_fraction=0.2,
        patience=1,
    )
    config = replace(config, n_components=24, detail_share=0.5, neighbourhood_scale=0.0)
    together = fit_together(
        [Asked(data, replace(config, lr=0.01), 0), Asked(data, config, 1)], n_threads=1
    )[0]
    alone = fit_embedder(data, replace(config, lr=0.01), seed=0, n_threads=1)
    assert isinstance(together, Embedder)
    assert alone.config.n_details
    assert together.history.stopped == alone.history.stopped == "early"
    np.testing.assert_allclose(together.embed(data), alone.embed(data), atol=5e-3)


def test_one_that_diverges_leaves_the_others_alone() -> None:
    wild = Config(**{**SMALL, "steps": 40, "lr": 1e30, "batch_norm": False, "clip_norm": 0.0})
    tame = replace(wild, lr=1e-3)
    found = fit_together([Asked(X, tame, 0), Asked(X, wild, 1), Asked(X, tame, 2)], n_threads=1)
    assert isinstance(found[1], DivergenceError)
    assert "NaN or infinite" in str(found[1])
    for place in (0, 2):
        together = found[place]
        assert isinstance(together, Embedder)
        alone = fit_embedder(X, tame, seed=place, n_threads=1)
        np.testing.assert_allclose(together.embed(X), alone.embed(X), atol=5e-3)


def test_a_table_that_cannot_be_fitted_is_its_own_failure() -> None:
    config = Config(**{**SMALL, "steps": 5})
    found = fit_together([Asked(X[:1], config, 0), Asked(X, config, 0)], n_threads=1)
    assert isinstance(found[0], ValueError)
    assert isinstance(found[1], Embedder)
    assert isinstance(found[1].network, JointEmbedding)


def test_ctrl_c_in_one_that_is_trained_alone_ends_those_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vicreg.training, "PULSE", 0.0)
    told = []

    def interrupt(sign: Pulse) -> None:
        told.append(sign.step)
        if sign.step == 3:
            raise KeyboardInterrupt

    several = [Config(**{**SMALL, "steps": steps}) for steps in (40, 50)]  # no two in a stack
    with pytest.raises(KeyboardInterrupt):
        fit_together([Asked(X, config, 0) for config in several], n_threads=1, pulse=interrupt)
    assert told == [1, 2, 3]
