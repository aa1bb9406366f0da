"""The space of a search: the parameters that vary, the values that each may take, and the settings drawn from it."""

import copy
import difflib
import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial
from pydantic.fields import FieldInfo
from ruamel.yaml import YAMLError

from distillery.data.errors import InputError
from pipeline.flat import at, flat, put
from pipeline.params import RENAMED, Params, check_params, fields, parsed, schema
from pipeline.stages import stage_parameters, upstream

LAST_STAGE = "distill"
# With other validation images or seeds, trials could not be compared with each other.
COMPARED_ON = ("prepare.", "student.seeds", "student.omit_classes")
ACCEPTED = "accepted: a..b, also with ` log` or ` step s` after it, or values with commas between them"
NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\s*\.\.\s*({NUMBER})(\s+log)?(?:\s+step\s+({NUMBER}))?")
MOST_COMBINATIONS = 500  # of ends and choices that are checked before the search
MOST_POINTS = 10_000  # of a grid
FEW_POINTS = 20  # of a range, all of which are checked before the search
STEPS = 1000  # into which a range without steps is divided at least: nobody wants a temperature of 4.379182734


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both among them; whole ones where the parameter is.

    Attributes:
        key: the parameter, `distill.temperature`.
        low, high: its ends.
        log: whether the logarithm is drawn evenly.
        step: between neighbors; None for any number, or any whole one.
    """

    key: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int)

    @property
    def ends(self) -> tuple:
        """The values that are checked before the search, each with those of the others."""
        return self.low, self.high

    @property
    def between(self) -> tuple:
        """The values that are checked before the search, each once: those between the ends, where they are few."""
        return tuple(self.points[1:-1]) if (self.size or math.inf) <= FEW_POINTS else ()

    @property
    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        if self.whole:
            return IntDistribution(self.low, self.high, log=self.log, step=self._spacing)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def _spacing(self) -> float | None:
        return self.step or (1 if self.whole else None)

    @property
    def size(self) -> int | None:
        """How many values there are; None where they are without number."""
        if self._spacing is None:
            return None
        return int((Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(self._spacing))) + 1

    @property
    def points(self) -> list | None:
        """All values in order; None where they are without number."""
        return None if self.size is None else [self._point(number) for number in range(self.size)]

    def _point(self, number: int) -> float:
        """Return the value after so many steps, as it is written: 0.3, not 0.30000000000000004."""
        return type(self.low)(Decimal(str(self.low)) + number * Decimal(str(self._spacing)))

    def tidy(self, value: float) -> float:
        """Return the nearest value with no more digits than it needs, of any number than tell a thousand values apart.

        Args:
            value: one that was drawn.
        """
        if self._spacing:
            return self._point(round((value - self.low) / self._spacing))
        if self.low == self.high:
            return value
        resolution = value * math.log(self.high / self.low) / STEPS if self.log else (self.high - self.low) / STEPS
        if resolution == 0:  # both ends are nearly the same
            return value
        return min(max(round(value, math.ceil(-math.log10(resolution))), self.low), self.high)

    def has(self, value: Any) -> bool:
        """Return whether a value is one of these."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.size is None or self.tidy(value) == value

    def distance(self, one: Any, other: Any) -> float:
        """Return how far apart two values are, as part of the range; 1 where one has no place on it, as null, or 0 on a
        logarithm's."""
        if one == other:
            return 0.0
        if self.low == self.high or not (self._is_on_scale(one) and self._is_on_scale(other)):
            return 1.0
        scale = math.log if self.log else float
        return abs(scale(one) - scale(other)) / (scale(self.high) - scale(self.low))

    def _is_on_scale(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and (value > 0 or not self.log)


@dataclass(frozen=True)
class Choices:
    """Values of which one is taken.

    Attributes:
        key: the parameter, `distill.method`.
        choices: numbers, words, true, false or null.
    """

    key: str
    choices: tuple

    @property
    def ends(self) -> tuple:
        """The values that are checked before the search, each with those of the others."""
        return self.choices

    @property
    def between(self) -> tuple:
        """No others are checked."""
        return ()

    @property
    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        return CategoricalDistribution(self.choices)

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.choices)

    @property
    def points(self) -> list:
        """All values."""
        return list(self.choices)

    def tidy(self, value: Any) -> Any:
        """Return the value."""
        return value

    def has(self, value: Any) -> bool:
        """Return whether a value is one of these."""
        return value in self.choices

    def distance(self, one: Any, other: Any) -> float:
        """Return 1 for different values."""
        return float(one != other)


Dimension = Range | Choices
Setting = dict[str, Any]


class Space:
    """The parameters that vary, checked against the schema and against each other.

    Args:
        texts: `distill.temperature=1..20 log`, one per parameter.
        tree: what stands in `params.yaml`.

    Attributes:
        dimensions: one per parameter.
        checked: the parameters of its ends and choices, which are accepted.

    Raises:
        InputError: in one line, when a text, a key or a value is not accepted.
    """

    def __init__(self, texts: Sequence[str], tree: Mapping[str, Any]):
        known = dict(fields(schema()))
        self._tree = tree
        self.dimensions, self.checked = list[Dimension](), list[Params]()
        for text in texts:
            dimension = parse_dimension(text, known)
            if any(dimension.key == other.key for other in self.dimensions):
                raise InputError(f"{dimension.key}: stands twice in the space")
            self.dimensions.append(dimension)
        self._check()

    def params(self, setting: Setting, where: str = "params.yaml") -> Params:
        """Return all parameters with those of a setting."""
        return check_params(self.tree(setting), where)

    def tree(self, setting: Setting) -> dict[str, Any]:
        """Return what stands in `params.yaml` with the values of a setting."""
        tree = copy.deepcopy(dict(self._tree))
        for key, value in setting.items():
            put(tree, key, value)
        return tree

    def _check(self) -> None:
        """Check that ends, few points and choices are accepted, together, and that each parameter has an effect."""
        effective: set[str] = set()
        for setting in self.corners():
            said = " ".join(f"{key}={value}" for key, value in setting.items())
            self.checked.append(self.params(setting, said))
            effective |= effective_parameters(self.checked[-1]).keys()
        for dimension in self.dimensions:
            if dimension.key.startswith(COMPARED_ON):
                raise InputError(
                    f"{dimension.key}: is no setting to search: its trials would be compared on other images or seeds"
                )
            if dimension.key not in effective:
                raise InputError(
                    f"{dimension.key}: has no effect on the distilled students; accepted: a parameter of distill (of a"
                    " method in use), student, transfer or train_teacher"
                )

    def corners(self) -> Iterator[Setting]:
        """Yield the ends and choices: all with all where these are few, else each value with the others' first.

        Then what lies between the ends, each with the others' first.
        """
        ends = {dimension.key: dimension.ends for dimension in self.dimensions}
        first = {key: values[0] for key, values in ends.items()}
        if math.prod(map(len, ends.values())) <= MOST_COMBINATIONS:
            yield from (dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values()))
        else:
            yield from (first | {key: value} for key, values in ends.items() for value in values)
        yield from (first | {dimension.key: value} for dimension in self.dimensions for value in dimension.between)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The space for Optuna."""
        return {dimension.key: dimension.distribution for dimension in self.dimensions}

    @property
    def present(self) -> Setting:
        """What the parameters are now."""
        values = self.params({}).model_dump()
        return {dimension.key: at(values, dimension.key) for dimension in self.dimensions}

    def has(self, setting: Setting) -> bool:
        """Return whether a setting lies in the space."""
        return all(dimension.has(setting[dimension.key]) for dimension in self.dimensions)

    def grid(self, seed: int) -> list[Setting]:
        """Return every setting once, in an order that the seed draws.

        Raises:
            InputError: where a range has no steps, or there are too many.
        """
        for dimension in self.dimensions:
            if dimension.size is None:
                raise InputError(f"{dimension.key}: a grid needs values: give the range a step, or values with commas")
        size = math.prod(dimension.size for dimension in self.dimensions)
        if size > MOST_POINTS:
            raise InputError(f"the grid has {size:,} settings; accepted: at most {MOST_POINTS:,}")
        points = {dimension.key: dimension.points for dimension in self.dimensions}
        settings = [dict(zip(points, values, strict=True)) for values in itertools.product(*points.values())]
        random.Random(seed).shuffle(settings)
        return settings

    def distance(self, setting: Setting, other: Setting) -> tuple[int, float]:
        """Return how many parameters differ, and how far in all, each as part of its range."""
        apart = [one.distance(setting[one.key], other[one.key]) for one in self.dimensions]
        return sum(setting[one.key] != other[one.key] for one in self.dimensions), sum(apart)


def parse_dimension(text: str, known: Mapping[str, FieldInfo]) -> Dimension:
    """Return what a text says of a parameter.

    Args:
        text: `distill.temperature=1..20 log`, `distill.method=kd,dkd`.
        known: the fields of all parameters, by name.

    Raises:
        InputError: when the parameter or the form is unknown, or a range is empty.
    """
    key, equals, said = (part.strip() for part in text.partition("="))
    if not equals or not said:
        raise InputError(f"{text!r}: is not key=values; {ACCEPTED}")
    if key not in known:
        raise InputError(f"{key}: unknown parameter{_suggestion(key, known)}")
    kinds = _kinds(known[key].annotation)
    if found := RANGE.fullmatch(said):
        return _range(key, found, kinds)
    if ".." in said and not re.search("[/,]", said):
        raise InputError(f"{key}: found {said!r}; {ACCEPTED}")
    try:
        values = parsed(f"[{said}]")
    except YAMLError:
        values = None
    if not values or any(isinstance(value, list | dict) for value in values):
        raise InputError(f"{key}: found {said!r}; {ACCEPTED}")
    if float in kinds:
        values = [float(value) if type(value) is int else value for value in values]
    if len({repr(value) for value in values}) < len(values):
        raise InputError(f"{key}: a value stands twice in {said!r}")
    return Choices(key, tuple(values))


def _range(key: str, found: re.Match, kinds: set) -> Range:
    if not kinds & {int, float}:
        raise InputError(f"{key}: takes no numbers; accepted: values with commas between them")
    said, kind = found[0], float if float in kinds else int
    try:
        low, high = kind(found[1]), kind(found[2])
        step = kind(found[4]) if found[4] else None
    except ValueError:
        raise InputError(f"{key}: found {said!r}; the parameter takes whole numbers") from None
    if low > high:
        raise InputError(f"{key}: found {said!r}; the range is empty: {low:g} is above {high:g}")
    if found[3] and low <= 0:
        raise InputError(f"{key}: found {said!r}; with log both ends must be above 0")
    if step is not None and (found[3] or step <= 0):
        why = "log and step exclude each other" if found[3] else "a step must be above 0"
        raise InputError(f"{key}: found {said!r}; {why}")
    try:
        uneven = step is not None and (Decimal(found[2]) - Decimal(found[1])) % Decimal(found[4])
    except InvalidOperation:  # more digits than decimals have
        raise InputError(f"{key}: found {said!r}; the step is too small for the range") from None
    if uneven:
        raise InputError(f"{key}: found {said!r}; steps of {found[4]} from {found[1]} do not end at {found[2]}")
    return Range(key, low, high, bool(found[3]), step)


def _suggestion(key: str, known: Mapping[str, FieldInfo]) -> str:
    if key in RENAMED:
        return f"; it is called {RENAMED[key]} now"
    near = difflib.get_close_matches(key, known, 1) or [one for one in known if one.endswith(f".{key}")][:1]
    return f"; did you mean {near[0]}?" if near else "; all are in docs/parameters.md"


def _kinds(annotation: Any) -> set:
    """Return the types that an annotation takes: `Annotated[int, …] | None` takes int and None."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if annotation in (int, float):
        return {annotation}
    return {kind for part in get_args(annotation) for kind in _kinds(part)}


def everything(params: Params) -> Iterator[tuple[str, Any]]:
    """Yield all parameters, those of methods that are not in use, too."""
    return flat(params.model_dump())


def effective_parameters(params: Params) -> dict[str, Any]:
    """Return the parameters that the distilled students depend on, flat: two settings with the same are the same."""
    values = params.flat()
    return {key: value for stage in upstream(LAST_STAGE) for key, value in stage_parameters(stage, values).items()}


def stages_again(keys: Sequence[str], params: Params) -> list[str]:
    """Return the stages that run again for other values of these parameters, in the order of the pipeline."""
    values, again = dict(everything(params)), []
    for stage in upstream(LAST_STAGE):
        own = stage_parameters(stage, values)
        if any(key in own for key in keys) or set(upstream(stage)) & set(again) or stage == LAST_STAGE:
            again.append(stage)
    return again


def draw(space: Space, sampler: str, seed: int, number: int, trials: Sequence[FrozenTrial], direction: str) -> Setting:
    """Return the setting of a trial, which depends on the space, the seed, its number and the trials before it alone.

    The sampler draws in a copy of the study with a seed of its own per trial: a search that was interrupted goes on as
    if it had not been.

    Args:
        space: of the search.
        sampler: `tpe` or `random`.
        seed: of the search.
        number: of the trial, from 0.
        trials: those before it.
        direction: `minimize` or `maximize`.
    """
    if number == 0 and space.has(space.present):
        return space.present
    own = random.Random(f"{seed} {number}").getrandbits(32)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    copied = optuna.create_study(sampler=samplers[sampler](seed=own), direction=direction)
    copied.add_trials(trials)
    drawn = copied.ask(space.distributions).params
    return {dimension.key: dimension.tidy(drawn[dimension.key]) for dimension in space.dimensions}


def read_tree(path: Path) -> dict[str, Any]:
    """Return what stands in a YAML file, not yet checked."""
    return parsed(path.read_text(encoding="utf-8"))
