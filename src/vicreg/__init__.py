"""Embeddings of matrices and tables without labels, learnt with VICReg.

The names below are imported when they are first used, so that ``import vicreg`` and
``vicreg --help`` are quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vicreg.collapse import CollapseWarning
    from vicreg.config import Config, preset
    from vicreg.estimator import VICReg, load
    from vicreg.evaluation import evaluate
    from vicreg.loss import VICRegLoss, vicreg_loss
    from vicreg.plots import (
        plot_confusion,
        plot_history,
        plot_importance,
        plot_map,
        plot_scores,
        plot_spectrum,
    )
    from vicreg.scorecard import Scorecard
    from vicreg.training import DivergenceError, InterruptedWarning
    from vicreg.tuning import tune
    from vicreg.tuning_result import TuningResult

__version__ = "0.1.0"

__all__ = [
    "CollapseWarning",
    "Config",
    "DivergenceError",
    "InterruptedWarning",
    "Scorecard",
    "TuningResult",
    "VICReg",
    "VICRegLoss",
    "evaluate",
    "load",
    "plot_confusion",
    "plot_history",
    "plot_importance",
    "plot_map",
    "plot_scores",
    "plot_spectrum",
    "preset",
    "tune",
    "vicreg_loss",
]

_HOMES = {
    "CollapseWarning": "collapse",
    "Config": "config",
    "DivergenceError": "training",
    "InterruptedWarning": "training",
    "Scorecard": "scorecard",
    "TuningResult": "tuning_result",
    "VICReg": "estimator",
    "VICRegLoss": "loss",
    "evaluate": "evaluation",
    "load": "estimator",
    "plot_confusion": "plots",
    "plot_history": "plots",
    "plot_importance": "plots",
    "plot_map": "plots",
    "plot_scores": "plots",
    "plot_spectrum": "plots",
    "preset": "config",
    "tune": "tuning",
    "vicreg_loss": "loss",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vicreg' has no attribute {name!r}")
    return getattr(import_module(f"vicreg.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
