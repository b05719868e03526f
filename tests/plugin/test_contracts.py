"""Contracts as items: what stops an architecture, what warns, what is switched off, and where it is told."""

from __future__ import annotations

import os
import signal
import textwrap
import xml.etree.ElementTree as ET

import pytest

from pytest_mad.contracts import base

MEMORIZATION, LARGER, RECALL = "memorization[baseline]", "memorization[vocab_size=24]", "in-context-recall[baseline]"
SETTINGS = (MEMORIZATION, LARGER, RECALL)
NAMES = (
    *("output", "finite", "repeatability", "batch-independence", "causality", "gradients"),
    *("lengths", "state", "autocast", "input-unchanged", "globals-unchanged"),
)
#: How the line of a hard contract that is broken ends.
WAY_OUT = "(to go on without it: --mad-contract={}=off:REASON)"


# What a setting says behind a contract whose item says it in full.
def pointer(architecture, contract):
    return f"contract {contract} is broken, see mad::{architecture}::contract[{contract}]"


POINTER = pointer("Ahead", "causality")

#: As in a project that says nothing about warnings; this one's own setting, error, would reach these runs.
WARNINGS = ("-W", "default::pytest_mad.suite.items.ContractWarning")

MODELS = """
    import time

    import torch
    from torch import nn

    from models import Tiny


    class Ahead(Tiny):
        '''Sees the whole sequence.'''

        def hidden(self, tokens):
            x = self.embed(tokens)
            return x + x.mean(1, keepdim=True)


    class Mixed(Tiny):
        '''Sees the whole batch.'''

        def hidden(self, tokens):
            x = super().hidden(tokens)
            return x + x.mean(0, keepdim=True)


    class Dropped(Tiny):
        '''Dropout that eval() does not switch off.'''

        def forward(self, tokens):
            return nn.functional.dropout(super().forward(tokens), 0.1)


    class Chance(Tiny):
        '''Other logits at every seventh call.'''

        def __init__(self, vocab_size):
            super().__init__(vocab_size)
            self.calls = 0

        def forward(self, tokens):
            self.calls += 1
            return super().forward(tokens) + (self.calls % 7 == 0) * torch.rand(())


    class Dead(Tiny):
        '''A weight that is never used, so its gradient is None, beside one row that is multiplied by zero.'''

        def __init__(self, vocab_size):
            super().__init__(vocab_size)
            self.spare = nn.Linear(3, 4)
            self.scale = nn.Parameter(torch.ones(16))
            self.register_buffer("open", torch.ones(16).index_fill(0, torch.tensor([5]), 0))

        def hidden(self, tokens):
            return super().hidden(tokens) * (1 + self.scale * self.open)


    class Steep(Tiny):
        '''The loss of the first step is infinite.'''

        def forward(self, tokens):
            logits = super().forward(tokens)
            return logits * 1e38 if self.training else logits


    class Unfinished(Tiny):
        def init_state(self, batch):
            return torch.zeros(batch, 16)

        def step(self, tokens, state):
            raise NotImplementedError("step is not written yet")


    class Recurrent(Unfinished):
        '''Token by token it is the same model.'''

        def step(self, tokens, state):
            x = self.embed(tokens)
            return self.head(x + state), x

        def state_size(self):
            return 16


    class Forgetful(Recurrent):
        '''Token by token it forgets the token before.'''

        def step(self, tokens, state):
            return self.head(self.embed(tokens)), state


    class Growing(Tiny):
        '''As attention with its cache.'''

        def state_size(self):
            return None


    class Even(Tiny):
        '''For the lengths of the settings, and others that are even.'''

        def forward(self, tokens):
            if tokens.shape[1] % 2 and tokens.shape[1] != 15:
                raise ValueError("I like even lengths")
            return super().forward(tokens)


    class Half(Tiny):
        '''Under autocast it is another model.'''

        def forward(self, tokens):
            logits = super().forward(tokens)
            return logits * (2 if torch.is_autocast_enabled("cpu") else 1)


    class Pairs(Tiny):
        '''For two sequences or more.'''

        def forward(self, tokens):
            if len(tokens) < 2:
                raise ValueError("I need company")
            return super().forward(tokens)


    class Interrupted(Tiny):
        '''Ctrl-C, as soon as it is trained.'''

        def forward(self, tokens):
            if self.training and torch.is_grad_enabled():
                raise KeyboardInterrupt
            return super().forward(tokens)


    class Slow(Tiny):
        '''Longer than anyone waits, where the length is odd.'''

        def forward(self, tokens):
            if tokens.shape[1] % 2:
                time.sleep(30)
            return super().forward(tokens)
"""


@pytest.fixture
def suite(project):
    """Run these architectures of the module above: pytest's result, and what the result file says by name."""
    project.write(kinds=MODELS)

    def run(*names, options=(), **kwargs):
        architectures = [f"--mad-arch={name}=kinds:{name}" for name in names]
        result = project.run(*architectures, "--mad-json=out.json", *WARNINGS, *options, **kwargs)
        text = result.stdout.str() + result.stderr.str()
        assert "INTERNALERROR" not in text
        return result, project.results()["architectures"]

    return run


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten afterwards: these runs share our modules."""
    base.contracts()
    monkeypatch.setattr(base._CONTRACTS, "_entries", dict(base._CONTRACTS._entries))


def verdicts(contracts):
    return {name: contract["verdict"] for name, contract in contracts.items()}


def table(result):
    """The lines between MAD's heading and pytest's summary."""
    lines = result.outlines
    begin = next(i for i, line in enumerate(lines) if "= MAD =" in line)
    end = next(i for i, line in enumerate(lines) if i > begin and line.startswith("="))
    return lines[begin + 1 : end]


# -- what is checked, and where it is told ---------------------------------------------------------------------------


def test_every_contract_of_a_sound_model_holds(suite):
    """One with a recurrent form too; the budget is only there where one is given."""
    result, found = suite("Recurrent", options=["mad::Recurrent::contract"])
    result.assert_outcomes(passed=11)
    assert found["Recurrent"]["contracts"] == {
        name: {"verdict": "pass", "detail": "", "warned": [], "attempts": []} for name in NAMES
    }
    assert found["Recurrent"]["settings"] == {} and found["Recurrent"]["mad_score"] is None
    assert "  11 contracts hold" in table(result)
    limited, found = suite("Recurrent", options=["mad::Recurrent::contract[budget]", "--mad-max-params=10"])
    limited.assert_outcomes(failed=1)
    assert list(found["Recurrent"]["contracts"]) == ["budget"]


def test_contracts_run_whichever_tasks_are_chosen(suite):
    """``--mad-tasks`` is about what is trained."""
    result, found = suite("Recurrent", options=["--mad-tasks=memorization"])
    result.assert_outcomes(passed=13)
    assert sorted(found["Recurrent"]["contracts"]) == sorted(NAMES) and len(found["Recurrent"]["settings"]) == 2


def test_a_contract_that_says_nothing_about_the_model_is_skipped_with_the_reason(suite):
    """In the summary, the table and the result file."""
    result, found = suite("Growing", options=["-k", "contract and state"])
    result.assert_outcomes(skipped=1, deselected=13)
    reason = "the model has no init_state(batch) and step(tokens, state)"
    assert found["Growing"]["contracts"] == {
        "state": {"verdict": "skipped", "detail": reason, "warned": [], "attempts": []}
    }
    assert f"  contract state: skipped: {reason}" in result.outlines
    result.stdout.fnmatch_lines([f"SKIPPED * {reason}"])


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_a_broken_contract_stops_its_architecture_before_training_and_no_other(suite, options):
    """One line that is its reason; the other architecture is trained as ever."""
    result, found = suite("Ahead", "Recurrent", options=["--mad-tasks=memorization", *options])
    result.assert_outcomes(failed=3, passed=22, skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED

    ahead = found["Ahead"]
    leak = ahead["contracts"]["causality"]["detail"]
    assert leak.startswith("not causal: the logits at position 0 change by ") and "\n" not in leak
    failed = {name for name, verdict in verdicts(ahead["contracts"]).items() if verdict != "pass"}
    assert failed == {"causality", "state"} and ahead["mad_score"] is None
    for setting in ahead["settings"].values():
        assert (setting["verdict"], setting["detail"]) == ("fail", POINTER)
        assert setting["trials"] == [] and setting["accuracy"] is None and setting["normalized"] is None

    assert {s["verdict"] for s in found["Recurrent"]["settings"].values()} == {"pass"}
    said = [line for line in result.outlines if line.startswith("fail: ")]
    assert sorted(said) == sorted([f"fail: {leak}", f"fail: {POINTER}", f"fail: {POINTER}"])  # of both settings
    assert f"  contract causality: fail: {leak}" in table(result)
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("model", "contract", "says"),
    [
        ("Ahead", "causality", "not causal: the logits at position 0 change by "),
        ("Mixed", "batch-independence", "do the sequences of a batch see each other?"),
        ("Dropped", "repeatability", "is dropout left on, or a state not reset?"),
        ("Dead", "gradients", "no gradient reaches scale (row 5 of 16), spare.weight, spare.bias"),
        ("Steep", "finite", "the loss of step 1 is inf"),
    ],
)
def test_a_broken_hard_contract_fails_with_what_is_wrong(suite, model, contract, says):
    """In one line, with the smallest case that shows it; and no setting is trained for it."""
    result, found = suite(model, options=["-k", f"{contract} or 24"])
    result.assert_outcomes(failed=2, deselected=12)
    assert found[model]["contracts"][contract]["verdict"] == "fail"
    assert says in found[model]["contracts"][contract]["detail"]
    (setting,) = found[model]["settings"].values()
    assert setting["verdict"] == "fail" and setting["trials"] == [] and setting["detail"].startswith("contract ")


def test_chance_in_the_model_is_named_as_such(suite):
    """What breaks on one call and not on the next is no riddle of Hypothesis', and comes out alike in every run."""
    options = ["-k", "contract and (repeatability or batch)"]
    (first, found), (_, again) = (suite("Chance", options=options) for _ in range(2))
    assert found == again
    contract = found["Chance"]["contracts"]["repeatability"]
    assert contract["verdict"] == "fail" and "other logits the second time" in contract["detail"]
    assert "Hypothesis" not in first.stdout.str()


def test_what_is_broken_is_named_as_the_user_s_model_names_it(suite):
    """Not as it is called inside a wrapper of ours."""
    _, found = suite("Steep", options=["-k", "contract and (finite or gradients)"])
    assert not any("model." in contract["detail"] for contract in found["Steep"]["contracts"].values())


def test_numbers_that_are_not_finite_are_not_taken_for_a_leak_or_for_chance(suite, project):
    """NaN is unequal to itself; only the contracts about numbers may say so."""
    result = project.run("--mad-arch=bad:NaN", "--mad-json=out.json", "-k", "contract")
    found = project.results()["architectures"]["bad.NaN"]["contracts"]
    assert result.ret == pytest.ExitCode.TESTS_FAILED and found["finite"]["verdict"] == "fail"
    for name, contract in found.items():
        assert not any(word in contract["detail"] for word in ("see each other", "dropout", "seed?", "mask")), name


def test_a_model_that_raises_is_shown_with_its_own_traceback(suite):
    """The smallest case is named; no frame of ours, nor of Hypothesis, stands above the user's."""
    result, found = suite("Pairs", options=["-k", "contract and output"])
    result.assert_outcomes(failed=1, deselected=13)
    contract = found["Pairs"]["contracts"]["output"]
    assert (
        contract["verdict"] == "fail"
        and contract["detail"] == f"a batch of 1 sequence raises ValueError: I need company {WAY_OUT.format('output')}"
    )
    text = result.stdout.str()
    assert "kinds.py" in text and "in forward" in text
    assert "pytest_mad/" not in text and "hypothesis/" not in text


def test_a_model_that_cannot_be_built_says_so_once(project):
    """Its contracts cannot be checked; nine times the same line, and the same traceback, would hide it."""
    result = project.run("--mad-arch=models:broken", "-k", "contract", "--mad-json=out.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.stdout.str().count("in broken") == 1
    found = project.results()["architectures"]["models.broken"]["contracts"]
    assert "error" in verdicts(found).values() and "pass" not in verdicts(found).values()


def test_junit_has_a_case_per_contract(suite, project):
    """With short properties, and the line of what failed as its message."""
    _, found = suite("Ahead", options=["--junitxml=junit.xml", "-k", "contract"])
    cases = {case.get("name"): case for case in ET.parse(project.path / "junit.xml").iter("testcase")}
    assert sorted(cases) == sorted(f"contract[{name}]" for name in NAMES)
    for name, contract in found["Ahead"]["contracts"].items():
        properties = {p.get("name"): p.get("value") for p in cases[f"contract[{name}]"].iter("property")}
        assert properties.keys() == {"mad.verdict", "mad.seconds"} and properties["mad.verdict"] == contract["verdict"]
    detail = found["Ahead"]["contracts"]["causality"]["detail"]
    message = cases["contract[causality]"].find("failure").get("message")
    assert message == f"fail: {detail}"
    assert "no init_state" in cases["contract[state]"].find("skipped").get("message")


def test_workers_say_the_same_in_the_same_order(suite):
    """Whichever worker checked what, and was done with it first."""
    off = [f"--mad-contract={name}=off:a test of the order" for name in NAMES[1:4]]
    one, alone = suite("Ahead", "Forgetful", options=["-k", "contract", *off])
    two, together = suite("Ahead", "Forgetful", options=["-k", "contract", *off, "-n", "2"])
    assert alone == together
    one.assert_outcomes(failed=1, passed=14, skipped=7, deselected=6, warnings=1)
    two.assert_outcomes(failed=1, passed=14, skipped=7, warnings=1)
    for result in (one, two):  # workers' warnings too
        result.stdout.fnmatch_lines(
            ["*ContractWarning: Forgetful, contract state: *step by step, the logits of token 1*"]
        )
    assert table(one) == table(two)


def test_lf_runs_what_a_contract_stopped(suite, project):
    """The contract, and the settings that it kept from training."""
    first, _ = suite("Ahead", "Recurrent", options=["--mad-tasks=memorization"])
    again, _ = suite("Ahead", "Recurrent", options=["--mad-tasks=memorization", "--lf"])
    broken = {f"mad::Ahead::{item}" for item in ("contract[causality]", MEMORIZATION, LARGER)}
    assert {i for i, outcome in project.outcomes(first).items() if outcome == "failed"} == broken
    assert project.outcomes(again) == dict.fromkeys(broken, "failed")


def test_x_ends_at_a_broken_contract(suite, project):
    """Nothing behind it is checked."""
    result, found = suite("Ahead", options=["-x"])
    before = NAMES[: NAMES.index("causality")]
    passed = {f"mad::Ahead::contract[{name}]": "passed" for name in before}
    assert project.outcomes(result) == passed | {"mad::Ahead::contract[causality]": "failed"}
    assert sorted(found["Ahead"]["contracts"]) == sorted([*before, "causality"]) and found["Ahead"]["settings"] == {}


def test_nothing_is_written_beside_the_files_that_were_asked_for(project):
    """Hypothesis keeps its examples, and what it notes of a project's constants, to itself."""
    before = project.files()
    with project.started("--mad-arch=models:make_model", "-k", "contract", "-p", "no:cacheprovider") as process:
        output = process.communicate(timeout=100)[0]
    assert process.returncode == 0, output
    assert project.files() == before and not (project.path / ".hypothesis").exists()


def test_an_interrupted_contract_leaves_what_was_checked_before_it(suite):
    """Ctrl-C inside the model: the table and the file have the contracts up to here."""
    result, found = suite("Interrupted", options=["-k", "contract and not state"], no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    contracts = found["Interrupted"]["contracts"]
    assert {"output"} <= set(contracts) < set(NAMES)
    assert set(verdicts(contracts).values()) == {"pass"}
    count = len(contracts)
    assert f"  {count} contract{'s hold' if count > 1 else ' holds'}" in table(result)


def test_ctrl_c_while_hypothesis_draws_ends_the_run(project, monkeypatch):
    """It is not taken for one more way in which a model may fail."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    project.write(kinds=MODELS)
    names = ["mad::kinds.Slow::contract[output]", "mad::kinds.Slow::contract[lengths]"]
    with project.started("--mad-arch=kinds:Slow", "--mad-tasks=memorization", *names) as process:
        while "contract[output]  PASS" not in (line := process.stdout.readline()):
            assert line, "the run ended before it was interrupted"
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, rest
    assert "INTERNALERROR" not in rest and "contract[lengths]  " not in rest


# -- soft contracts, and --mad-contract ------------------------------------------------------------------------------

SOFT = [
    ("Even", "lengths", "ValueError: I like even lengths"),
    ("Forgetful", "state", "step by step, the logits of token 1 of 2 differ from the parallel form's by "),
    ("Half", "autocast", "under bfloat16 autocast the logits change by "),
]


@pytest.mark.parametrize(("model", "contract", "says"), SOFT)
def test_a_broken_soft_contract_warns_and_passes(suite, model, contract, says):
    """In pytest's warnings, the table and the result file; its architecture is trained."""
    result, found = suite(model, options=["-k", f"contract and {contract} or 24"])
    result.assert_outcomes(passed=2, deselected=12, warnings=1)
    assert result.ret == pytest.ExitCode.OK
    entry = found[model]["contracts"][contract]
    (warning,) = entry["warned"]
    assert entry["verdict"] == "pass" and entry["detail"] == "" and says in warning
    assert f"  contract {contract}: warning: {warning}" in result.outlines
    result.stdout.fnmatch_lines([f"*ContractWarning: {model}, contract {contract}: pass: warning: {warning}"])
    result.stdout.re_match_lines([rf"mad::{model}::contract\[{contract}\]  PASS  warning  \d+\.\d s$"])


def test_a_soft_contract_warns_too_where_the_model_s_own_code_raises(suite):
    """In a method that nothing but this contract calls."""
    result, found = suite("Unfinished", options=["-k", "contract and state or 24"])
    result.assert_outcomes(passed=2, deselected=12, warnings=1)
    entry = found["Unfinished"]["contracts"]["state"]
    assert entry["verdict"] == "pass" and "NotImplementedError: step is not written yet" in entry["warned"][0]
    failing = suite("Unfinished", options=["-k", "contract and state", "--mad-contract=state=fail"])[0]
    assert failing.ret == pytest.ExitCode.TESTS_FAILED


def test_a_project_that_makes_errors_of_warnings_fails_with_one_line(suite):
    """And the result is reported all the same."""
    result, found = suite("Even", options=["-W", "error", "-k", "contract and lengths"])
    result.assert_outcomes(failed=1, deselected=13)
    assert "I like even lengths" in found["Even"]["contracts"]["lengths"]["detail"]
    assert "suite.py" not in result.stdout.str()


@pytest.mark.parametrize(("model", "contract", "says"), SOFT)
def test_fail_makes_a_soft_contract_hard(suite, model, contract, says):
    """It fails the run, and nothing is trained."""
    options = ["-k", f"contract and {contract} or 24", f"--mad-contract={contract}=fail"]
    result, found = suite(model, options=options)
    result.assert_outcomes(failed=2, deselected=12)
    entry, setting = found[model]["contracts"][contract], found[model]["settings"][LARGER]
    assert entry["verdict"] in ("fail", "error") and says in entry["detail"]
    assert setting["verdict"] == "fail" and setting["detail"] == pointer(model, contract)


def test_warn_lets_a_broken_hard_contract_pass(suite):
    """The settings are trained; without its contract the guard still looks for itself."""
    options = ["--mad-contract=batch-independence=warn", "--mad-contract=causality=warn", "-k", "contract or 24"]
    result, found = suite("Mixed", "Ahead", options=options)
    assert len(found["Mixed"]["contracts"]["batch-independence"]["warned"]) == 1
    assert found["Mixed"]["settings"][LARGER]["trials"]
    assert found["Ahead"]["contracts"]["causality"]["verdict"] == "pass"
    assert found["Ahead"]["settings"][LARGER]["detail"].startswith("not causal: ")
    result.assert_outcomes(failed=1, passed=21, skipped=2, deselected=4, warnings=2)


def test_off_skips_a_contract_and_says_why(suite):
    """In the table, the summary and the result file; the settings are trained."""
    off = "--mad-contract=gradients=off:two units are spare: see #12"
    result, found = suite("Dead", options=["-k", "gradients or 24", off])
    result.assert_outcomes(passed=1, skipped=1, deselected=12)
    detail = "switched off: two units are spare: see #12"
    assert found["Dead"]["contracts"] == {
        "gradients": {"verdict": "skipped", "detail": detail, "warned": [], "attempts": []}
    }
    assert found["Dead"]["settings"][LARGER]["verdict"] == "pass"
    assert f"  contract gradients: skipped: {detail}" in result.outlines
    result.stdout.fnmatch_lines([f"SKIPPED * {detail}"])


def test_the_last_word_about_a_contract_counts(suite):
    """As for every option that can be repeated."""
    options = ["-k", "contract and lengths", "--mad-contract=lengths=fail"]
    assert suite("Even", options=[*options, "--mad-contract=lengths=warn"])[0].ret == pytest.ExitCode.OK
    assert suite("Even", options=["--mad-contract=lengths=warn", *options])[0].ret == pytest.ExitCode.TESTS_FAILED


def test_modes_and_limits_have_twins_in_the_ini_file(suite, project):
    """One line per contract; the command line goes before."""
    project.pytester.makeini(
        """
        [pytest]
        mad_contract =
            lengths=fail
            gradients=off:two units are spare
        mad_max_params = 100
        mad_max_state = 16
        """
    )
    _, found = suite("Even", options=["-k", "contract"])
    said = verdicts(found["Even"]["contracts"])
    assert (said["lengths"], said["gradients"], said["budget"]) == ("fail", "skipped", "fail")
    options = ["-k", "contract", "--mad-contract=lengths=warn", "--mad-max-params=10000", "--mad-max-state=100"]
    _, found = suite("Even", "Recurrent", options=options)
    said = verdicts(found["Even"]["contracts"])
    assert (said["lengths"], said["gradients"]) == ("pass", "pass")
    assert found["Recurrent"]["contracts"]["budget"]["verdict"] == "pass"


WORDS = "must be NAME=fail, NAME=warn or NAME=off:REASON"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--mad-contract=casuality=fail", "unknown contract 'casuality'; did you mean 'causality'?"),
        ("--mad-contract=causality", WORDS),
        ("--mad-contract=causality=", WORDS),
        ("--mad-contract==fail", WORDS),
        ("--mad-contract=causality=ignore", WORDS),
        ("--mad-contract=causality=off", WORDS),
        ("--mad-contract=causality=off:", WORDS),
        ("--mad-contract=causality=off:  ", WORDS),
        ("--mad-contract=causality=fail:because", WORDS),
        ("--mad-max-params=0", "must be a whole number of at least 1"),
        ("--mad-max-params=1e6", "must be a whole number of at least 1"),
        ("--mad-max-params=-3", "must be a whole number of at least 1"),
        ("--mad-max-state=-1", "must be a whole number of at least 0"),
        ("--mad-max-state=many", "must be a whole number of at least 0"),
    ],
)
@pytest.mark.parametrize("architecture", [["--mad-arch=models:make_model"], []], ids=["suite", "no suite"])
def test_a_wrong_value_is_a_usage_error_of_one_line(project, option, says, architecture):
    """That names the option and what would be right, with or without an architecture on the command line."""
    before = project.files()
    result = project.run(*architecture, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR and project.files() == before
    (line,) = (line for line in result.errlines if line)
    assert line.startswith(f"ERROR: {option.partition('=')[0]}") and says in line


@pytest.mark.parametrize(
    ("ini", "says"),
    [
        ("mad_contract = lengths", f"ini option mad_contract=lengths: {WORDS}"),
        ("mad_contract = length=fail", "did you mean 'lengths'?"),
        ("mad_max_params = few", "ini option mad_max_params=few: must be a whole number of at least 1"),
        ("mad_max_state = few", "ini option mad_max_state=few: must be a whole number of at least 0"),
    ],
)
def test_a_wrong_value_in_the_ini_file_is_named_as_such(project, ini, says):
    """So that nobody looks for it on the command line."""
    project.pytester.makeini(f"[pytest]\n{ini}")
    result = project.models()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.errlines if line)
    assert says in line


# -- budgets ---------------------------------------------------------------------------------------------------------

#: Of a model at the sizes of the largest setting, a vocabulary of 24.
SIZE = 24 * 16 + 16 * 24 + 24


@pytest.mark.parametrize(
    ("model", "limits", "says"),
    [
        ("Recurrent", [f"--mad-max-params={SIZE}"], None),
        ("Recurrent", [f"--mad-max-params={SIZE - 1}"], f"{SIZE} parameters are more than the {SIZE - 1} allowed"),
        ("Recurrent", ["--mad-max-state=16"], None),
        ("Recurrent", ["--mad-max-state=15"], "a state of 16 floats is more than the 15 allowed"),
        ("Recurrent", [f"--mad-max-params={SIZE}", "--mad-max-state=0"], "a state of 16 floats is more than the 0"),
        ("Growing", ["--mad-max-state=1000"], "the state grows with the sequence, and 1,000 floats are allowed"),
        ("Even", ["--mad-max-state=1000"], "the state cannot be counted: the model has no state_size()"),
        ("Even", ["--mad-max-params=1000"], None),
    ],
)
def test_a_budget_is_a_contract_of_its_own(suite, model, limits, says):
    """Within it the architecture is trained; beyond it nothing is."""
    result, found = suite(model, options=["-k", "budget or 24", *limits])
    entry, setting = found[model]["contracts"]["budget"], found[model]["settings"][LARGER]
    if says is None:
        assert result.ret == pytest.ExitCode.OK
        assert entry == {"verdict": "pass", "detail": "", "warned": [], "attempts": []} and setting["verdict"] == "pass"
    else:
        assert entry["verdict"] == "fail" and says in entry["detail"]
        assert setting["detail"] == pointer(model, "budget")


# -- a contract of the user's own ------------------------------------------------------------------------------------

OWN = """
    from models import make_model
    from pytest_mad.contracts.base import ContractError, register_contract


    @register_contract("small-head", hard={hard})
    def small_head(subject):
        head = dict(subject.build(0).named_parameters())["model.head.weight"]
        if head.shape[1] > {width}:
            raise ContractError(f"a head of width {{head.shape[1]}} is too wide\\nand this is a second line")
"""


@pytest.fixture
def own(project, registry):
    """Run an architecture whose module registers a contract."""

    def run(*options, hard=True, width=8):
        project.write(own=textwrap.dedent(OWN).format(hard=hard, width=width))
        result = project.run("--mad-arch=own=own:make_model", "--mad-json=out.json", *WARNINGS, *options)
        return result, project.results()["architectures"]["own"]

    return run


def test_a_contract_of_the_user_s_own_joins_the_others(own, project):
    """Behind ours, in ids, reports and modes."""
    result, found = own("-k", "contract", width=16)
    result.assert_outcomes(passed=11, skipped=1, deselected=3)
    assert list(project.outcomes(result))[-1] == "mad::own::contract[small-head]"
    assert found["contracts"]["small-head"] == {"verdict": "pass", "detail": "", "warned": [], "attempts": []}


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_a_broken_contract_of_the_user_s_own_stops_training(own, options):
    """With the first line of what it says."""
    result, found = own("-k", "small-head or 24", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    detail = f"a head of width 16 is too wide {WAY_OUT.format('small-head')}"
    assert found["contracts"] == {"small-head": {"verdict": "fail", "detail": detail, "warned": [], "attempts": []}}
    assert found["settings"][LARGER]["detail"] == pointer("own", "small-head")


def test_a_soft_contract_of_the_user_s_own_warns(own):
    """Unless the command line asks for more; it is known there by its name."""
    result, found = own("-k", "small-head or 24", hard=False)
    result.assert_outcomes(passed=2, deselected=13, warnings=1)
    assert found["contracts"]["small-head"]["warned"] == ["a head of width 16 is too wide"]


def test_options_know_a_contract_of_the_user_s_own(own):
    """Its mode can be set like any other's."""
    result, found = own("-k", "small-head", "--mad-contract=small-head=off:later")
    result.assert_outcomes(skipped=1, deselected=14)
    assert found["contracts"]["small-head"]["detail"] == "switched off: later"


@pytest.mark.parametrize("name", ["my contract", "a[b]", "a::b", ""])
def test_a_name_that_node_ids_cannot_bear_is_refused(registry, name):
    """As an architecture's is."""
    with pytest.raises(ValueError, match="letters, digits"):
        base.register_contract(name)(lambda subject: None)


def test_two_contracts_of_one_name_are_refused(registry):
    """Also where the functions have one name too."""

    def output(subject):
        raise AssertionError("never called")

    output.__qualname__ = "output"
    with pytest.raises(ValueError, match="'output' is already registered"):
        base.register_contract("output")(output)


# -- users' own tests ------------------------------------------------------------------------------------------------


def test_mad_result_fails_with_the_contract_s_reason(suite, project):
    """The same path as the suite's items: nothing is trained, and the assertion explains itself."""
    project.pytester.syspathinsert()
    source = """
    import pytest
    from kinds import {model}

    @pytest.fixture
    def mad_model():
        return {model}

    @pytest.mark.mad(tasks=["memorization"])
    def test_score(mad_result):
        assert mad_result.passed, mad_result.explain()
    """
    project.write(test_own=textwrap.dedent(source).format(model="Mixed"))
    result, found = suite(options=["test_own.py"])
    result.assert_outcomes(failed=2)
    reason = "fail: contract batch-independence is broken: alone and as sequence 0 of 2"
    result.stdout.fnmatch_lines([f"E *Mixed, {name.replace('[', '[[]')}: {reason}*" for name in (MEMORIZATION, LARGER)])
    assert all(s["trials"] == [] for s in found["Mixed"]["settings"].values())

    off = "--mad-contract=batch-independence=off:a test"
    suite(options=["test_own.py", off])[0].assert_outcomes(passed=2)
