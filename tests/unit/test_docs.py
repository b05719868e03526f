"""What the documentation says is true: of the layers, of options and commands, and of the workflows to copy."""

from __future__ import annotations

import re
import shlex
import textwrap
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from pytest_mad.cli import make_parser
from pytest_mad.layers import build_layer, layer_names
from pytest_mad.suite.option_table import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
LENGTH = 128
ROWS = re.findall(
    r"^\| (`.*?) \| (.*?) \| (.*?) \|",
    PAGES["layers.md"],
    re.MULTILINE,
)
STATED = {name: (state, parameters) for names, state, parameters in ROWS for name in re.findall(r"`(.*?)`", names)}


def test_every_layer_is_in_the_table() -> None:
    assert set(STATED) == set(layer_names())


@pytest.mark.parametrize("name", STATED)
def test_state_and_parameters_of_the_table(name: str) -> None:
    state, parameters = STATED[name]
    layer = build_layer(name, dim=128, max_length=LENGTH)
    size = layer.state_size()
    assert state == ("grows" if size is None else f"{size:,}")
    fixed, _, per_position = parameters.replace(",", "").partition(" + ")
    expected = int(fixed) + (int(per_position.removesuffix(" L")) * LENGTH if per_position else 0)
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected


# -- options and commands ---------------------------------------------------------------------------------------------

KNOWN = {option.flag: option for option in OPTIONS}
(COMMANDS,) = (list(action.choices) for action in make_parser()._actions if isinstance(action.choices, dict))


@pytest.mark.parametrize("name", PAGES)
def test_every_option_that_is_named_exists(name: str) -> None:
    assert set(re.findall(r"--mad-[a-z-]*[a-z]", PAGES[name])) <= set(KNOWN)


def test_every_option_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`--mad-.*?`) \| ", PAGES["README.md"], re.MULTILINE)
    assert sorted(flag for row in rows for flag in re.findall(r"--mad-[a-z-]*[a-z]", row)) == sorted(KNOWN)


def own_commands(page: str) -> list[str]:
    """Command lines of ``pytest-mad`` on a page: in the text, in tables, and in blocks."""
    blocks = re.findall(r"^```.*?^```", page, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"`(pytest-mad\s[^`]+)`", text) + re.findall(r"^    (pytest-mad .+)$", text, re.MULTILINE)
    for block in blocks:
        found += re.findall(r"^\s*(?:- )?(?:run: )?(pytest-mad .+)$", block, re.MULTILINE)
    return [" ".join(line.split()) for line in found]


OWN_COMMANDS = [(name, line) for name, page in PAGES.items() for line in own_commands(page)]


@pytest.mark.parametrize(("name", "line"), OWN_COMMANDS)
def test_every_command_line_of_pytest_mad_is_right(name: str, line: str) -> None:
    _, command, *words = shlex.split(line)
    assert command in COMMANDS
    if words:  # otherwise perhaps only its name
        make_parser().parse_args([command, *words])


def test_command_lines_of_pytest_mad_are_found_wherever_they_stand() -> None:
    page = """
See `pytest-mad list` and `pytest-mad
compare a.json b.json`, which `pip install pytest-mad` brings.

    pytest-mad store

| `pytest-mad list --preset=NAME\\|FILE.toml` | a row |

```yaml
      - run: pytest-mad merge shard-*.json
    - pytest-mad merge one.json
    - pip install pytest-mad
```
"""
    assert own_commands(page) == [
        "pytest-mad list",
        "pytest-mad compare a.json b.json",
        r"pytest-mad list --preset=NAME\|FILE.toml",
        "pytest-mad store",
        "pytest-mad merge shard-*.json",
        "pytest-mad merge one.json",
    ]


def test_every_command_is_in_the_table() -> None:
    rows = re.findall(r"^\| `pytest-mad (\w+) ", PAGES["README.md"], re.MULTILINE)
    assert rows == COMMANDS


# -- workflows --------------------------------------------------------------------------------------------------------

BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGES["ci.md"], re.MULTILINE | re.DOTALL)
#: Actions that stand in a workflow, and the major version whose documentation was read for it.
ACTIONS = {
    "actions/checkout": "v7",
    "actions/setup-python": "v7",
    "actions/upload-artifact": "v7",
    "actions/download-artifact": "v8",
    "actions/cache/restore": "v5",
    "actions/cache/save": "v5",
    "benchmark-action/github-action-benchmark": "v1",
}


def parsed(block: str) -> dict | list:
    """YAML 1.1 reads the key ``on`` as true."""
    return yaml.safe_load(textwrap.dedent(block))


def workflows() -> dict[str, dict]:
    """GitHub's, by name."""
    found = (parsed(block) for block in BLOCKS)
    return {one["name"]: one for one in found if isinstance(one, dict) and "jobs" in one}


def steps() -> list[dict]:
    """Of all workflows, and those that are shown alone."""
    alone = [step for block in BLOCKS if isinstance(one := parsed(block), list) for step in one]
    return alone + [step for flow in workflows().values() for job in flow["jobs"].values() for step in job["steps"]]


def test_every_yaml_block_of_the_documentation_is_yaml() -> None:
    for text in PAGES.values():
        for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            assert parsed(block)
    assert list(workflows()) == ["mad", "mad matrix", "mad nightly", "mad baseline", "mad charts"]


def own_steps() -> list[dict]:
    """Of this repository's own workflows."""
    flows = [parsed(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/workflows/*.yml")]
    assert flows
    return [step for flow in flows for job in flow["jobs"].values() for step in job["steps"]]


def test_every_step_is_an_action_of_a_known_version_or_a_command() -> None:
    for step in steps() + own_steps():
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"uses", "run", "with", "env", "if", "continue-on-error"}
        if "uses" in step:
            action, _, version = step["uses"].partition("@")
            assert ACTIONS[action] == version


def commands() -> list[str]:
    """Every command line of a workflow that starts pytest."""
    lines = [step["run"] for step in steps() if "run" in step]
    gitlab = [one for one in map(parsed, BLOCKS) if isinstance(one, dict) and "jobs" not in one]
    lines += [line for one in gitlab for job in one.values() for line in job.get("script", ())]
    return [filled(line) for line in lines if re.match(r"(\.venv/bin/)?pytest ", line)]


#: What a CI puts in the place of its variables, in the second job of a matrix of four.
VARIABLES = {
    "${{ matrix.shard }}": "2",
    "${{ strategy.job-total }}": "4",
    "$CI_NODE_INDEX": "2",
    "$CI_NODE_TOTAL": "4",
}


def filled(line: str) -> str:
    for name, value in VARIABLES.items():
        line = line.replace(name, value)
    assert "$" not in line
    return line


def test_every_option_in_a_workflow_has_a_value_that_it_takes() -> None:
    assert len(commands()) == 11
    for command in commands():
        given = re.findall(r"(--mad-[a-z-]+)(?:=(\S+))?", command)
        assert given and "\n" not in command.strip()
        for flag, text in given:
            KNOWN[flag].parse(text)


def test_a_matrix_has_as_many_jobs_as_shards_and_its_files_are_merged() -> None:
    """Each job runs its own part, and the pattern finds what they write."""
    jobs = workflows()["mad matrix"]["jobs"]
    assert jobs["shard"]["strategy"]["matrix"] == {"shard": [1, 2, 3, 4]} and jobs["merge"]["needs"] == "shard"
    gitlab = next(one for one in map(parsed, BLOCKS) if "mad shard" in one)
    assert gitlab["mad shard"]["parallel"] == 4 and gitlab["mad merge"]["needs"] == ["mad shard"]
    shards = [line for line in commands() if "--mad-shard=2/4 " in line]
    assert len(shards) == 2 and all(" --mad-json=shard-2.json" in line for line in shards)
    blocks = "".join(f"```yaml\n{block}```\n" for block in BLOCKS)
    merges = [make_parser().parse_args(shlex.split(line)[1:]) for line in own_commands(blocks)]
    assert len(merges) == 2 and all(fnmatch("shard-2.json", pattern) for one in merges for pattern in one.files)


def test_a_job_that_may_write_runs_no_code_of_the_project() -> None:
    """And a pull request gets no job that may write."""
    for name, flow in workflows().items():
        for job in flow["jobs"].values():
            permissions = job.get("permissions", flow["permissions"])
            if "write" in permissions.values():
                assert "pull_request" not in flow[True]
                assert not any(re.search(r"pip|pytest|python", step.get("run", "")) for step in job["steps"])
            else:
                assert permissions == {"contents": "read"}
            assert job["timeout-minutes"], name
            readers = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
            assert len(readers) == 1 or (not readers and name == "mad matrix")  # a merge needs no code
            for reader in readers:
                assert "write" in permissions.values() or reader["with"] == {"persist-credentials": False}
        assert "pull_request_target" not in flow[True] and "secrets." not in str(flow)
