"""Contents of result files for the HTML report, and a strict reader of the page that is made of them."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from typing import NamedTuple

VOID = {"meta", "link", "wbr", "br", "hr", "img", "input"}
#: Keys that a task's baseline has, and the values that differ from it, one at a time.
KNOBS = {"vocab_size": (16, [128, 32, 64]), "num_train_examples": (12800, [800, 6400]), "frac_noise": (0.2, [0.8, 0.4])}


def curve(points=12, step=50, top=0.9, bend=None):
    """An S with some noise; the same for the same arguments."""
    bend = points / 3 if bend is None else bend
    rise = (1 / (1 + math.exp((bend - i) * 6 / points)) for i in range(1, points + 1))
    return [[i * step, round(top * r + 0.01 * math.sin(i * i), 4)] for i, r in enumerate(rise, 1)]


def trial(lr=1e-3, weight_decay=0.0, seed=0, stopped="budget", points=None):
    points = curve() if points is None else points
    steps = points[-1][0] if points else 0
    return {
        "lr": lr,
        "weight_decay": weight_decay,
        "seed": seed,
        "steps": steps,
        "stopped": stopped,
        "curve": points,
    }


def setting(task="compression", normalized=0.95, verdict="pass", **changes):
    """A setting of a result file; ``normalized`` None is one that could not be trained."""
    is_scored = normalized is not None
    accuracy = 0.25 + 0.75 * normalized if is_scored else None
    return {
        "task": task,
        "task_version": 1,
        "params": {key: base for key, (base, _) in KNOBS.items()},
        "accuracy": accuracy,
        "accuracy_compat": accuracy,
        "metric": "accuracy",
        "sequence_accuracy": accuracy,
        "normalized": normalized,
        "oracle": 1.0,
        "trivial": 0.25,
        "threshold": 0.9,
        "baseline": None,
        "scores": [[0, normalized]] if is_scored else [],
        "mark": 0.9 if is_scored else None,
        "steps": [[0, 400]] if is_scored else [],
        "pace": None,
        "slower": "fail",
        "recipe": "ab",
        "verdict": verdict,
        "tolerant": False,
        "note": "",
        "attempts": [],
        "detail": f"normalised score {normalized}",
        "parameters": 394240 if is_scored else None,
        "best": {"lr": 1e-3, "weight_decay": 0.0, "seed": 0} if is_scored else None,
        "trials": [trial()] if is_scored else [],
        "seconds": 12.5,
        "seconds_per_step": 0.01 if is_scored else None,
        "stored": False,
        "device": "cpu",
        "engine": "loop",
    } | changes


def baseline(floor=0.9):
    return {
        "source": "main",
        "architecture": "mine",
        "seeds": 10,
        "lowest": floor + 0.03,
        "margin": 0.03,
        "floor": floor,
        "most_seeds": 4,
    }


def architecture(settings, contracts=None, **changes):
    """An architecture of a result file, with MAD's score where every setting has one."""
    accuracies = {}
    for one in settings.values():
        if one["accuracy"] is not None:
            accuracies.setdefault(one["task"], []).append(one["accuracy"])
    task_scores = {task: sum(values) / len(values) for task, values in accuracies.items()}
    is_complete = task_scores and all(one["accuracy"] is not None for one in settings.values())
    score = sum(task_scores.values()) / len(task_scores) if is_complete else None
    return {
        "parameters": 394240,
        "state_size": None,
        "task_scores": task_scores,
        "mad_score": score,
        "mad_score_accuracy": score,
        "mad_score_compat": score,
        "mad_score_normalized": score,
        "contracts": {"causality": {"verdict": "pass", "detail": "", "warned": [], "attempts": []}}
        if contracts is None
        else contracts,
        "settings": settings,
    } | changes


def content(architectures, **changes):
    return {
        "schema": 3,
        "preset": "smoke",
        "preset_tasks": {},
        "command": "pytest --mad-arch=models:make_model",
        "cut_short": False,
        "shards": [],
        "environment": {"torch": "2.13.0", "python": "3.11.7", "device": "cpu", "plugin": None},
        "architectures": architectures,
    } | changes


def grid(tasks=("compression", "memorization", "selective-copying"), score=0.95, verdict="pass", **changes):
    """Settings of a difficulty grid: of each task the baseline, and what differs from it in one value."""
    found = {}
    for task in tasks:
        found[f"{task}[baseline]"] = setting(task, score, verdict, **changes)
        for knob, (_, values) in KNOBS.items():
            for value in values:
                one = setting(task, score, verdict, **changes)
                found[f"{task}[{knob}={value}]"] = one | {"params": one["params"] | {knob: value}}
    return found


MISSING = {
    "compression[baseline]": setting("compression", None, "error", detail="the loss is nan at step 350"),
    "memorization[baseline]": setting("memorization", None, "skipped", detail="there is no bottleneck"),
    "selective-copying[baseline]": setting("selective-copying", 0.97, trials=[trial(points=[])]),
    "in-context-recall[baseline]": setting("in-context-recall", 0.97, trials=[trial(points=[[50, 1.0]])]),
    "noisy-in-context-recall[baseline]": setting("noisy-in-context-recall", 0.2, "fail", threshold=None, best=None),
    "fuzzy-in-context-recall[baseline]": setting(
        "fuzzy-in-context-recall",
        0.6,
        "regress",
        threshold=None,
        baseline=baseline(),
        scores=[[10, 0.5], [11, 0.6]],
        trials=[trial(), trial(lr=1e-2, stopped="hopeless"), trial(seed=7, stopped="solved")],
    ),
}
CONTRACTS = {
    "causality": {
        "verdict": "fail",
        "detail": "token 5 changes the logits at position 3",
        "warned": [],
        "attempts": [],
    },
    "lengths": {"verdict": "pass", "detail": "", "warned": ["length 1 raises ValueError"], "attempts": []},
    "state": {"verdict": "skipped", "detail": "the model has no step", "warned": [], "attempts": []},
    "output": {"verdict": "pass", "detail": "", "warned": [], "attempts": []},
}

#: What a page may be made of, by what is special about it.
SAMPLES = {
    "one": content({"mine": architecture(grid(["compression"]))}),
    "several": content(
        {
            "mine": architecture(grid(), state_size=4096),
            "best": architecture(grid(score=0.99), state_size=65536),
            "worst": architecture(grid(score=-0.2, verdict="fail"), state_size=0),
            "grows": architecture(grid(score=1.0)),
            "unfinished": architecture(MISSING, CONTRACTS, state_size=64),
        }
    ),
    "missing": content({"mine": architecture(MISSING, CONTRACTS)}),
    "contracts": content({"mine": architecture({}, CONTRACTS, parameters=None)}),
    "nothing": content({}, command=""),
    "same names": content(
        {
            name: architecture({f"a{sep}b[baseline]": setting(f"a{sep}b") for sep in "- ./"}, {})
            for name in ("a", "a b", "a.b", "a-b", "<lambda>", "λ", "ж", "results", "contracts")
        }
    ),
}


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str | None]
    #: tags around it, the outermost first
    around: tuple[str, ...]


class Page(HTMLParser):
    """A page's elements and texts. Raises ``AssertionError`` where a tag is not closed, or closed twice."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is given twice"
        self.elements.append(Element(tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self._open), data))

    def named(self, *tags):
        """The elements with one of these tags."""
        return [e for e in self.elements if e.tag in tags]

    def text(self, *tags):
        """What stands inside the elements with one of these tags; without any, what can be read."""
        shown = (t for around, t in self.texts if not {"script", "style"} & set(around))
        inside = (t for around, t in self.texts if set(tags) & set(around))
        return "".join(inside if tags else shown)

    def blocks(self, tag):
        """The texts of elements with this tag, one by one, with single spaces."""
        found, depth = [], 0
        for around, text in self.texts:
            inside = around.count(tag)
            if inside and not depth:
                found.append("")
            if inside:
                found[-1] += f" {text}"
            depth = inside
        return [" ".join(text.split()) for text in found]

    def attribute(self, name):
        """The values of an attribute, in order."""
        return [e.attributes[name] for e in self.elements if name in e.attributes]
