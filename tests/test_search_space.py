"""What may be searched, and what is refused before the first trial."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import optuna
import pytest

from vicreg.config import PRESETS, Config, preset
from vicreg.search_space import (
    DEFAULT_SPACE,
    Choice,
    Range,
    as_document,
    draw,
    search_space,
    settings_of,
    values_of,
)


def test_the_default_configuration_lies_in_the_default_space() -> None:
    values = values_of(Config(), DEFAULT_SPACE)
    assert set(values) == set(DEFAULT_SPACE)
    assert Config(**settings_of(values)) == Config()


def test_every_point_of_the_default_space_is_a_configuration() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        drawn = draw(DEFAULT_SPACE, study.ask())
        config = Config(**settings_of(drawn))
        assert config.hidden == (drawn["hidden_width"],) * drawn["hidden_depth"]
        assert config.betas == (drawn["beta1"], drawn["beta2"])
        rates = config.swap + config.mask + config.noise
        assert rates == pytest.approx(drawn["corruption_rate"])


def test_a_given_range_replaces_the_default_and_a_value_fixes_the_argument() -> None:
    space, fixed = search_space({"lam": {"low": 1, "high": 25}, "steps": 300})
    assert space["lam"] == Range(1, 25)
    assert fixed == {"steps": 300}
    assert set(DEFAULT_SPACE) - set(space) == {"steps"}


def test_fixing_a_field_takes_its_parts_out_of_the_search() -> None:
    space, fixed = search_space(fixed={"hidden": (64, 32), "swap": 0.2})
    assert not {"hidden_width", "hidden_depth", "corruption", "corruption_rate"} & set(space)
    assert Config(**settings_of(fixed)).hidden == (64, 32)


def test_a_list_is_fixed_as_a_value() -> None:
    given = {"hidden": {"value": [64, 32]}, "betas": {"value": [0.8, 0.9]}, "lam": {"value": 3.0}}
    space, fixed = search_space(given)
    assert fixed == {"hidden": (64, 32), "betas": (0.8, 0.9), "lam": 3.0}
    assert not {"hidden_width", "hidden_depth", "beta1", "beta2", "lam"} & set(space)
    assert Config(**settings_of(fixed)).hidden == (64, 32)


def test_a_wrong_fixed_argument_is_named_and_not_one_that_is_searched() -> None:
    with pytest.raises(ValueError, match="^space: lr: lr must be .* however: lr=-1"):
        search_space({"nu": Range(0.1, 1)}, {"lr": -1, "swap": 0.3})


def test_a_space_without_the_default_gets_the_nearest_point() -> None:
    space, _ = search_space({"lam": Range(50, 100), "skip": [False], "n_components": Range(8, 16)})
    values = values_of(Config(), space)
    assert (values["lam"], values["skip"], values["n_components"]) == (50, False, 16)


def test_only_what_is_named_is_searched_if_asked_for() -> None:
    space, fixed = search_space({"spectrum": ["auto", 0.0], "steps": 50}, {"lam": 9.0}, only=True)
    assert space == {"spectrum": Choice(("auto", 0.0))}
    assert fixed == {"steps": 50, "lam": 9.0}
    document = as_document(space, fixed)
    assert search_space(document["searched"], document["fixed"], only=True) == (space, fixed)
    for nothing in ({}, {"lam": 3.0}):
        with pytest.raises(ValueError, match="only what space names is searched"):
            search_space(nothing, only=True)


def test_a_document_makes_the_same_space_again() -> None:
    space, fixed = search_space({"lam": Range(1, 2), "swap": Range(0, 0.5)}, {"hidden": (8,)})
    document = as_document(space, fixed)
    again = search_space(document["searched"], {"hidden": tuple(document["fixed"]["hidden"])})
    assert again == (space, fixed)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lamda": Range(1, 2)}, "no argument 'lamda'; known are .*lam"),
        ({"lam": {"low": 5, "high": 1}}, "lam: a range must not be empty.* low=5 is above high=1"),
        ({"lam": {"low": 0, "high": 1, "log": True}}, "must start above 0, however: low=0"),
        ({"lam": {"low": -1, "high": 1}}, "lam must be a finite number at least 0"),
        ({"lr": {"low": "a", "high": 1}}, "bounds must be numbers, however: 'a'"),
        ({"skip": []}, "a choice must not be empty"),
        ({"skip": Range(0, 1)}, "skip takes a choice"),
        (
            {"neighbourhood_scale": Range(0, 1)},
            r"neighbourhood_scale takes a choice, such as \['auto', ...\], and no range",
        ),
        ({"optimizer": ["sgd"]}, "optimizer must be one of 'adamw'"),
        ({"hidden": [(8,), (8, 8)]}, "hidden_width, hidden_depth"),
        ({"steps": Range(1.2, 1.8)}, "takes whole numbers; there is none"),
        ({"hidden_width": Range(0, 4)}, "hidden_width must be a whole number from 1, however: 0"),
        ({"corruption": ["blur"]}, "corruption must be one of swap, mask"),
        ({"lam": {"from": 1}}, "must have low, high and perhaps log, or choices"),
        (
            {"lam": {"low": 1, "high": 2, "log": "false"}},
            "lam: a range's log must be true or false, however: 'false'",
        ),
        ({"lam": {"choices": 5}}, "lam: choices must be a list of values, however: 5"),
        ({"sides": {"choices": "both"}}, "sides: choices must be a list of values"),
        ({"lam": {"choices": {"low": 1}}}, "lam: choices must be a list of values"),
        ({"lam": "x"}, "^space: lam: lam must be a finite number .* however: lam='x'"),
        ({"lam": float("nan")}, "^space: lam: lam must be a finite number .* however: lam=nan"),
        ({"lam": {"value": "x"}}, "^space: lam: lam must be a finite number"),
        ({"lam": {"value": None}}, "^space: lam: a fixed value is a number"),
        ({"lam": {"value": [1.0]}}, "^space: lam: lam must be a finite number"),
        ({"hidden_width": "x"}, "^space: hidden_width must be a whole number from 1"),
        ({"hidden_width": [64, 2.5]}, "^space: hidden_width must be a whole number from 1"),
        ({"hidden_depth": Range(1, 10**11)}, "^space: hidden_depth must be .* from 0 to 100, how"),
        (
            {"projector_depth": [1, 10**400]},
            "^space: projector_depth must be a whole number from 0",
        ),
        ({"lam": Range(1, 1e308)}, "^space: lam: lam must be a finite number"),
        ({"hidden_depth": 1.5}, "^space: hidden_depth must be a whole number from 0"),
        ({"beta1": "x"}, "^space: beta1 must be a number from 0, however: 'x'"),
        ({"beta2": 2}, "^space: beta2: betas must be .* below 1, however: betas=2"),
        ({"corruption": "blur"}, "^space: corruption must be one of swap, mask"),
        ({"hidden": {"value": [64, 0]}}, "^space: hidden: hidden must be an integer at least 1"),
        (
            {"hidden": [64, 32]},
            r"hidden is a list itself.* Fix it by hidden = {value = \[64, 32\]} \(TOML\) or "
            "--hidden 64 32, or search hidden_width and hidden_depth",
        ),
        (
            {"hidden": Range(64, 128)},
            r"^space: hidden is a list itself, and has no range, however: Range\(.*\). "
            "Search hidden_width and hidden_depth$",
        ),
        ({"corruption": Range(0, 1)}, r"corruption takes a choice, such as \['swap', ...\]"),
        (
            {"betas": [0.9, 0.99]},
            r"{value = \[0.9, 0.99\]} \(TOML\) or --betas 0.9 0.99, or search beta1 and beta2",
        ),
        (
            {"kind": "counts", "normal_scores": True},
            "^space: what is fixed does not go together: normal_scores are of a table's numbers",
        ),
        ({"lam": object()}, "an entry must be a Range"),
        ({"lam": {"low": 1, "high": float("inf")}}, "must be finite"),
    ],
)
def test_a_bad_space_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search_space(given)


def test_what_is_fixed_cannot_be_searched() -> None:
    with pytest.raises(ValueError, match="lam is both searched and fixed, at 3"):
        search_space({"lam": Range(1, 2)}, {"lam": 3})


def test_nothing_to_search_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to search"):
        search_space(values_of(Config(), DEFAULT_SPACE))


def test_a_choice_holds_plain_values_alone() -> None:
    assert Choice([1, 2]).values == (1, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="numbers, texts and truth values"):
        Choice((None,))  # type: ignore[arg-type]


def test_numbers_and_arrays_of_numpy_are_those_of_python() -> None:
    plain = search_space(
        {"lam": {"low": 5, "high": 50, "log": True}, "batch_size": [64, 128], "steps": 30},
        {"weight_decay": 0.5, "hidden": (8, 8)},
    )
    told = search_space(
        {
            "lam": {"low": np.int64(5), "high": np.float32(50), "log": np.bool_(True)},
            "batch_size": np.array([64, 128]),
            "steps": np.int32(30),
        },
        {"weight_decay": np.float32(0.5), "hidden": tuple(np.array([8, 8]).tolist())},
    )
    assert told == plain
    assert json.dumps(as_document(*told)) == json.dumps(as_document(*plain)).replace(
        '"high": 50,', '"high": 50.0,', 1
    )


@pytest.mark.parametrize(
    ("choices", "nearest"),
    [([20, 60], 60), ([900, 20], 900), ([60, 600, 20], 600)],
)
def test_of_choices_the_default_is_the_nearest_number(choices: list[int], nearest: int) -> None:
    assert Config().steps == 600
    space, _ = search_space({"steps": choices}, only=True)
    assert values_of(Config(), space) == {"steps": nearest}


@pytest.mark.parametrize(
    ("given", "fixed", "names"),
    [
        ({"mask": [0.1, 0.6]}, {"corruption": "mask"}, "mask and corruption"),
        ({"swap": {"low": 0.1, "high": 0.9}}, {"corruption": "mask"}, "swap and corruption"),
        (
            {"corruption_rate": [0.1, 0.2], "lam": [5, 25]},
            {"mask": 0.3},
            "mask and corruption_rate",
        ),
        ({"hidden_width": [8, 16], "lam": [5, 25]}, {"hidden": (16,)}, "hidden and hidden_width"),
        ({"betas": {"value": [0.9, 0.99]}, "beta1": [0.8, 0.9]}, {}, "betas and beta1"),
        ({"lam": [5, 25]}, {"betas": (0.9, 0.99), "beta1": 0.5}, "betas and beta1"),
        ({"lam": [5, 25]}, {"corruption": "noise", "noise": 0.2}, "noise and corruption"),
    ],
)
def test_a_field_and_what_makes_it_are_not_both_taken(
    given: dict[str, Any], fixed: dict[str, Any], names: str
) -> None:
    for only in (True, False):
        with pytest.raises(ValueError, match=f"{names} both say what .*; drop one"):
            search_space(given, fixed, only=only)


def test_a_part_of_a_field_may_be_fixed_beside_others_that_are_searched() -> None:
    space, kept = search_space({"hidden_width": [8, 16]}, {"hidden_depth": 2}, only=True)
    assert list(space) == ["hidden_width"]
    assert settings_of({**kept, "hidden_width": 8})["hidden"] == (8, 8)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fixes_what_a_search_does_not_name(name: str) -> None:
    base = preset(name)
    asked = {"lr": [0.1, 0.2], "projector_width": [8, 16], "beta1": [0.8, 0.9], "swap": 0.25}
    space, fixed = search_space(asked, base=base, only=True)
    assert set(space) == {"lr", "projector_width", "beta1"}
    config, usual = Config(**settings_of({**fixed, **draw_first(space)})), Config(**base)
    assert config.projector == (8,) * len(usual.projector)
    assert config.betas == (0.8, usual.betas[1])
    assert (config.lr, config.swap) == (0.1, 0.25)
    for field in set(base) - {"lr", "projector", "betas", "swap"}:
        assert getattr(config, field) == getattr(usual, field)


def test_a_base_is_of_arguments_that_go_together() -> None:
    for base, message in (
        ({"lamda": 3}, "base: there is no argument 'lamda'"),
        ({"hidden_width": 64}, "base: there is no argument 'hidden_width'"),
        ({"lr": -1}, "base: lr must be a finite number above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            search_space({}, base=base)
    with pytest.raises(TypeError, match=r"base must be a mapping .* however: base='seed'"):
        search_space({}, base="seed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="projector and projector_width both say"):
        search_space({"projector_width": [8, 16]}, {"projector": (8,)}, base=preset("seed"))


def draw_first(space: dict[str, Any]) -> dict[str, Any]:
    return {name: domain.values[0] for name, domain in space.items()}
