"""The configuration refuses what cannot work, and says what it received."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from vicreg.config import PRESETS, Config, config_from, preset

WRONG: list[tuple[str, Any]] = [
    ("n_components", 2**40),
    ("n_components", 10**400),
    ("hidden", (2**21,)),
    ("steps", 10**10),
    ("lam", 1e300),
    ("noise", 10**400),
    ("n_components", 0),
    ("n_components", 2.5),
    ("n_components", True),
    ("hidden", (0,)),
    ("hidden", 16),
    ("projector", (8, -1)),
    ("projector", "256"),
    ("detail_share", 1.1),
    ("detail_scale", -0.1),
    ("detail_power", -0.1),
    ("detail_power", "steep"),
    ("detail_waves", -1),
    ("neighbourhood_scale", -1.0),
    ("neighbourhood_scale", "large"),
    ("spectrum", "flat"),
    ("skip", 1),
    ("batch_norm", "yes"),
    ("final_relu", None),
    ("shared_weights", 0),
    ("block_share", 1.2),
    ("neighbours", -1),
    ("near_share", 1.5),
    ("normal_scores", 1),
    ("smooth_clip", -3),
    ("kind", "count"),
    ("n_top_columns", -1),
    ("thin", 1.0),
    ("swap", -0.1),
    ("swap", 1.1),
    ("mask", 2),
    ("noise", -1),
    ("noise", math.inf),
    ("sides", "none"),
    ("lam", -1),
    ("mu", math.nan),
    ("nu", "1"),
    ("gamma", -1),
    ("eps", 0),
    ("steps", 0),
    ("batch_size", 1),
    ("optimizer", "sgd"),
    ("lr", 0),
    ("lr", math.inf),
    ("betas", (0.9,)),
    ("betas", (0.9, 1.0)),
    ("betas", 0.9),
    ("weight_decay", -1),
    ("warmup", 1.5),
    ("constant_lr", "no"),
    ("clip_norm", -1),
    ("validation_fraction", 0.6),
    ("patience", -1),
]


def test_every_field_has_a_wrong_value_here() -> None:
    assert {name for name, _ in WRONG} == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be .*however: {name}="):
        Config(**{name: value})


def test_numpy_numbers_are_numbers() -> None:
    given: dict[str, Any] = {"n_components": np.int64(8), "lr": np.float32(0.5)}
    config = Config(**given, hidden=tuple(np.array([4, 5])))
    assert json.dumps(config.as_dict()) == json.dumps(
        Config(n_components=8, lr=0.5, hidden=(4, 5)).as_dict()
    )


def test_lists_become_tuples() -> None:
    config = Config(hidden=[4, 5], betas=[0.5, 0.6])  # type: ignore[arg-type]
    assert config.hidden == (4, 5)
    assert config.betas == (0.5, 0.6)


def test_configuration_survives_json() -> None:
    config = Config(hidden=(), projector=(3, 4), nu=0.5)
    assert config_from(json.loads(json.dumps(config.as_dict()))) == config


def test_a_stored_configuration_means_what_it_meant() -> None:
    """What was added later was not done by a model of before."""
    stored = {**Config().as_dict(), "steps": 7}
    del stored["detail_waves"], stored["spectrum"]
    config = config_from(stored)
    assert (config.detail_waves, config.spectrum, config.steps) == (0, "learnt", 7)


def test_unknown_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown configuration entries: colour, size"):
        config_from({"size": 1, "colour": 2, "lr": 0.1})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid(name: str) -> None:
    assert isinstance(Config(**preset(name)), Config)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"preset must be one of .*however: preset='best'"):
        preset("best")
