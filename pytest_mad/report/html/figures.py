"""Where the lines and marks of the HTML report's pictures stand, in whole numbers: short, and finer than a screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from pytest_mad.common.text import accuracy_text
from pytest_mad.results.result import Best, SettingResult, TrialResult

Point = tuple[int, int]

#: A point this close to the line that is drawn without it is left out. A unit is about half a pixel.
TOLERANCE = 1.0
#: Height of a line of text, and roughly the width of a letter.
LINE, LETTER = 24, 12


class Frame(NamedTuple):
    """A picture's size, and the area in it that has the axes for edges."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    def across(self, share: float) -> int:
        """``share`` 0 is the left edge, 1 the right one."""
        return round(self.left + share * (self.right - self.left))

    def up(self, share: float) -> int:
        """``share`` 0 is the bottom edge, 1 the top one; what lies outside is drawn on the edge."""
        return round(self.bottom - min(1.0, max(0.0, share)) * (self.bottom - self.top))


CURVES = Frame(640, 288, 48, 480, 18, 246)
SCATTER = Frame(640, 400, 56, 580, 40, 330)


# -- learning curves --------------------------------------------------------------------------------------------------


class Level(NamedTuple):
    """A horizontal line with its name behind it."""

    name: str
    text: str
    y: int
    text_y: int


class Trace(NamedTuple):
    """One trial's curve: what stands in a polyline's ``points``, and the mark at its end."""

    points: str
    end: Point
    stopped: str
    is_best: bool
    title: str


class Curves(NamedTuple):
    """The learning curves of a setting."""

    frame: Frame
    traces: list[Trace]
    levels: list[Level]
    steps: int
    label: str


def learning_curves(setting: SettingResult, label: str) -> Curves | None:
    """The curves of a setting's trials, over the levels that give them a meaning; None where nothing was trained."""
    trials = [trial for trial in setting.trials if trial.curve]
    if not trials:
        return None
    steps = max(step for trial in trials for step, _ in trial.curve) or 1
    traces = [_trace(trial, steps, is_best(trial, setting.best)) for trial in trials]
    # The best trial is drawn last, over the others.
    return Curves(CURVES, sorted(traces, key=lambda t: t.is_best), levels(setting), steps, label)


def is_best(trial: TrialResult, best: Best | None) -> bool:
    """Whether this is the trial whose score counts."""
    return best is not None and best.is_of(trial)


def trial_name(trial: TrialResult) -> str:
    """What tells a trial from the others of its setting."""
    return f"seed {trial.seed}, lr {trial.lr:g}, weight decay {trial.weight_decay:g}"


def _trace(trial: TrialResult, steps: int, best: bool) -> Trace:
    points = [(CURVES.across(step / steps), CURVES.up(accuracy)) for step, accuracy in sorted(trial.curve)]
    drawn = thinned(points)
    title = f"{trial_name(trial)}: {trial.stopped} at step {trial.steps}"
    return Trace(" ".join(f"{x},{y}" for x, y in drawn), drawn[-1], trial.stopped, best, title)


def levels(setting: SettingResult) -> list[Level]:
    """Oracle, trivial and what is needed, as accuracies, from the top down, with names that do not overlap."""
    oracle, trivial = setting.oracle, setting.trivial
    values = {"oracle": oracle, "trivial": trivial}
    if setting.needed is not None:
        values["needed"] = trivial + setting.needed * (oracle - trivial)
    ordered = sorted(values.items(), key=lambda named: (-named[1], named[0] != "oracle"))
    heights = [CURVES.up(value) for _, value in ordered]
    places = spread(heights, LINE, CURVES.top, CURVES.bottom)
    return [
        Level(name, accuracy_text(value), y, text_y)
        for (name, value), y, text_y in zip(ordered, heights, places, strict=True)
    ]


def spread(wanted: Sequence[int], gap: int, first: int, last: int) -> list[int]:
    """Places at least ``gap`` apart and as close to the ascending ``wanted`` ones as one pass each way brings them."""
    places: list[int] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else max(place, first))
    limit = last
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def thinned(points: Sequence[Point], tolerance: float = TOLERANCE) -> list[Point]:
    """The points that a line needs: none of the others is further from it than ``tolerance``.

    The first, last, lowest and highest always stay. This is Ramer, Douglas and Peucker's method, with a list of open
    spans instead of recursion.
    """
    points = list(_seen(points))
    heights = [y for _, y in points]
    kept = {0, heights.index(min(heights)), heights.index(max(heights)), len(points) - 1}
    spans = list(pairwise(sorted(kept)))
    while spans:
        start, end = spans.pop()
        away, middle = _farthest(points, start, end)
        if away > tolerance:
            kept.add(middle)
            spans += [(start, middle), (middle, end)]
    return [points[i] for i in sorted(kept)]


def _seen(points: Iterable[Point]) -> Iterator[Point]:
    """Of the points that share a column only the first, lowest, highest and last: the line covers the others."""
    for _, group in groupby(points, key=lambda point: point[0]):
        column = list(group)
        heights = [y for _, y in column]
        yield from (
            column[i] for i in sorted({0, heights.index(min(heights)), heights.index(max(heights)), len(column) - 1})
        )


def _farthest(points: Sequence[Point], start: int, end: int) -> tuple[float, int]:
    """Distance and index of the point between two others that is farthest from the line between them."""
    return max(((_distance(points[i], points[start], points[end]), i) for i in range(start + 1, end)), default=(0.0, 0))


def _distance(point: Point, start: Point, end: Point) -> float:
    """From a point to the straight line between two others, their ends included."""
    across, up = end[0] - start[0], end[1] - start[1]
    squared = across**2 + up**2
    share = 0.0
    if squared:
        share = ((point[0] - start[0]) * across + (point[1] - start[1]) * up) / squared
        share = min(1.0, max(0.0, share))
    return math.dist(point, (start[0] + share * across, start[1] + share * up))


# -- score against state size -----------------------------------------------------------------------------------------


class Dot(NamedTuple):
    """An architecture in the picture, with where its name begins or ends."""

    name: str
    x: int
    y: int
    text_x: int
    text_y: int
    anchor: str
    title: str


class Tick(NamedTuple):
    place: int
    text: str


class Scatter(NamedTuple):
    """MAD scores against state sizes."""

    frame: Frame
    dots: list[Dot]
    sizes: list[Tick]
    scores: list[Tick]
    #: what the scores are called
    called: str
    label: str


def scatter(sizes: dict[str, tuple[int, float]], called: str = "MAD score") -> Scatter | None:
    """Architectures by state size, on a logarithmic axis, and score; None where there is none to place."""
    if not sizes:
        return None
    ticks = _size_ticks([size for size, _ in sizes.values()])
    low, high = _score_range([score for _, score in sizes.values()])
    first, last = _log(ticks[0]), _log(ticks[-1])
    places = {
        name: (SCATTER.across((_log(size) - first) / (last - first)), SCATTER.up((score - low) / (high - low)))
        for name, (size, score) in sizes.items()
    }
    titles = {name: f"{name}: state size {size:,}, {called} {score:.3f}" for name, (size, score) in sizes.items()}
    tenths = range(round(low * 10), round(high * 10) + 1)
    return Scatter(
        SCATTER,
        list(_dots(places, titles)),
        [Tick(SCATTER.across((_log(tick) - first) / (last - first)), _size_text(tick)) for tick in ticks],
        [Tick(SCATTER.up((tenth / 10 - low) / (high - low)), f"{tenth / 10:.1f}") for tenth in tenths],
        called,
        f"MAD score against state size. {'; '.join(titles.values())}.",
    )


def _log(size: int) -> float:
    """No state at all has a place too, left of one float."""
    return math.log2(size) if size else -1.0


def _size_ticks(sizes: Sequence[int]) -> list[int]:
    """At most six powers of two around the sizes, evenly apart, and zero where one is."""
    exponents = [_log(size) for size in sizes]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents))
    every = max(1, math.ceil((high - low) / 4))
    last = low + every * max(1, math.ceil((high - low) / every))
    return [2**exponent if exponent >= 0 else 0 for exponent in range(low, last + 1, every)]


def _size_text(size: int) -> str:
    """A power of two, in units above a million: its place has room for seven letters."""
    for unit, name in ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi")):
        if size >= unit:
            return f"{size // unit:,} {name}"
    return f"{size:,}"


def _score_range(scores: Sequence[float]) -> tuple[float, float]:
    """From a tenth to a tenth, at least two apart: small differences are not drawn as large ones."""
    low = max(0, min(8, math.floor(min(scores) * 10)))
    return low / 10, max(low + 2, math.ceil(max(scores) * 10)) / 10


def _dots(places: dict[str, Point], titles: dict[str, str]) -> Iterator[Dot]:
    """Names stand beside their dots, as near as they get without covering a dot or another name."""
    taken = [_area(x - 8, y, 16) for x, y in places.values()]
    for name, (x, y) in places.items():
        text_x, text_y, anchor, area = _name_place(x, y, LETTER * len(name), taken)
        taken.append(area)
        yield Dot(name, x, y, text_x, text_y, anchor, titles[name])


def _name_place(x: int, y: int, width: int, taken: Sequence[Area]) -> tuple[int, int, str, Area]:
    """Where a name begins or ends, right or left of its dot; the first place where there is no better one."""
    choices = []
    for away in sorted(range(-4 * LINE, 4 * LINE + 1, LINE // 4), key=abs):
        choices.append((x + 14, y + away, "start", _area(x + 14, y + away, width)))
        choices.append((x - 14, y + away, "end", _area(x - 14 - width, y + away, width)))
    inside = [choice for choice in choices if _is_inside(choice[3])]
    free = [choice for choice in inside if not _covers(choice[3], taken)]
    return (free or inside or choices)[0]


Area = tuple[int, int, int, int]


def _area(left: int, middle: int, width: int) -> Area:
    """What a line of text, or a dot, covers: left, top, right, bottom."""
    return left, middle - LINE // 2, left + width, middle + LINE // 2


def _is_inside(area: Area) -> bool:
    left, top, right, bottom = area
    return left >= 0 and right <= SCATTER.width and top >= 0 and bottom <= SCATTER.bottom + LINE // 2


def _covers(area: Area, taken: Iterable[Area]) -> bool:
    left, top, right, bottom = area
    return any(left < r and l < right and top < b and t < bottom for l, t, r, b in taken)
