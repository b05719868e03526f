"""Reading a result file: what was written is read as it was, and anything else is refused in one line."""

from __future__ import annotations

import copy
import json
import os
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_mad.common.files import FileError, json_text
from pytest_mad.common.records import MOST_ENTRIES, MOST_LEVELS, MOST_NAMES
from pytest_mad.report.comparison import lines
from pytest_mad.results.compare import compare
from pytest_mad.results.result_file import read_results, to_json
from tests.oracles.parameters import steady
from tests.oracles.result_files import content, contents, contract, measured, run

SETTING = "memorization[baseline]"
fuzzed = settings(steady, max_examples=200)


def read(data):
    """Read a file of these bytes, or of this content; nothing but that file is there afterwards, as it was."""
    if isinstance(data, dict):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.json")
        path.write_bytes(data)
        try:
            return to_json(read_results(path))
        finally:
            assert os.listdir(folder) == ["results.json"] and path.read_bytes() == data


def outcome(data):
    """What was read, and can be compared and printed; or the one line that refuses it."""
    try:
        found = read(data)
    except FileError as refused:
        (line,) = str(refused).splitlines()
        assert line.isprintable() and len(line) < 1000 and "results.json" not in line
        return None, line
    assert all(line.text.isprintable() for line in lines(compare(run(found), run(found)), ("a", "b"), verbosity=1))
    return found, ""


def refusal(data):
    """The line that a file is refused with."""
    found, line = outcome(data)
    assert found is None
    return line


def plain(content):
    """As JSON gives it back."""
    return json.loads(json_text(content))


def sample():
    """A file with something of everything."""
    line = {"source": "main.json", "architecture": "mine", "seeds": 10, "lowest": 0.99, "margin": 0.03}
    judged = measured("compression[x=1]", 0.98, baseline={**line, "floor": 0.96, "most_seeds": 4}, state_size=64)
    unfinished = measured("memorization[vocab_size=32]", None, verdict="error", detail="out of time")
    shards = [{"suite": "00ff", "of": 4, "parts": [1, 3]}]
    return plain(content(measured(SETTING, 1.0, threshold=0.9), judged, unfinished, contract("output"), shards=shards))


def changed(*path, to):
    """The sample with the value at a path replaced."""
    found = sample()
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return found


# -- what is right --------------------------------------------------------------------------------------------------


@steady
@given(contents())
def test_what_a_run_writes_is_read_as_it_was(written):
    """Every key, in the form that `result_file` gives: a key that is new there must be in the reader's table too."""
    text = json_text(written)
    assert read(text) == json.loads(text)


def as_schema_2(found):
    """What the version before this one would have written: nothing of steps to a mark."""
    for one in found["architectures"].values():
        for setting in one["settings"].values():
            for key in ("mark", "steps", "pace", "slower", "seconds_per_step"):
                del setting[key]
    return found | {"schema": 2}


def as_read_from_schema_2(found):
    """The same without what that version did not write."""
    for one in found["architectures"].values():
        for setting in one["settings"].values():
            setting |= {"mark": None, "steps": [], "pace": None, "slower": "fail", "seconds_per_step": None}
    return found


@steady
@given(contents())
def test_a_file_of_schema_2_is_read_as_one_of_today(written):
    """It knew no steps to a mark."""
    assert read(as_schema_2(plain(written))) == as_read_from_schema_2(plain(written))


def as_schema_1(found):
    """What the first version would have written."""
    found = as_schema_2(found)
    del found["preset_tasks"]
    for one in found["architectures"].values():
        one["mad_score"] = one.pop("mad_score_accuracy")
        del one["mad_score_compat"]
        for setting in one["settings"].values():
            del setting["metric"], setting["parameters"]
            if setting["baseline"]:
                setting["baseline"]["line"] = setting["baseline"].pop("floor")
        for checked in one["contracts"].values():
            for warned in checked.pop("warned"):
                checked["detail"] = f"warning: {warned}"
    return found | {"schema": 1}


def as_read_from_schema_1(found):
    """The same without what that version did not write: what the whole preset has, by which metric its recipes score, and
    how many parameters the model of each setting has. Its MAD score was plain accuracy's, whatever the recipe.
    """
    found = as_read_from_schema_2(found)
    for one in found["architectures"].values():
        one |= {"mad_score": one["mad_score_accuracy"], "mad_score_compat": None}
        for setting in one["settings"].values():
            setting |= {"metric": "accuracy", "parameters": None}
    return found | {"preset_tasks": {}}


@steady
@given(contents())
def test_a_file_of_schema_1_is_read_as_one_of_today(written):
    """Floors were lines, and warnings were passes with a text that began so."""
    assert read(as_schema_1(plain(written))) == as_read_from_schema_1(plain(written))


def test_files_of_schema_1_know_no_attempts():
    """Of settings and of contracts: they get an empty list."""
    found = as_schema_1(sample())
    for table in ("settings", "contracts"):
        for one in found["architectures"]["mine"][table].values():
            del one["attempts"]
    read_back = read(found)["architectures"]["mine"]
    assert all(one["attempts"] == [] for table in ("settings", "contracts") for one in read_back[table].values())


@pytest.mark.parametrize(("key", "default"), [("scores", []), ("recipe", ""), ("tolerant", False), ("note", "")])
def test_keys_that_the_first_files_of_schema_1_did_not_have_get_a_default(key, default):
    """In settings; and the command, the shards and the end of the whole file. Today they must be there."""
    found = as_schema_1(sample())
    for setting in found["architectures"]["mine"]["settings"].values():
        del setting[key]
    assert all(s[key] == default for s in read(found)["architectures"]["mine"]["settings"].values())
    for name, empty in (("command", ""), ("shards", []), ("cut_short", False)):
        del found[name]
        assert read(found)[name] == empty
    assert refusal(found | {"schema": 2, "preset_tasks": {}}) == "the file has no 'command'"


def test_a_key_of_today_in_a_file_of_schema_1_is_refused():
    """The upgrade must not write over it."""
    found = as_schema_1(sample())
    found["architectures"]["mine"]["contracts"]["output"]["warned"] = []
    assert refusal(found) == "architectures.mine.contracts.output has an unknown key 'warned'"
    found = as_schema_1(sample())
    found["architectures"]["mine"]["settings"][SETTING]["metric"] = "compat"
    assert refusal(found) == "architectures.mine.settings[\"memorization[baseline]\"] has an unknown key 'metric'"
    found = as_schema_1(sample())
    assert refusal(found | {"preset_tasks": {}}) == "the file has an unknown key 'preset_tasks'"
    found["architectures"]["mine"]["mad_score_compat"] = 0.5
    assert refusal(found) == "architectures.mine has an unknown key 'mad_score_compat'"
    found = as_schema_1(sample())
    found["architectures"]["mine"]["settings"]["compression[x=1]"]["baseline"]["floor"] = 0.9
    assert refusal(found) == "architectures.mine.settings[\"compression[x=1]\"].baseline has an unknown key 'floor'"


def test_a_byte_order_mark_is_no_part_of_a_file():
    """Editors on Windows write one."""
    assert read("\ufeff" + json.dumps(sample())) == sample()


@pytest.mark.parametrize("detail", ["\x1b[31mred\x1b[0m", "<script>", "naïve \ud800", "a\nb", "\x00"])
def test_a_reason_may_hold_anything(detail):
    """It is a user's exception that says it. What prints it makes it printable."""
    found = changed("architectures", "mine", "settings", SETTING, "detail", to=detail)
    found, _ = outcome(found)
    assert found["architectures"]["mine"]["settings"][SETTING]["detail"] == detail


# -- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("schema",), 4, "schema is 4, but must be 1 or 2 or 3"),
        (("schema",), 0, "schema is 0, but must be 1 or 2 or 3"),
        (("schema",), True, "schema is True, but must be 1 or 2 or 3"),
        (("schema",), 2.0, "schema is 2.0, but must be 1 or 2 or 3"),
        (("preset",), None, "preset is None, but must be text"),
        (("architectures",), [], "architectures is [], but must be an object"),
        (("architectures", "a b"), {}, "architectures has the name 'a b', but names have letters, digits and _.- only"),
        (("architectures", "<script>"), {}, "architectures has the name '<script>', but names have letters"),
        (("architectures", ""), {}, "architectures has the name '', but names have letters"),
        (("architectures", "a.b"), {}, "architectures[\"a.b\"] has no 'parameters'"),
        (("architectures", "mine"), 3, "architectures.mine is 3, but must be an object"),
        (("environment", "torch"), 2.13, "environment.torch is 2.13, but must be text"),
    ],
)
def test_one_line_says_what_is_wrong_and_where(path, value, says):
    """By the keys that lead to the value."""
    assert refusal(changed(*path, to=value)).startswith(says)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("accuracy",), "x", ".accuracy is 'x', but must be a number from 0 to 1"),
        (("accuracy",), 1.0001, ".accuracy is 1.0001, but must be a number from 0 to 1"),
        (("accuracy",), True, ".accuracy is True, but must be a number from 0 to 1"),
        (("oracle",), -1, ".oracle is -1, but must be a number from 0 to 1"),
        (("oracle",), None, ".oracle is None, but must be a number from 0 to 1"),
        (("threshold",), 2, ".threshold is 2, but must be a number from 0 to 1"),
        (("normalized",), 10**400, ".normalized is 1000"),
        (("normalized",), None, ".normalized is None, but must be a number where accuracy is"),
        (("verdict",), "passed", ".verdict is 'passed', but must be 'pass' or 'fail' or"),
        (("verdict",), ["pass"], ".verdict is ['pass'], but must be 'pass' or"),
        (("task",), "compression", ".task is 'compression', but must be 'memorization'"),
        (("task_version",), 1.5, ".task_version is 1.5, but must be a whole number of at least 0"),
        (("params",), [], ".params is [], but must be an object"),
        (("params", "odd"), [[[[[]]]]], ".params.odd[0][0][0] is [[]], but must be nested less deeply"),
        (("detail",), 0, ".detail is 0, but must be text"),
        (("tolerant",), 0, ".tolerant is 0, but must be true or false"),
        (("baseline",), {}, ".baseline has no 'source'"),
        (("scores", 0), [0], ".scores[0] is [0], but must be [seed, score]"),
        (("scores", 0), [0, 0.5, 1], ".scores[0] is [0, 0.5, 1], but must be [seed, score]"),
        (("scores", 0, 0), 0.5, ".scores[0][0] is 0.5, but must be a whole number of at least 0"),
        (("scores", 0, 1), None, ".scores[0][1] is None, but must be a number from -1000 to 1000"),
        (("best", "lr"), -1, ".best.lr is -1, but must be a number from 0 to 1e+15"),
        (("trials",), {}, ".trials is {}, but must be a list"),
        (("trials", 0, "stopped"), "bored", ".trials[0].stopped is 'bored', but must be 'solved' or"),
        (("trials", 0, "curve", 1), [20, 1.5], ".trials[0].curve[1][1] is 1.5, but must be a number from 0 to 1"),
        (("seconds",), -1, ".seconds is -1, but must be a number from 0 to 1e+15"),
    ],
)
def test_so_does_it_in_a_setting(path, value, says):
    """The setting's id stands in quotes, as in the file."""
    at = ("architectures", "mine", "settings", SETTING)
    assert refusal(changed(*at, *path, to=value)).startswith(f'architectures.mine.settings["{SETTING}"]{says}')


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ((), "the file has an unknown key 'presets'; did you mean 'preset'?"),
        (("environment",), "environment has an unknown key 'presets'; known: torch, python, device, plugin"),
        (("architectures", "mine"), "architectures.mine has an unknown key 'presets'; "),
        (("architectures", "mine", "contracts", "output"), "architectures.mine.contracts.output has an unknown key"),
        (
            ("architectures", "mine", "settings", SETTING),
            f"architectures.mine.settings[\"{SETTING}\"] has an unknown key 'presets'; did you mean 'parameters'?",
        ),
        (
            ("architectures", "mine", "settings", SETTING, "trials", 0),
            f'architectures.mine.settings["{SETTING}"].trials[0] has',
        ),
    ],
)
def test_a_key_that_nobody_knows_is_refused_where_it_stands(path, says):
    """A slip of the pen, or a file of another program: what it says would be lost."""
    assert refusal(changed(*path, "presets", to=[[[[[[{}]]]]]])).startswith(says)


@pytest.mark.parametrize("key", ["architecture", "setting", "preset", "preset_tasks", "state_size"])
def test_what_stands_above_a_setting_stands_there_alone(key):
    assert f"has an unknown key {key!r}" in refusal(changed("architectures", "mine", "settings", SETTING, key, to="x"))


@pytest.mark.parametrize("name", ["memorization", "memorization[]", "[x]", "a[b][c]", "memorization[a\n]", "a[b", ""])
def test_settings_have_an_id_of_the_grid(name):
    """A task, and in brackets what differs."""
    one = sample()["architectures"]["mine"]["settings"][SETTING]
    line = refusal(changed("architectures", "mine", "settings", name, to=one))
    assert line.startswith(f"architectures.mine.settings has the name {name!r}, but settings are named task[baseline]")


@pytest.mark.parametrize("verdict", ["pass", "regress", "inconclusive"])
def test_there_is_no_such_verdict_without_a_score(verdict):
    """A file that claims it was not written by a run."""
    line = refusal(changed("architectures", "mine", "settings", "memorization[vocab_size=32]", "verdict", to=verdict))
    assert line.endswith(f".verdict is '{verdict}', but must be error, fail or skipped where there is no score")
    alone = changed("architectures", "mine", "settings", SETTING, "accuracy", to=None)
    assert refusal(alone).endswith(".normalized is 1.0, but must be null where accuracy is")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{", "is not JSON: Expecting property name"),
        ("[]", "holds a list, but must hold an object"),
        ("null", "holds a NoneType, but must hold an object"),
        ("{}", "the file has no 'schema'"),
        ('{"schema": 1}', "the file has no 'preset'"),
        ('{"schema": 4, "results": []}', "schema is 4, but must be 1 or 2 or 3"),
        ('{"schema": 3, "results": []}', "the file has an unknown key 'results'; did you mean 'preset'?"),
        ('{"schema": NaN}', "has the number NaN"),
        ('{"schema": 1, "x": 1e999}', "has the number 1e999, which is not finite"),
        ('{"schema": 1, "schema": 1}', "has the key 'schema' twice"),
        ('{"schema": ' + "[" * 100_000, "is nested too deeply"),
        (b"\x00\xff\xfe", "is not JSON: 'utf-8' codec can't decode"),
        (b"PK\x03\x04", "is not JSON: Expecting value"),
    ],
)
def test_other_files_are_refused(data, says):
    """Empty, cut off, of another kind, or not of this world."""
    assert refusal(data).startswith(says)


def test_whoever_is_no_file_is_refused(tmp_path):
    """In words of the operating system."""
    for path, says in ((tmp_path, "Is a directory"), (tmp_path / "missing", "No such file or directory")):
        with pytest.raises(FileError, match=f"^cannot be read: {says}$"):
            read_results(path)


class Bomb:
    """What a pickle may do when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "exploded"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_file_is_run(tmp_path, protocol):
    """A pickle is bytes like any others, alone and in text."""
    victim = tmp_path / "victim"
    data = pickle.dumps(Bomb(victim), protocol)
    assert refusal(data).startswith("is not JSON")
    assert read(changed("architectures", "mine", "settings", SETTING, "detail", to=data.decode("latin1")))
    assert not victim.exists()
    pickle.loads(data)
    assert victim.exists()  # it would have


# -- how much -------------------------------------------------------------------------------------------------------


def in_setting(*path, to):
    return changed("architectures", "mine", "settings", SETTING, *path, to=to)


MANY = {
    "architectures": lambda n: changed("architectures", to={f"a{i}": {} for i in range(n)}),
    "settings": lambda n: changed("architectures", "mine", "settings", to={f"a[{i}]": {} for i in range(n)}),
    "contracts": lambda n: changed("architectures", "mine", "contracts", to={f"a{i}": {} for i in range(n)}),
    "task_scores": lambda n: changed("architectures", "mine", "task_scores", to={f"a{i}": 1 for i in range(n)}),
    "params": lambda n: in_setting("params", to={f"a{i}": i for i in range(n)}),
    "scores": lambda n: in_setting("scores", to=[[i, 0.5] for i in range(n)]),
    "trials": lambda n: in_setting("trials", to=[{}] * n),
    "curve": lambda n: in_setting("trials", 0, "curve", to=[[i, 0.5] for i in range(n)]),
}


@pytest.mark.parametrize("what", MANY)
def test_more_entries_than_any_run_writes_are_refused_by_their_number(what):
    """Before any of them is looked at."""
    most = MOST_ENTRIES if what in ("scores", "trials", "curve") else MOST_NAMES
    assert refusal(MANY[what](most + 1)).endswith(f" has {most + 1:,} entries, but may have {most:,} at most")


@pytest.mark.parametrize("what", ["architectures", "curve"])
def test_a_million_entries_are_refused(what):
    """Most of which JSON itself takes."""
    data = json.dumps(MANY[what](1_000_000))
    assert " has 1,000,000 entries, " in refusal(data)


def test_a_million_points_over_many_trials_are_read():
    """Each of its lists is in order."""
    found = sample()
    trials = found["architectures"]["mine"]["settings"][SETTING]["trials"]
    trials[0]["curve"] = [[i, 0.5] for i in range(MOST_ENTRIES)]
    trials *= 10
    data = json.dumps(found)
    assert read(data) == found


def test_limits_are_what_they_say():
    """The last that is read."""
    assert read(in_setting("params", to={f"a{i}": i for i in range(MOST_NAMES)}))
    assert read(in_setting("scores", to=[[i, 0.5] for i in range(MOST_ENTRIES)]))
    nested = json.loads("[" * MOST_LEVELS + "]" * MOST_LEVELS)
    assert "nested less deeply" in refusal(in_setting("params", "deep", to=nested))
    assert read(in_setting("params", "deep", to=nested[0]))


def test_a_long_value_makes_no_long_line():
    """Nor does a long name, on the way or at the end of it."""
    long = "x" * 100_000
    assert len(refusal(in_setting("verdict", to=long))) < 300
    assert len(refusal(in_setting("verdict", to=[[long] * 10] * 10))) < 300
    assert len(refusal(changed("architectures", long, to=3))) < 300
    assert len(refusal(changed("architectures", f" {long}", to=3))) < 300
    assert len(refusal(changed("architectures", "mine", "settings", f"{long}[x]", to=3))) < 300


# -- anything -------------------------------------------------------------------------------------------------------

_plain_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_values = st.recursive(
    _plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """The paths of all values in plain data."""
    yield path
    for key, inner in enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*path, key))


def at(found, path):
    for key in path:
        found = found[key]
    return found


@st.composite
def mutated(draw):
    """A result file's content with a few values deleted, replaced, renamed or nested."""
    found = plain(draw(contents()))
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in places(found) if path]
        *inside, key = draw(st.sampled_from(paths))
        place = at(found, inside)
        how = draw(st.sampled_from(["delete", "replace", "nest", "rename"]))
        value = place.pop(key)
        if how == "rename" and isinstance(place, dict):
            place[draw(st.text(max_size=8))] = value
        elif how != "delete":
            new = draw(_values) if how == "replace" else draw(st.sampled_from([[value], {"x": value}]))
            place.insert(key, new) if isinstance(place, list) else place.update({key: new})
    return found


@fuzzed
@given(mutated())
def test_a_changed_file_is_read_or_refused(found):
    """Never anything else, and what is read is again what reads as itself."""
    again, _ = outcome(found)
    assert again is None or read(again) == again


@fuzzed
@given(contents(), st.data())
def test_a_damaged_file_is_read_or_refused(written, data):
    """Cut off anywhere, or with bytes flipped."""
    damaged = bytearray(json_text(written).encode())
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    for _ in range(data.draw(st.integers(0, 4)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    outcome(bytes(damaged))


@fuzzed
@given(st.binary(max_size=200) | _values.map(json.dumps) | st.text(max_size=200))
def test_any_bytes_are_refused(data):
    """No random file is a result file."""
    refusal(data)


JSON_TYPES = {
    bool: "flag",
    int: "number",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
    type(None): "null",
}
STRANGE = [True, 7, "strange", ["strange"], {"strange": 1}]


def test_every_value_of_another_type_is_refused_by_its_place():
    """Exhaustively over the sample, the parameters apart, which are the task's own."""
    paths = [path for path in places(sample()) if path and "params" not in path]
    checked = 0
    for path in paths:
        value = at(sample(), path)
        for strange in STRANGE:
            if JSON_TYPES[type(strange)] == JSON_TYPES[type(value)]:
                continue
            found, line = outcome(changed(*path, to=copy.deepcopy(strange)))
            if value is None and found:  # what is nullable may be a number
                continue
            last = path[-1] if isinstance(path[-1], str) else f"[{path[-1]}]"
            assert str(last) in line or json.dumps(last) in line
            checked += 1
    assert checked > 300


def test_every_key_that_is_missing_is_named():
    """Exhaustively over the sample, but for names that users choose."""
    free = {"mine", "output"}
    for path in places(sample()):
        if not path or not isinstance(path[-1], str) or "params" in path or path[-1] in free or "[" in path[-1]:
            continue
        if "task_scores" in path[:-1]:
            continue
        found = sample()
        del at(found, path[:-1])[path[-1]]
        assert refusal(found).endswith(f"has no {path[-1]!r}")
