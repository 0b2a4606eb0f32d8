"""Pictures of a tuning study, by Optuna's own plots on matplotlib."""

from __future__ import annotations

import io
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.trial import TrialState

from vicreg.studies import quiet_optuna

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Picture", "study_pictures"]

#: Parameters shown, the most important ones, so that labels can be read.
MOST_PARAMETERS = 8
#: Complete trials without which a picture says nothing.
FEWEST_TRIALS = 3


class Picture(NamedTuple):
    """A figure with its title, a name for its file, and words for who cannot see it."""

    title: str
    name: str
    alt: str
    figure: Figure

    def svg(self) -> str:
        """The figure as SVG."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", bbox_inches="tight")
        return buffer.getvalue()


def study_pictures(study: Study, objectives: Sequence[str]) -> list[Picture]:
    """History, importances, parallel coordinates, slices, trial curves; a Pareto front for several.

    Parameters
    ----------
    study : optuna.study.Study
    objectives : sequence of str
        Names of the study's values.

    Returns
    -------
    list of Picture
        Those that the study has enough trials for.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST_TRIALS:
        return []
    from optuna.visualization import matplotlib as plots

    drawn: list[tuple[str, str, str, Callable[[], Any]]] = []
    for place, name in enumerate(objectives):
        several = len(objectives) > 1
        of: dict[str, Any] = {"target_name": name, "target": _value(place) if several else None}
        # Importances of a target of one's own are for low values.
        lowered = {**of, "target": _value(place, -1.0) if several else None}
        important = _important(study, lowered["target"])
        shown = important[:MOST_PARAMETERS] or None
        drawn += [
            (
                f"History of the search: {name}",
                f"history-{name}",
                f"{name} of every trial, and the best so far",
                partial(plots.plot_optimization_history, study, **of),
            ),
            (
                f"Trials as lines: {name}",
                f"parallel-{name}",
                f"Parameters of every trial, coloured by {name}",
                partial(plots.plot_parallel_coordinate, study, params=shown, **of),
            ),
            (
                f"One parameter at a time: {name}",
                f"slice-{name}",
                f"{name} against each parameter",
                partial(plots.plot_slice, study, params=shown, **of),
            ),
        ]
        if important:
            draw = partial(plots.plot_param_importances, study, **lowered)
            alt = f"Share of the variance of {name} by parameter"
            drawn.append((f"What mattered: {name}", f"importances-{name}", alt, draw))
    if len(objectives) == 1:
        draw = partial(plots.plot_intermediate_values, study)
        alt = f"{objectives[0]} after 1 and 3 ninths of the fits' steps, and at their end"
        drawn.append(("Trial curves", "curves", alt, draw))
    elif len(objectives) <= 3:
        draw = partial(plots.plot_pareto_front, study, target_names=list(objectives))
        alt = f"Trials by {' and '.join(objectives)}; the front is marked"
        drawn.append(("Pareto front", "pareto", alt, draw))
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental parts; a logarithmic axis with one value
        return [Picture(title, name, alt, _figure(draw())) for title, name, alt, draw in drawn]


def _value(place: int, sign: float = 1.0) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * float(trial.values[place])


def _important(study: Study, target: Callable[[FrozenTrial], float] | None) -> list[str]:
    """Parameters by importance; none where all trials score the same."""
    try:
        with quiet_optuna(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # says that low values are sought
            return list(optuna.importance.get_param_importances(study, target=target))
    except (RuntimeError, ValueError):
        return []


def _figure(axes: Any) -> Figure:
    """The figure that axes belong to, taken out of pyplot's care."""
    import matplotlib.pyplot as plt

    first = axes.flat[0] if hasattr(axes, "flat") else axes
    figure: Figure = first.figure
    plt.close(figure)
    return figure
