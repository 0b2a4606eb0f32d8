"""The loop: it learns, it stops, it can be interrupted, it warns; and it is reproducible."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.datasets import make_blobs

import vicreg.preparation
import vicreg.training
from vicreg import VICReg, load
from vicreg.collapse import CollapseWarning
from vicreg.config import Config
from vicreg.embedder import Embedder
from vicreg.fitting import fit_embedder
from vicreg.history import History, Moment, Pulse
from vicreg.loss import vicreg_loss
from vicreg.optim import FlatOptimizer
from vicreg.preparation import prepare
from vicreg.progress import ProgressBar
from vicreg.training import DivergenceError, InterruptedWarning, Job, train
from vicreg.views import TwoViews, corruption

X = make_blobs(n_samples=300, n_features=12, centers=5, random_state=0)[0]
SMALL: dict[str, Any] = {
    "n_components": 8,
    "hidden": (16,),
    "projector": (16, 16),
    "batch_size": 64,
    "steps": 60,
    "swap": 0.3,
    "sides": "both",
}


def fitted(seed: int = 0, data: np.ndarray = X, **settings: Any) -> Embedder:
    return fit_embedder(data, Config(**{**SMALL, **settings}), seed=seed, n_threads=1)


def trained_with(observe: Any, **settings: Any) -> tuple[Embedder, History]:
    """An untrained embedder, trained by hand with an observer."""
    config = Config(**{**SMALL, **settings})
    embedder = fit_embedder(X, config, seed=0, n_threads=1, untrained=True)
    job = Job(
        embedder.network,
        embedder.table.transform(X),
        None,
        embedder.table.layout,
        corruption(swap=config.swap, mask=config.mask, noise=config.noise),
        config,
        torch.Generator().manual_seed(0),
    )
    history = train(job, observe=observe)
    return embedder, history


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adam"}, {"optimizer": "lars", "lr": 1.0}])
@pytest.mark.parametrize("shared_weights", [True, False])
def test_training_lowers_the_loss_of_fixed_views(
    optimizer: dict[str, Any], shared_weights: bool
) -> None:
    moments = fitted(**optimizer, shared_weights=shared_weights, steps=150).history.moments
    assert moments[-1].step == 150
    assert moments[-1].held_out < 0.8 * moments[0].held_out


def test_moments_hold_the_terms_whose_weighted_sum_is_the_loss() -> None:
    for moment in fitted(lam=3.0, mu=4.0, nu=0.5).history.moments:
        wanted = 3 * moment.invariance + 4 * moment.variance + 0.5 * moment.covariance
        assert moment.total == pytest.approx(wanted, rel=1e-4)


def test_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    one, again, other = (fitted(seed).embed(X) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_bfloat16_learns_the_same_to_its_accuracy_and_to_the_same_bits() -> None:
    one, again, exact = (
        fit_embedder(X, Config(**SMALL), seed=0, n_threads=1, precision=precision)
        for precision in ("bfloat16", "bfloat16", "float32")
    )
    assert (one.precision, exact.precision) == ("bfloat16", "float32")
    assert np.array_equal(one.embed(X), again.embed(X))
    assert not np.array_equal(one.embed(X), exact.embed(X))
    losses = [run.history.moments[-1].total for run in (one, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    # Weights and the optimiser's state stay in float32.
    assert {p.dtype for p in one.network.parameters()} == {torch.float32}


def test_near_rows_take_part_in_a_fit_and_the_seed_still_decides_all() -> None:
    one, again, without = (fitted(neighbours=count).embed(X) for count in (5, 5, 0))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, without)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of .*precision='half'"):
        fit_embedder(X, Config(**SMALL), seed=0, precision="half")


def test_global_generators_and_threads_are_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    threads = torch.get_num_threads()
    fit_embedder(X, Config(**SMALL), seed=3, n_threads=2).embed(X)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index] # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_held_out_rows_are_unknown_to_the_table_encoder() -> None:
    many = make_blobs(n_samples=1100, n_features=3, random_state=0)[0]
    table = fitted(data=many, steps=2).table
    held_out = np.random.default_rng(0).permutation(1100)[:110]
    kept = np.delete(many, held_out, axis=0)
    np.testing.assert_allclose(table.mean, kept.mean(axis=0))


def test_all_held_out_rows_judge_in_batches_that_are_mixed() -> None:
    X = np.arange(1500.0)[:, np.newaxis] * np.ones(3)  # sorted, as a table by class is
    config = Config(**{**SMALL, "validation_fraction": 0.3, "sides": "one"})
    job = prepare(X, config, seed=0, device="cpu", n_threads=1).job
    assert job.held_out is not None
    batches = [
        views.numbers[: len(views) // 2, 0]  # the first view, which is not corrupted
        for views in vicreg.training._trial(job).batches
    ]
    assert [len(batch) for batch in batches] == [225, 225]
    expected = job.held_out.numbers[:, 0]
    assert torch.equal(torch.cat(batches).sort().values, expected)
    for batch in batches:
        assert abs(batch.mean() - expected.mean()) < 0.2


def test_fit_stops_early_and_goes_back_to_its_best_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Hardly any rows to learn from, and half of them held out: the fit soon learns them by heart.
    monkeypatch.setattr(vicreg.preparation, "FEWEST_HELD_OUT", 10)
    noise = np.random.default_rng(0).normal(size=(60, 30))
    settings: dict[str, Any] = {
        "validation_fraction": 0.5,
        "patience": 2,
        "constant_lr": True,
        "lr": 0.01,
        "steps": 2000,
        "batch_size": 30,
        "swap": 0.1,
    }
    config = Config(**{**SMALL, **settings})
    embedder = fit_embedder(noise, config, seed=0, n_threads=1)
    history = embedder.history
    assert history.stopped == "early"
    losses = {moment.step: moment.held_out for moment in history.moments}
    assert history.best_step == min(losses, key=lambda step: losses[step])
    assert history.best_step == history.moments[-3].step
    assert any("stopped early" in note for note in embedder.notes)

    # The same views of the held-out rows, drawn again: the loss is the best moment's.
    order = np.random.default_rng(0).permutation(60)
    held_out = embedder.table.transform(noise[np.sort(order[:30])])
    generator = torch.Generator().manual_seed(0)
    swap = corruption(swap=0.1, mask=0, noise=0)
    views = TwoViews(held_out, embedder.table.layout, swap, 30, generator)(torch.arange(30))
    with torch.no_grad():
        z1, z2 = embedder.network.eval()(views)
        loss = vicreg_loss(z1, z2, nu=config.nu).total.item()
    assert loss == pytest.approx(losses[history.best_step], rel=1e-5)


def test_without_patience_the_fit_goes_to_its_end() -> None:
    many = make_blobs(n_samples=1100, n_features=3, random_state=0)[0]
    assert fitted(data=many, patience=0, lr=0.1, constant_lr=True).history.stopped == "finished"


def test_interruption_keeps_what_is_trained_and_says_so() -> None:
    def interrupt(moment: Moment) -> None:
        if moment.step == 30:
            raise KeyboardInterrupt

    with pytest.warns(InterruptedWarning, match="interrupted at step 30 of 60.*keeps"):
        embedder, history = trained_with(interrupt)
    assert history.stopped == "interrupted"
    untrained = fit_embedder(X, Config(**SMALL), seed=0, n_threads=1, untrained=True)
    assert not np.array_equal(embedder.embed(X), untrained.embed(X))
    assert np.isfinite(embedder.embed(X)).all()


def test_interruption_before_the_first_moment_leaves_the_step_that_was_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vicreg.training, "PULSE", 0.0)

    def interrupt(sign: Pulse) -> None:
        if sign.step == 3:
            raise KeyboardInterrupt

    model = VICReg(**{**SMALL, "steps": 300}, random_state=0, n_threads=1)
    with pytest.warns(InterruptedWarning, match="interrupted at step 3 of 300"):
        model.fit(X, pulse=interrupt)
    assert model.history_["step"] == []
    assert model.n_iter_ == model.history_["last_step"] == model.history_["best_step"] == 3
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").n_iter_ == 3


def test_a_fit_that_ends_has_taken_the_steps_of_its_last_moment() -> None:
    for history in (
        fitted().history,
        fitted(data=X[:120], patience=1, lr=0.1, constant_lr=True, steps=600).history,
    ):
        assert history.last_step == history.moments[-1].step


def test_a_history_of_before_has_the_step_of_its_last_moment() -> None:
    stored = fitted().history.as_dict()
    del stored["last_step"]
    assert History.from_dict(stored).last_step == 60
    nothing: dict[str, list[float]] = {name: [] for name in Moment._fields}
    assert History.from_dict({**stored, **nothing}).last_step == 0


def test_interruption_before_anything_is_trained_goes_through() -> None:
    def interrupt(_: Moment) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_with(interrupt, steps=1)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("steps", [60, 1])  # of one step only the update diverges
def test_divergence_stops_the_fit_with_advice(norm: bool, steps: int) -> None:
    advice = "learning rate below lr=1e[+]30.*clip_norm=10" + ("" if norm else ".*batch_norm=True")
    wanted = f"NaN or infinite by step .* of {steps}. Try a {advice}"
    with pytest.raises(DivergenceError, match=wanted):
        fitted(lr=1e30, clip_norm=0.0, batch_norm=norm, optimizer="adam", warmup=0.0, steps=steps)


def test_collapse_is_warned_of_with_its_cause() -> None:
    with pytest.warns(CollapseWarning, match="collapses.*variance term is off .mu=0"):
        fitted(mu=0.0, nu=0.0, skip=False, lr=0.02, steps=400, weight_decay=0.5)


def test_relu_units_that_died_are_named_as_the_cause() -> None:
    with pytest.warns(CollapseWarning, match="projection are dead. A ReLU on the last layer"):
        fitted(final_relu=True, batch_norm=False, lr=1.0, optimizer="adam", clip_norm=0.0)


@pytest.mark.parametrize("steps", [2, 20, 200])
def test_a_sound_fit_does_not_warn_however_short(steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(steps=steps)


def test_clipping_bounds_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    update = FlatOptimizer.step

    def spy(optimizer: FlatOptimizer, *of_loss: Any) -> None:
        update(optimizer, *of_loss)
        norms.append(float(optimizer._gradient.norm()))

    monkeypatch.setattr(FlatOptimizer, "step", spy)
    monkeypatch.setattr(vicreg.training, "WORK_FOR_STACKS", 0)  # a stack clips by itself
    fitted(clip_norm=0.5, steps=10, neighbourhood_scale=0)
    assert len(norms) == 10
    assert max(norms) <= 0.5 + 1e-4


def test_constant_columns_in_training_rows_do_not_break_a_fit() -> None:
    table = X.copy()
    table[:, 0] = 3.0
    assert fitted(data=table).notes[0] == "dropped 1 constant column: 'x0'"


def test_history_survives_json() -> None:
    history = fitted().history
    assert History.from_dict(history.as_dict()) == history


def test_untrained_embedder_shares_its_start_with_the_trained_one() -> None:
    config = Config(**{**SMALL, "steps": 1, "lr": 1e-12})
    start = fit_embedder(X, config, seed=5, n_threads=1, untrained=True)
    barely = fit_embedder(X, config, seed=5, n_threads=1)
    for one, other in zip(start.network.parameters(), barely.network.parameters(), strict=True):
        if not one.requires_grad:
            continue  # what follows training is worked out from what was trained
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_progress_bar_shows_speed_terms_and_time_left() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with ProgressBar(100, console=console) as bar:
        bar(Moment(50, 12.5, 0.25, 0.125, 3.5, 11.0, 7.0, 1e-3, 2.0))
    shown = screen.getvalue()
    assert "50/100" in shown
    assert "25 steps/s" in shown
    assert "inv 0.25" in shown
    assert "var 0.12" in shown
    assert "cov 3.5" in shown
    assert ":" in shown.split("cov 3.5")[1]


def test_a_fit_that_takes_all_of_its_steps_has_not_stopped_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_told_so_at_the_end(_watch: object, moment: Moment, _network: object) -> bool:
        return moment.step == 20

    monkeypatch.setattr(vicreg.training._Watch, "should_stop", is_told_so_at_the_end)
    for steps, stopped in ((20, "finished"), (40, "early")):
        one = fitted(steps=steps)
        assert one.history.stopped == stopped
        assert one.history.last_step == 20
        assert any("stopped early" in note for note in one.notes) == (stopped == "early")
