"""The suite from Python: the same path as the pytest items, and a task of one's own in it."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import pytest_mad
from pytest_mad import evaluate, evaluate_suite, settings
from pytest_mad.architectures.architecture import TargetError, from_factory
from pytest_mad.architectures.bottleneck import NoBottleneckError
from pytest_mad.architectures.wrappers import ModelError
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import ContractBrokenError, run_and_judge
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import PresetError
from pytest_mad.tasks import registry
from pytest_mad.training.trial import TrialError
from tests.unit.tiny import Tiny, make_setting

PRESET = """
schema = 1
[recipe]
points = [{ lr = 0.02 }]
steps = 30
batch_size = 8
evaluate_every = 10
num_validation_examples = 20
[tasks.memorization]
baseline = { vocab_size = 16, seq_len = 8, num_train_examples = 64, num_test_examples = 40 }
vary = { vocab_size = [24] }
threshold = 0.25
[tasks.in-context-recall]
baseline = { vocab_size = 8, seq_len = 16, num_train_examples = 64, num_test_examples = 40 }
threshold = 1
"""


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    path = tmp_path_factory.mktemp("presets") / "mine.toml"
    path.write_text(PRESET)
    return str(path)


@pytest.fixture(scope="module")
def suite(preset):
    return evaluate_suite(Tiny, preset=preset)


def test_evaluate_gives_the_result_of_one_setting(preset):
    """Verdict, scores and the curve, with the factory's name."""
    result = evaluate(Tiny, settings(preset)["memorization[baseline]"])
    assert result.passed
    assert (result.architecture, result.setting, result.preset) == ("Tiny", "memorization[baseline]", "mine")
    assert result.threshold == 0.25 <= result.normalized
    assert len(result.trials) == 1


def test_evaluate_finds_what_a_pytest_item_finds(preset):
    """The same path: the same scores, verdict and curves, apart from seconds."""
    setting = settings(preset)["in-context-recall[baseline]"]
    ours = evaluate(Tiny, setting, seeds=2, first_seed=7, device="cpu")
    options = RunOptions(seeds=2, first_seed=7, device="cpu")
    item = run_and_judge(from_factory(Tiny), setting, options).result
    timeless = {"seconds": 0, "seconds_per_step": None}
    assert dataclasses.replace(ours, **timeless) == dataclasses.replace(item, **timeless)
    assert [trial.seed for trial in ours.trials] == [7, 8]


def test_a_failed_setting_is_a_result_not_an_exception(suite):
    """A model that cannot recall does not."""
    result = suite.results["in-context-recall[baseline]"]
    assert result.verdict == "fail"
    assert "is below 1" in result.detail


def test_evaluate_suite_scores_every_setting_and_their_means(suite, preset):
    """As MAD-Lab's benchmark: a mean per task, and the mean of these."""
    accuracy = {name: result.accuracy for name, result in suite.results.items()}
    assert list(accuracy) == list(settings(preset))
    memorization = (accuracy["memorization[baseline]"] + accuracy["memorization[vocab_size=24]"]) / 2
    recall = accuracy["in-context-recall[baseline]"]
    assert suite.task_scores == pytest.approx({"memorization": memorization, "in-context-recall": recall})
    assert suite.mad_score == suite.mad_score_accuracy == pytest.approx((memorization + recall) / 2)
    assert suite.mad_score_compat is not None
    normalized = {name: result.normalized for name, result in suite.results.items()}
    mean = (normalized["memorization[baseline]"] + normalized["memorization[vocab_size=24]"]) / 2
    assert suite.mad_score_normalized == pytest.approx((mean + normalized["in-context-recall[baseline]"]) / 2)


def test_evaluate_suite_takes_some_tasks_and_evaluate_s_options(suite, preset):
    """The scores of a task do not depend on what else is run."""
    some = evaluate_suite(Tiny, preset=preset, tasks=["in-context-recall"], device="cpu", first_seed=0)
    assert list(some.results) == ["in-context-recall[baseline]"]
    assert some.task_scores["in-context-recall"] == suite.task_scores["in-context-recall"]
    assert some.mad_score == some.task_scores["in-context-recall"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "smok"}, "did you mean 'smoke'"),
        ({"preset": "smoke", "tasks": ["recal"]}, "did you mean"),
        ({"preset": "smoke", "tasks": ["in-context-recall", "compresion"]}, "did you mean 'compression'"),
    ],
)
def test_evaluate_suite_refuses_what_it_does_not_know(arguments, message):
    """Before anything is trained."""
    with pytest.raises((PresetError, ValueError), match=message):
        evaluate_suite(Tiny, **arguments)


def boom(vocab_size):
    raise ZeroDivisionError("luck ran out\nand more")


class Ahead(Tiny):
    def forward(self, tokens):
        return super().forward(tokens).flip(1)


class NoWeights(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, tokens):
        return nn.functional.one_hot(tokens, 32).float()


class Short(Tiny):
    def forward(self, tokens):
        return super().forward(tokens)[:, :-1]


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        (boom, ModelError, "boom raised ZeroDivisionError: luck ran out$"),
        (lambda: 5, ModelError, "returned int, but must return a torch.nn.Module"),
        (NoWeights, ModelError, "no parameters"),
        (Short, ModelError, r"wrong length: .* gives \(2, 7, 32\), but must give \(2, 8, 32\)"),
        (lambda: Tiny(31), ModelError, r"raised IndexError|wrong vocabulary"),
        (Ahead, ContractBrokenError, "contract causality is broken: not causal"),
        (lambda hidden: 5, TargetError, "requires 'hidden'"),
    ],
)
def test_evaluate_raises_what_is_wrong_with_the_model(factory, error, message):
    """In one line, which a notebook shows."""
    with pytest.raises(error, match=message) as caught:
        evaluate(factory, make_setting(steps=2))
    assert len(str(caught.value).splitlines()) == 1


def test_evaluate_raises_when_training_gives_no_score():
    """Diverged, or without a vector for compression."""
    with pytest.raises(ContractBrokenError, match=r"contract finite is broken: the loss of step \d is"):
        evaluate(Tiny, make_setting(points=[Point(lr=1e30)]))

    def diverging(vocab_size):
        model, steps = Tiny(vocab_size), itertools.count()
        model.embed.weight.register_hook(lambda gradient: gradient * (float("nan") if next(steps) > 7 else 1))
        return model

    with pytest.raises(TrialError, match="the loss is nan at step 10"):
        evaluate(diverging, make_setting(steps=20))

    class NoHead(nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.embed = nn.Embedding(vocab_size, vocab_size)

        def forward(self, tokens):
            return self.embed(tokens)

    sizes = {"vocab_size": 8, "seq_len": 6, "num_train_examples": 16, "num_test_examples": 16}
    with pytest.raises(NoBottleneckError, match="compression needs one vector"):
        evaluate(NoHead, make_setting("compression", sizes, steps=2))


def test_evaluate_reads_published_data_from_a_path(tmp_path):
    """Given as text or as a path."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "t-M_vs-32_sl-8_ntr-64_nte-150_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-12345"
    for split, n in (("train", 64), ("test", 150)):
        (folder / split).mkdir(parents=True)
        for kind in ("inputs", "targets"):
            np.save(folder / split / f"{kind}.npy", rng.integers(0, 32, (n, 8)))
    generated = evaluate(Tiny, make_setting())
    results = [evaluate(Tiny, make_setting(), data_dir=path) for path in (tmp_path, str(tmp_path))]
    assert results[0].accuracy == results[1].accuracy < 0.2 < generated.accuracy  # random targets teach nothing
    # That data has MAD-Lab's bugs, so its levels are judged by.
    assert [r.params["mode"] for r in (generated, *results)] == ["fixed", "compat", "compat"]


class EchoTask(pytest_mad.Task):
    """A task of a user's own: answer the token before, at the odd positions."""

    name = "echo-of-a-test"
    Params = pytest_mad.TaskParams

    def generate(self, params, n, rng, split):
        inputs = rng.integers(0, params.vocab_size, (n, params.seq_len))
        targets = np.full_like(inputs, -100)
        targets[:, 1::2] = inputs[:, 0::2]
        return pytest_mad.Batch(inputs, targets)

    def oracle(self, params):
        return 1.0

    def trivial(self, params):
        return 1 / params.vocab_size

    def players(self, params):
        return pytest_mad.Players(lambda train, inputs: np.roll(inputs, 1, axis=1), lambda train, inputs: inputs * 0)


@pytest.fixture
def echo():
    pytest_mad.register_task(EchoTask)
    yield EchoTask.name
    del registry._TASKS._entries[EchoTask.name]


def test_a_registered_task_is_a_task_like_any_other(echo, tmp_path):
    """In a preset, by its name, through ``evaluate``, with its own levels and without another line of code."""
    path = tmp_path / "echo.toml"
    path.write_text(
        """
        schema = 1
        [recipe]
        points = [{ lr = 0.02 }]
        steps = 300
        batch_size = 16
        solved_at = 0.99
        [tasks.echo-of-a-test]
        baseline = { vocab_size = 6, seq_len = 8, num_train_examples = 400, num_test_examples = 50 }
        vary = { seq_len = [4] }
        threshold = 0.9
        """
    )
    assert echo in pytest_mad.task_names()
    chosen = settings(str(path))
    assert list(chosen) == ["echo-of-a-test[baseline]", "echo-of-a-test[seq_len=4]"]
    for setting in chosen.values():
        result = evaluate(Tiny, setting)
        assert result.passed, result.explain()
        assert (result.oracle, result.trivial) == (1.0, pytest.approx(1 / 6))
        assert result.trials[0].stopped == "solved"
    without_mixing = evaluate(lambda vocab_size: nn.Sequential(nn.Embedding(vocab_size, vocab_size)), setting)
    assert without_mixing.verdict == "fail"


def test_a_name_belongs_to_one_task(echo):
    """Registering the same class again is harmless, another one of that name is not."""
    pytest_mad.register_task(EchoTask)

    class Other(EchoTask):
        pass

    with pytest.raises(ValueError, match=f"^task '{echo}' is already registered"):
        pytest_mad.register_task(Other)


def test_every_public_name_is_there():
    """Found when first used, where it is written, and listed by dir(); nothing else is."""
    public = {
        *("Task", "TaskParams", "Batch", "Players", "register_task", "task_names", "settings", "Setting"),
        *("build_layer", "layer_names", "register_layer", "evaluate", "evaluate_suite", "SuiteScore"),
        *("Run", "ArchitectureResult", "SettingResult", "ContractResult", "TrialResult"),
        *("Subject", "ContractError", "NotApplicableError", "register_contract", "__version__"),
    }
    assert sorted(public) == sorted(pytest_mad.__all__) == dir(pytest_mad)
    for name in public - {"__version__"}:
        found = getattr(pytest_mad, name)
        assert found.__name__ == name and found.__module__.startswith("pytest_mad.")
    with pytest.raises(AttributeError, match="module 'pytest_mad' has no attribute 'evaluat'"):
        _ = pytest_mad.evaluat


def test_importing_the_package_imports_nothing_heavy():
    """Every pytest run pays for it, whether it measures a model or not."""
    code = "import sys, pytest_mad; print(*{'torch', 'numpy', 'hypothesis', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_results_do_not_depend_on_what_ran_before(preset):
    """A notebook may run cells in any order."""
    setting = settings(preset)["memorization[baseline]"]
    first = evaluate(Tiny, setting)
    torch.manual_seed(5)
    evaluate(Tiny, settings(preset)["in-context-recall[baseline]"])
    timeless = {"seconds": 0, "seconds_per_step": None}
    assert dataclasses.replace(evaluate(Tiny, setting), **timeless) == dataclasses.replace(first, **timeless)


def test_mad_s_tasks_come_first_whoever_registers_first():
    """In a fresh process too, where nothing has asked for a task yet."""
    code = """
import pytest_mad

class Mine(pytest_mad.Task):
    name = "mine"
    Params = pytest_mad.TaskParams
    generate = oracle = trivial = players = None

pytest_mad.register_task(Mine)
print(pytest_mad.task_names()[0], pytest_mad.task_names()[-1])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["in-context-recall", "mine"]
