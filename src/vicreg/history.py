"""What a fit tells of its course, while it runs and afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["History", "Moment", "Pulse"]


class Moment(NamedTuple):
    """What is known at one evaluation during a fit; terms are means since the one before."""

    step: int
    total: float
    invariance: float
    variance: float
    covariance: float
    held_out: float
    effective_rank: float
    lr: float
    seconds: float


class Pulse(NamedTuple):
    """A sign of life between two evaluations; the loss is the mean since the last of them."""

    step: int
    total: float
    seconds: float


@dataclass
class History:
    """The course of a fit."""

    moments: list[Moment] = field(default_factory=list)
    stopped: Literal["finished", "early", "interrupted"] = "finished"
    best_step: int = 0
    #: The step that was reached; after Ctrl-C later than that of the last moment.
    last_step: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Columns by name, ready for JSON or a frame."""
        columns = {
            name: [getattr(moment, name) for moment in self.moments] for name in Moment._fields
        }
        return {
            **columns,
            "stopped": self.stopped,
            "best_step": self.best_step,
            "last_step": self.last_step,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> History:
        """The inverse of :meth:`as_dict`."""
        columns = [document[name] for name in Moment._fields]
        moments = [Moment(*values) for values in zip(*columns, strict=True)]
        at_moment = moments[-1].step if moments else 0
        last_step = document.get("last_step", at_moment)  # models of before it have none
        return cls(moments, document["stopped"], document["best_step"], last_step)
