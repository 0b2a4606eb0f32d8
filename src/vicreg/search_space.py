"""What tuning may change, and within which bounds."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from vicreg.config import Config, amount

__all__ = [
    "AFTER_TRAINING",
    "DEFAULT_SPACE",
    "Choice",
    "Range",
    "Space",
    "Suggester",
    "largest",
    "search_space",
    "settings_of",
]

Value: TypeAlias = "bool | int | float | str"

#: Names that stand for parts of several fields, or for several fields at once.
DERIVED = {
    "hidden_width": "width of every hidden layer of the encoder",
    "hidden_depth": "number of hidden layers of the encoder",
    "projector_width": "width of every layer of the projector",
    "projector_depth": "number of layers of the projector",
    "beta1": "first of betas",
    "beta2": "second of betas",
    "corruption": "kind of corruption: swap, mask, noise or swap+mask",
    "corruption_rate": "strength of the corruption",
}
#: Fields that derived names make, and the names that make them.
MADE_OF = {
    "hidden": ("hidden_width", "hidden_depth"),
    "projector": ("projector_width", "projector_depth"),
    "betas": ("beta1", "beta2"),
    "swap": ("corruption", "corruption_rate"),
    "mask": ("corruption", "corruption_rate"),
    "noise": ("corruption", "corruption_rate"),
}
#: Layers of a network, at the most.
DEEPEST = 100
CORRUPTIONS = ("swap", "mask", "noise", "swap+mask")


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's, which JSON knows."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log`` draws them evenly by order.

    Whole bounds give whole numbers where the argument takes only these.

    Examples
    --------
    >>> from vicreg.search_space import Range
    >>> Range(1, 100, log=True)
    Range(low=1, high=100, log=True)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "log"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        for bound in (self.low, self.high):
            if isinstance(bound, bool) or not isinstance(bound, numbers.Real):
                raise ValueError(f"a range's bounds must be numbers, however: {bound!r}")
            if not math.isfinite(amount(bound)):
                raise ValueError(f"a range's bounds must be finite, however: {bound!r}")
        if not isinstance(self.log, bool):
            raise ValueError(f"a range's log must be true or false, however: {self.log!r}")
        if self.low > self.high:
            raise ValueError(
                f"a range must not be empty, however: low={self.low!r} is above high={self.high!r}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range must start above 0, however: low={self.low!r}")


@dataclass(frozen=True)
class Choice:
    """One of some values: numbers, texts or truth values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str | Mapping) or not isinstance(self.values, Iterable):
            raise ValueError(f"choices must be a list of values, however: {self.values!r}")
        object.__setattr__(self, "values", tuple(map(_plain, self.values)))
        if not self.values:
            raise ValueError("a choice must not be empty")
        for value in self.values:
            if not isinstance(value, bool | int | float | str):
                advice = ""
                if isinstance(value, list | tuple):
                    advice = (
                        "; widths of layers are searched by hidden_width, hidden_depth, "
                        "projector_width and projector_depth"
                    )
                raise ValueError(
                    f"a choice is among numbers, texts and truth values, however: {value!r}{advice}"
                )


Domain: TypeAlias = "Range | Choice"
Space: TypeAlias = "dict[str, Domain]"


class Suggester(Protocol):
    """What draws values; Optuna's trials do."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


#: The seed's eight (loss weights, projector, learning rate, betas, batch) and what else decides an
#: embedding. The default configuration lies inside.
DEFAULT_SPACE: Space = {
    "lam": Range(5.0, 100.0, log=True),
    "mu": Range(5.0, 100.0, log=True),
    "nu": Range(0.03, 2.0, log=True),
    "n_components": Range(32, 512, log=True),
    "detail_share": Choice(("auto", 0.0, 0.25, 0.5)),
    "neighbourhood_scale": Choice(("auto", 0.0, 0.5, 1.0, 2.0)),
    "spectrum": Choice(("auto", 0.0, 0.2, 1.0, 6.0)),
    "hidden_width": Range(64, 512, log=True),
    "hidden_depth": Range(0, 2),
    "projector_width": Range(64, 512, log=True),
    "projector_depth": Range(1, 3),
    "skip": Choice((True, False)),
    "corruption": Choice(CORRUPTIONS),
    "corruption_rate": Range(0.1, 0.7),
    "sides": Choice(("auto", "both", "one")),
    "lr": Range(2e-4, 5e-3, log=True),
    "beta1": Range(0.8, 0.95),
    "beta2": Range(0.95, 0.9995),
    "weight_decay": Range(1e-6, 1e-2, log=True),
    "batch_size": Choice((128, 256, 512)),
    "steps": Range(500, 3000, log=True),
}


#: What follows training: trials that differ in these alone train the same network.
AFTER_TRAINING = frozenset({"spectrum", "neighbourhood_scale", "detail_scale", "detail_power"})


def search_space(
    given: Mapping[str, object] | None = None,
    fixed: Mapping[str, object] | None = None,
    *,
    base: Mapping[str, object] | None = None,
    only: bool = False,
) -> tuple[Space, dict[str, Any]]:
    """The space that is searched, and the arguments that are fixed.

    Parameters
    ----------
    given : mapping, optional
        Name to :class:`Range`, :class:`Choice`, a mapping ``{"low": 1, "high": 9, "log": True}`` or
        ``{"choices": [...]}`` (as a TOML file has them), or a list of choices. These replace the
        default space's; a plain number, text or truth value fixes the argument, and so does
        ``{"value": ...}``, which may be a list: ``{"hidden": {"value": [64, 32]}}``.
    fixed : mapping, optional
        Arguments of :class:`vicreg.VICReg` that all trials have; they leave the space.
    base : mapping, optional
        Arguments, such as a preset's, that are fixed too where neither of the two names them; of a
        field of which they name a part, the other parts.
    only : bool
        Search what is given and nothing else; all other arguments have their defaults.

    Returns
    -------
    space : dict
    fixed : dict
        Arguments of :class:`vicreg.VICReg` and derived names.

    Raises
    ------
    ValueError
        If a name is unknown, a range or choice empty, or a bound or a fixed value outside what the
        argument allows.
    TypeError
        If one of the three is no mapping.

    Examples
    --------
    >>> from vicreg.search_space import search_space
    >>> space, fixed = search_space({"lam": {"low": 1, "high": 25}, "steps": 300, "skip": [True]})
    >>> space["lam"], fixed["steps"], "steps" in space
    (Range(low=1, high=25, log=False), 300, False)
    >>> list(search_space({"spectrum": [0.0, 0.2, 1.0]}, only=True)[0])
    ['spectrum']
    >>> base = {"lr": 0.01, "steps": 300, "projector": (100,)}
    >>> search_space({"lr": [0.1, 0.2], "projector_width": [8, 16]}, base=base, only=True)[1]
    {'steps': 300, 'projector_depth': 1}
    """
    for name, named, such in (
        ("space", given, "{'lam': {'low': 1, 'high': 25}}"),
        ("fixed", fixed, "{'steps': 500}"),
        ("base", base, "vicreg.preset('seed')"),
    ):
        if named is not None and not isinstance(named, Mapping):
            raise TypeError(
                f"{name} must be a mapping of arguments' names, such as {such}, "
                f"however: {name}={named!r}"
            )
    space = {} if only else dict(DEFAULT_SPACE)
    own = {name: _plain(value) for name, value in (fixed or {}).items()}
    kept: dict[str, Any] = {**_fixed_beside(base or {}, {*(given or {}), *own}), **own}
    for name, entry in (given or {}).items():
        _known(name)
        if name in kept:
            raise ValueError(f"{name} is both searched and fixed, at {kept[name]!r}; drop one")
        try:
            domain = _domain(entry)
        except ValueError as error:
            raise ValueError(f"space: {name}: {error}") from None
        if isinstance(domain, Range | Choice):
            space[name] = domain
        else:
            kept[name] = domain
    for name in kept:
        _known(name, "fixed")
    _check_fixed(kept)
    named = {**(given or {}), **kept}
    for name, parts in MADE_OF.items():
        part = next((part for part in parts if part in named), None)
        if name in named and part is not None:
            raise ValueError(
                f"{name} and {part} both say what {name} is to be, however: both are there, "
                f"{_saying(name, space, kept)} and {_saying(part, space, kept)}; drop one"
            )
    for name in kept:
        space.pop(name, None)
        for part in MADE_OF.get(name, ()):
            space.pop(part, None)
    for name, parts in MADE_OF.items():
        if name in space:  # the field itself is searched: its parts are not
            for part in parts:
                space.pop(part, None)
    if not space:
        reason = "every argument is fixed"
        if only:
            reason = "only what space names is searched, and it names nothing to search"
        raise ValueError(f"space: {reason}, so there is nothing to search")
    for name, domain in space.items():
        _check_bounds(name, domain, kept)
    return space, kept


def _saying(name: str, space: Space, kept: Mapping[str, Any]) -> str:
    return f"{name}={kept[name]!r}" if name in kept else f"{name} as {space[name]}"


def draw(space: Space, suggester: Suggester) -> dict[str, Any]:
    """A value for every name, asked of a suggester in the space's order."""
    drawn: dict[str, Any] = {}
    for name, domain in space.items():
        if isinstance(domain, Choice):
            drawn[name] = suggester.suggest_categorical(name, list(domain.values))
        elif _is_whole(name):
            low, high = math.ceil(domain.low), math.floor(domain.high)
            drawn[name] = suggester.suggest_int(name, low, high, log=domain.log)
        else:
            drawn[name] = suggester.suggest_float(name, domain.low, domain.high, log=domain.log)
    return drawn


def largest(space: Space) -> dict[str, Any]:
    """The upper end of every range, and the largest number of every choice.

    Examples
    --------
    >>> from vicreg.search_space import Choice, Range, largest
    >>> largest({"lr": Range(0.1, 0.2), "detail_share": Choice(("auto", 0.0, 0.5))})
    {'lr': 0.2, 'detail_share': 0.5}
    """
    found: dict[str, Any] = {}
    for name, domain in space.items():
        if isinstance(domain, Range):
            found[name] = math.floor(domain.high) if _is_whole(name) else domain.high
        else:
            numbers_there = [one for one in domain.values if isinstance(one, bool | int | float)]
            found[name] = max(numbers_there, default=domain.values[0])
    return found


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :class:`vicreg.VICReg` from values of a space, derived names among them.

    Examples
    --------
    >>> from vicreg.search_space import settings_of
    >>> settings_of({"hidden_width": 64, "hidden_depth": 2, "corruption": "mask",
    ...              "corruption_rate": 0.4, "lr": 0.01})
    {'lr': 0.01, 'hidden': (64, 64), 'swap': 0.0, 'mask': 0.4, 'noise': 0.0}
    """
    default = Config()
    made = {name: value for name, value in values.items() if name not in DERIVED}
    for field in ("hidden", "projector"):
        width, depth = values.get(f"{field}_width"), values.get(f"{field}_depth")
        if width is None and depth is None:
            continue
        usual = getattr(default, field)
        width = usual[0] if width is None else width
        made[field] = (int(width),) * int(len(usual) if depth is None else depth)
    if "beta1" in values or "beta2" in values:
        made["betas"] = tuple(
            float(values.get(name, usual))
            for name, usual in zip(("beta1", "beta2"), default.betas, strict=True)
        )
    if "corruption" in values or "corruption_rate" in values:
        kinds = str(values.get("corruption", "swap")).split("+")
        rate = float(values.get("corruption_rate", default.swap))
        # Two kinds share the rate, so that it means the same share of changed entries.
        shares = {kind: rate / len(kinds) for kind in kinds}
        made |= {kind: shares.get(kind, 0.0) for kind in ("swap", "mask", "noise")}
    return made


def values_of(config: Config, space: Space) -> dict[str, Any]:
    """The place of a configuration in a space, or the nearest place to it."""
    known = {**dataclasses.asdict(config), **_derived(config)}
    return {name: _nearest(name, domain, known.get(name)) for name, domain in space.items()}


def _fixed_beside(base: Mapping[str, Any], named: Collection[str]) -> dict[str, Any]:
    """What a base still fixes; a field of which a part is named keeps the others."""
    fields = {field.name for field in dataclasses.fields(Config)}
    for name in base:
        if name not in fields:
            raise ValueError(
                f"base: there is no argument {name!r}; known are {', '.join(sorted(fields))}"
            )
    try:
        derived = _derived(Config(**base))
    except (TypeError, ValueError) as error:
        raise ValueError(f"base: {error}") from None
    apart = {name for name in base if any(part in named for part in MADE_OF.get(name, ()))}
    apart -= set(named)
    parts = {part: derived[part] for name in apart for part in MADE_OF[name] if part in derived}
    kept = {name: value for name, value in base.items() if name not in apart}
    return {name: value for name, value in {**kept, **parts}.items() if name not in named}


def _derived(config: Config) -> dict[str, Any]:
    """What the derived names stand for in a configuration; none for layers of different widths."""
    found: dict[str, Any] = {}
    for field in ("hidden", "projector"):
        widths = getattr(config, field)
        found[f"{field}_depth"] = len(widths)
        if len(set(widths)) == 1:
            found[f"{field}_width"] = widths[0]
    found["beta1"], found["beta2"] = config.betas
    kinds = [kind for kind in ("swap", "mask", "noise") if getattr(config, kind) > 0]
    if kinds:
        found["corruption"] = "+".join(kinds)
        found["corruption_rate"] = sum(getattr(config, kind) for kind in kinds)
    return found


def as_document(space: Space, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """A space and what is fixed as plain values, for JSON."""
    searched = {
        name: {"choices": list(domain.values)}
        if isinstance(domain, Choice)
        else dataclasses.asdict(domain)
        for name, domain in space.items()
    }
    plain = {
        name: list(value) if isinstance(value, tuple) else value for name, value in fixed.items()
    }
    return {"searched": searched, "fixed": plain}


def _domain(entry: object) -> Domain | Value | tuple[Any, ...]:
    entry = _plain(entry)
    if isinstance(entry, Range | Choice | bool | int | float | str):
        return entry
    if isinstance(entry, list | tuple):
        return Choice(tuple(entry))
    if isinstance(entry, Mapping):
        keys = set(entry)
        if keys == {"choices"}:
            return Choice(entry["choices"])
        if keys == {"value"}:
            return _fixed(entry["value"])
        if {"low", "high"} <= keys <= {"low", "high", "log"}:
            return Range(entry["low"], entry["high"], log=entry.get("log", False))
        raise ValueError(
            "a mapping must have low, high and perhaps log, or choices, or value, "
            f"however: {sorted(keys)}"
        )
    raise ValueError(
        "an entry must be a Range, a Choice, a list of choices, a mapping or a fixed value, "
        f"however: {entry!r}"
    )


def _fixed(value: object) -> Value | tuple[Any, ...]:
    value = _plain(value)
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError(f"a fixed value is a number, text, truth value or list, however: {value!r}")


def _known(name: str, of: str = "space") -> None:
    fields = {field.name for field in dataclasses.fields(Config)}
    if name not in fields and name not in DERIVED:
        raise ValueError(
            f"{of}: there is no argument {name!r}; known are {', '.join(sorted(fields))} "
            f"and {', '.join(DERIVED)}"
        )


def _is_whole(name: str) -> bool:
    if name in DERIVED:
        return name.endswith(("_width", "_depth"))
    return isinstance(getattr(Config(), name), int)


def _nearest(name: str, domain: Domain, value: Any) -> Any:
    if isinstance(domain, Choice):
        return _nearest_choice(domain.values, value)
    if value is None:
        value = domain.low
    low, high = domain.low, domain.high
    if _is_whole(name):
        low, high = math.ceil(low), math.floor(high)
    return min(max(value, low), high)


def _nearest_choice(values: Sequence[Value], value: Any) -> Value:
    """The value itself if it is among them, else the number nearest to it, or the first of them."""
    if value in values:
        return values[values.index(value)]
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return values[0]
    there = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    return min(there, key=lambda one: abs(one - value), default=values[0])


def _check_bounds(name: str, domain: Domain, fixed: Mapping[str, Any]) -> None:
    """Every end of a domain must make a valid configuration."""
    usual = "swap" if name == "corruption" else getattr(Config(), name, 0)
    if isinstance(usual, tuple):
        raise ValueError(f"space: {name} is a list itself, {_instead_of(name, domain)}")
    ends: tuple[Any, ...]
    if isinstance(domain, Choice):
        ends = domain.values
    else:
        if isinstance(usual, bool | str):
            raise ValueError(
                f"space: {name} takes a choice, such as [{usual!r}, ...], and no range, "
                f"however: {domain}"
            )
        ends = domain.low, domain.high
        if _is_whole(name):
            ends = math.ceil(domain.low), math.floor(domain.high)
            if ends[0] > ends[1]:
                raise ValueError(f"space: {name} takes whole numbers; there is none in {domain}")
    for end in ends:
        _check_value(name, end, fixed)


def _instead_of(name: str, domain: Domain) -> str:
    """Why a list cannot be searched so, and what to do."""
    parts = " and ".join(MADE_OF[name])
    if isinstance(domain, Range):
        return f"and has no range, however: {domain}. Search {parts}"
    values = list(domain.values)
    return (
        f"and a list means one of its values, however: {values}. Fix it by {name} = {{value = "
        f"{values}}} (TOML) or --{name} {' '.join(map(str, values))}, or search {parts}"
    )


def _check_fixed(fixed: Mapping[str, Any]) -> None:
    """Each fixed value must be valid, and all of them together."""
    for name, value in fixed.items():
        _check_value(name, value, {})
    try:
        Config(**settings_of(fixed))
    except (TypeError, ValueError) as error:
        raise ValueError(f"space: what is fixed does not go together: {error}") from None


def _check_value(name: str, value: Any, fixed: Mapping[str, Any]) -> None:
    """A value must make a valid configuration, beside what is fixed."""
    if name == "corruption" and any(
        kind not in ("swap", "mask", "noise") for kind in str(value).split("+")
    ):
        raise ValueError(
            f"space: corruption must be one of {', '.join(CORRUPTIONS)}, however: {value!r}"
        )
    if name in DERIVED and name != "corruption":
        kind = numbers.Integral if _is_whole(name) else numbers.Real
        least = int(name.endswith("_width"))
        most = DEEPEST if name.endswith("_depth") else math.inf
        if (
            isinstance(value, bool)
            or not isinstance(value, kind)
            or not least <= amount(value) <= most
        ):
            noun = "a whole number" if _is_whole(name) else "a number"
            ends = f"from {least}" + (f" to {most}" if math.isfinite(most) else "")
            raise ValueError(f"space: {name} must be {noun} {ends}, however: {value!r}")
    values = {**fixed, name: value}
    if name.endswith("_width"):
        values.setdefault(name.replace("width", "depth"), 1)
    try:
        Config(**settings_of(values))
    except (TypeError, ValueError) as error:
        raise ValueError(f"space: {name}: {error}") from None
