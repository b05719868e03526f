"""``pytest-mad plan --power``: which slowdowns a comparison with a baseline would find."""

from __future__ import annotations

import json

import pytest

from pytest_mad.cli import main


def run(capsys, *arguments):
    code = main(["plan", *arguments])
    return code, *capsys.readouterr()


def test_a_row_per_setting_and_one_for_all(capsys):
    code, out, err = run(capsys, "--power", "--baseline=deltanet")
    assert (code, err) == (0, "")
    title, head, *rows = out.splitlines()
    assert title == "deltanet (6 settings of deltanet)"
    assert head.split() == ["seeds", "steps", "sigma", "1.5x", "2x", "3x"]
    assert len(rows) == 7
    for row in rows[:-1]:
        name, seeds, steps, sigma, *found = row.split()
        assert name.endswith("[baseline]")
        assert int(seeds) == 16
        assert int(steps) > 0
        assert 0 <= float(sigma) < 1
        assert float(found[0]) <= float(found[1]) + 0.02 <= float(found[2]) + 0.04
    assert rows[-1].strip().startswith("all settings")


def test_a_file_of_ones_own(capsys, tmp_path, monkeypatch):
    """With too few seeds there is no verdict on speed, and so no power."""
    monkeypatch.chdir(tmp_path)
    entry = {
        "preset": "smoke", "params": {}, "task_version": 1, "recipe": "", "torch": "2.13", "device": "cpu",
        "first_seed": 0, "scores": [1.0], "mark": 0.9, "steps": [10], "seconds_per_step": None, "first": None,
    }  # fmt: skip
    table = {"architectures": {"mine": {"memorization[baseline]": entry}}, "schema": 2}
    (tmp_path / "b.json").write_text(json.dumps(table))
    code, out, err = run(capsys, "--power", "--baseline=b.json")
    assert (code, out) == (2, "")
    assert err.startswith("pytest-mad plan: error: --baseline=b.json: mine, memorization[baseline] was recorded with")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--power", "--baseline=nope.json"], "--baseline=nope.json: there is no such file"),
        (
            ["--power", "--baseline=deltanet", "--preset=smoek"],
            "--preset: unknown preset 'smoek'; did you mean 'smoke'",
        ),
        (["--power", "--baseline=deltanet", "--preset=ci"], "--baseline=deltanet: deltanet, "),
    ],
)
def test_wrong_input_is_one_line(capsys, arguments, says):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
