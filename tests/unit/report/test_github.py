"""GitHub's job summary and annotations: what they tell, in how much room, and that no text breaks out of its place."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.gate import Floor
from pytest_mad.report import github
from pytest_mad.report.github import Place, append_summary, error_commands, job_summary, place
from pytest_mad.results.result import ContractResult, SettingResult
from pytest_mad.results.result_file import run_of
from tests.oracles.parameters import steady

#: Whatever has a meaning in Markdown, HTML, GitHub's links or a workflow command; and any other text.
SIGNS = """| \\ ` ``` <b> </td> <!-- &lt; &#124; @user a@b.example https://a.example www.a.example _www.a.example #12 GH-3
mailto:a@b.example me/it#4 [a](b) ![i](u) ** _x_ ~~ $x$ :tada: --- ::error:: :: % %0A , = é"""
UNSEEN = ["\n", "\r\n", "- ", "# ", "\x00", "\x1b[31m", "\u2028", "\u202e", "\ud800", "\u200b"]
OUTSIDE = st.lists(st.sampled_from(SIGNS.split() + UNSEEN) | st.text(max_size=3), max_size=12).map("".join)


def record(setting="memorization[baseline]", score=1.0, architecture="mine", verdict="pass", **changes):
    """A finished setting, or one without a score."""
    accuracy = None if score is None else (1 + score) / 2
    return SettingResult(
        architecture=architecture,
        setting=setting,
        task=setting.partition("[")[0],
        task_version=1,
        params={},
        preset="tiny",
        verdict=verdict,
        accuracy=accuracy,
        accuracy_compat=accuracy,
        sequence_accuracy=accuracy,
        normalized=score,
        oracle=1.0,
        trivial=0.5,
        **{"parameters": 1234, "threshold": 0.9, "seconds": 12.34} | changes,
    )


def contract(name="causality", verdict="pass", detail="", architecture="mine"):
    """A pass with a reason is a contract that warns."""
    warned = (detail,) if verdict == "pass" and detail else ()
    said = "" if warned else detail
    return ContractResult(architecture=architecture, contract=name, verdict=verdict, detail=said, warned=warned)


def content(*records, contracts=(), command="pytest --mad-arch=mine:make_model"):
    return run_of(records, "tiny", contracts, command)


def failed(score=0.5, **changes):
    return record(score=score, verdict="fail", **{"detail": f"normalised score {score} is below 0.9"} | changes)


def plain(markdown):
    """What a reader sees of a line, or of all."""
    return html.unescape(markdown).replace("\u200b", "")


def rows(markdown):
    """The cells of all rows of tables, as a reader sees them, heads included; rules not."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[plain(cell.strip().strip("*")) for cell in line.strip("|").split("|")] for line in lines]


# -- the summary ------------------------------------------------------------------------------------------------------


def test_failures_come_first_then_a_table_per_architecture_then_where_from():
    found = content(
        record(architecture="good"),
        failed(architecture="bad", setting="compression[vocab_size=32]", score=0.4999),
        record(architecture="bad", setting="selective-copying[baseline]"),
        command="pytest --mad-arch=good:make_model --mad-arch=bad:make_model",
    )
    text = job_summary(found)
    places = [text.index(part) for part in ("## MAD: 1 of 2 architectures fails\n", "| why |", "### bad", "### good")]
    places += [text.index("preset tiny, torch"), text.index("```sh\npytest --mad-arch=good")]
    assert places == sorted(places)
    reason = "normalised score 0.4999 is below 0.9"
    assert rows(text) == [
        ["architecture", "failing", "verdict", "score", "needed", "why"],
        ["bad", "compression[vocab_size=32]", "fail", "0.499", "0.900", reason],
        ["setting", "verdict", "score", "needed", "accuracy", "trivial", "learned", "time"],
        ["compression[vocab_size=32]", "fail", "0.499", "0.900", "0.750", "0.500", "–", "12.3 s"],
        ["selective-copying", "pass", "1.000", "0.900", "1.000", "0.500", "–", "12.3 s"],
        ["setting", "verdict", "score", "needed", "accuracy", "trivial", "learned", "time"],
        ["memorization", "pass", "1.000", "0.900", "1.000", "0.500", "–", "12.3 s"],
    ]
    assert "**MAD score 0.875**, normalised 0.750; 1,234 parameters" in text


def test_a_run_without_failures_has_no_table_of_them():
    assert job_summary(content(record())).startswith("## MAD: mine passes\n\n\n### mine\n")
    both = content(record(), record(architecture="other"))
    assert job_summary(both).startswith("## MAD: all 2 architectures pass\n")


def test_a_setting_without_a_score_has_dashes_and_leaves_the_architecture_without_a_mad_score():
    text = job_summary(content(record(), record("compression[baseline]", None, verdict="error", detail="nan")))
    assert ["mine", "compression", "error", "–", "0.900", "nan"] in rows(text)
    assert "no MAD score: not every setting has a score" in text
    alone = job_summary(content(record(score=None, verdict="skipped")))
    assert alone.startswith("## MAD: mine passes\n") and "no setting has a score" in alone


def test_against_a_baseline_its_floor_is_needed_and_an_open_case_fails_unless_it_is_tolerated():
    """A tolerated one stands in its table only."""
    floor = {
        "source": "a",
        "architecture": "a",
        "seeds": 10,
        "lowest": 0.97,
        "margin": 0.03,
        "floor": 0.94,
        "most_seeds": 4,
    }
    asked = {"threshold": None, "baseline": Floor(**floor), "detail": "open"}
    strict = content(record(verdict="inconclusive", **asked))
    assert ["mine", "memorization", "inconclusive", "1.000", "0.940", "open"] in rows(job_summary(strict))
    tolerant = content(record(verdict="inconclusive", tolerant=True, **asked))
    assert job_summary(tolerant).startswith("## MAD: mine passes\n") and "| why |" not in job_summary(tolerant)
    assert "**inconclusive**" in job_summary(strict) and "| inconclusive |" in job_summary(tolerant)
    regressed = content(record(verdict="regress", **asked))
    assert job_summary(regressed).startswith("## MAD: mine fails\n")


def test_contracts_that_are_broken_or_warn_are_told_and_the_others_are_counted():
    contracts = [
        contract("output"),
        contract("causality", "fail", "position 3 sees 4"),
        contract("lengths", "pass", "length 1 raises"),
        contract("state", "skipped", "there is no step"),
        contract("gradients", "error", "no model"),
    ]
    text = job_summary(content(record(), contracts=contracts))
    assert rows(text)[1:3] == [
        ["mine", "contract causality", "fail", "", "", "position 3 sees 4"],
        ["mine", "contract gradients", "error", "", "", "no model"],
    ]
    assert "1 of 5 contracts hold; skipped: state\n- causality: **fail**: position 3 sees 4\n" in text
    assert "- lengths: **warning**: length 1 raises\n- gradients: **error**: no model\n" in text
    warned = job_summary(content(record(), contracts=[contract("lengths", "pass", "no")]))
    assert warned.startswith("## MAD: mine passes\n")


def test_an_architecture_of_which_only_contracts_were_checked_has_no_table():
    text = job_summary(content(contracts=[contract()]))
    assert "1 of 1 contracts hold" in text and rows(text) == []


# -- room -------------------------------------------------------------------------------------------------------------


def huge(architectures=10, settings=200, detail="é" * 400):
    """More than a megabyte of failures, in letters of two bytes."""
    return content(
        *(
            failed(setting=f"memorization[vocab_size={s}]", architecture=f"a{a}", detail=detail)
            for a in range(architectures)
            for s in range(settings)
        )
    )


def left_out(text):
    found = re.search(r"^\*\*([\d,]+) of ([\d,]+) rows are left out", text, re.MULTILINE)
    return tuple(int(number.replace(",", "")) for number in found.groups())


def test_a_huge_run_fits_and_says_how_much_is_left_out():
    text = job_summary(huge())
    size = len(text.encode())
    assert 2**20 - 1000 < size <= 2**20
    missing, total = left_out(text)
    shown = len(rows(text)) - text.count("| why |") - text.count("| setting |")
    assert total == 2 * 10 * 200 and shown + missing == total
    assert text.endswith("```sh\npytest --mad-arch=mine:make_model\n```\n"), "where from is always told"


WHOLE = job_summary(huge(3, 6, "too low"))


@steady
@given(st.integers(-10, len(WHOLE.encode()) + 10))
def test_any_limit_is_kept_and_what_is_shown_is_whole(limit):
    """Whole lines from the top, no head of a table or heading without what it is for, and a line about the others."""
    text = job_summary(huge(3, 6, "too low"), limit)
    assert len(text.encode()) <= max(0, limit)
    if text in (WHOLE, ""):
        return
    missing, total = left_out(text)
    body = re.split(r"\n\n\*\*\d", text)[0]
    assert WHOLE.startswith(body) and total == 36
    assert body.endswith(" |") or missing == 36
    assert missing == total - (len(rows(body)) - body.count("| why |") - body.count("| setting |"))


def test_long_texts_are_shortened():
    """One failing line of a megabyte does not push out the others."""
    found = content(failed(detail="x" * 2**20), command="pytest " + "y" * 2**20)
    text = job_summary(found)
    assert len(text) < 10_000 and text.count("…") == 2


def test_the_summary_is_appended_to_what_the_step_wrote_before(tmp_path):
    """The limit is on the file of a step, so what is there counts."""
    path = tmp_path / "summary.md"
    append_summary(str(path), content(record()))
    assert path.read_text() == job_summary(content(record()))
    path.write_text("a table |")
    append_summary(str(path), content(record()))
    assert path.read_text() == "a table |\n\n" + job_summary(content(record()))
    path.write_text("x" * (2**20 - 3000))
    append_summary(str(path), huge())
    assert path.stat().st_size <= 2**20 and "rows are left out" in path.read_text()
    path.write_text("x" * (2**20 - 10))
    append_summary(str(path), huge())
    assert path.stat().st_size == 2**20 - 10


# -- text from outside ------------------------------------------------------------------------------------------------


def visible(text):
    """Words and signs as written, but for space and what cannot be seen."""
    shown = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in shown)


@steady
@given(OUTSIDE)
def test_text_shows_what_it_is_and_has_no_meaning(text):
    """No sign that Markdown reads, and nothing that GitHub makes a link or a mention of."""
    written = github.text(text)
    signs = re.sub(r"&#\d+;", "", written)
    assert not set(signs) & set("|\\`<>&*_~[]{}!@#$^:?\n\r")
    assert plain(written) == visible(text)
    assert not re.search(r"@[a-z0-9]|#\d|:/|www\.|gh-\d", html.unescape(written), re.IGNORECASE)
    written.encode()


@steady
@given(name=OUTSIDE, setting=OUTSIDE, detail=OUTSIDE, verdict=OUTSIDE, contracted=OUTSIDE, environment=OUTSIDE)
def test_no_text_breaks_out_of_its_cell_or_line(name, setting, detail, verdict, contracted, environment):
    """The same lines, and cells in them, as with ordinary words."""

    def shape(name, setting, detail, verdict, contracted, environment):
        found = content(
            failed(architecture="x", setting="memorization[baseline]", detail=detail),
            contracts=[contract("broken", "fail", detail, architecture="x")],
        )
        architecture = found.architectures["x"]
        architecture = replace(
            architecture,
            settings={setting: replace(architecture.settings["memorization[baseline]"], verdict=verdict)},
            contracts={contracted: architecture.contracts["broken"]},
        )
        where = replace(found.environment, device=f"x{environment}")
        lines = job_summary(replace(found, architectures={name: architecture}, environment=where)).splitlines()
        return [(line.count("|"), line[:2], "<" in line, "[" in line, line.count("`")) for line in lines]

    ordinary = shape("name", "setting", "detail", "fail", "contract", "cpu")
    if verdict not in ("pass", "skipped", "inconclusive"):
        assert shape(name, setting, detail or "x", verdict, contracted, environment) == ordinary


@steady
@given(OUTSIDE)
def test_no_command_ends_its_block(command):
    """The block's fence is longer than any run of ticks in it, and every line of it stands there."""
    block = github.code_block(command)
    fence, *inside, end = block.split("\n")
    assert fence.removesuffix("sh") == end and set(end) == {"`"} and len(end) >= 3
    assert all(end not in line for line in inside)
    assert "".join(inside).replace(" ", "") == "".join(map(visible, command.split("\n"))).replace(" ", "")
    block.encode()


# -- annotations ------------------------------------------------------------------------------------------------------


def parsed(line):
    """As GitHub's runner reads a line of the log: name, properties, message; None for ordinary output."""
    command, properties, message = re.fullmatch(r"::([\w-]+) (.*?)::(.*)", line).groups()
    pairs = (pair.split("=", 1) for pair in properties.split(",") if pair)
    unescaped = {key: unescape(value, {":": "%3A", ",": "%2C"}) for key, value in pairs}
    return command, unescaped, unescape(message, {})


def unescape(value, more):
    for sign, escape in {"\r": "%0D", "\n": "%0A", **more, "%": "%25"}.items():
        value = value.replace(escape, sign)
    return value


def test_an_architecture_that_fails_has_one_annotation_at_its_factory():
    found = content(
        failed(architecture="bad"),
        failed(architecture="bad", setting="compression[baseline]"),
        failed(architecture="elsewhere"),
        record(architecture="good"),
        contracts=[contract("causality", "fail", "position 3, 100% of it", "bad"), contract(architecture="good")],
    )
    lines = error_commands(found, {"bad": Place("src/my:model,v2.py", 12), "elsewhere": None})
    assert lines[0].startswith(
        "::error file=src/my%3Amodel%2Cv2.py,line=12,title=MAD%3A bad::contract causality: fail: "
    )
    low = ": fail: normalised score 0.5 is below 0.9"
    assert [parsed(line) for line in lines] == [
        (
            "error",
            {"file": "src/my:model,v2.py", "line": "12", "title": "MAD: bad"},
            f"contract causality: fail: position 3, 100% of it\nmemorization[baseline]{low}\ncompression[baseline]{low}",
        ),
        ("error", {"title": "MAD: elsewhere"}, f"memorization[baseline]{low}"),
    ]


def test_what_passes_or_is_tolerated_has_no_annotation():
    tolerated = record("compression[baseline]", verdict="inconclusive", tolerant=True, detail="open")
    skipped = record("selective-copying[baseline]", None, verdict="skipped", detail="no bottleneck")
    contracts = [contract(), contract("lengths", "pass", "no"), contract("state", "skipped", "none")]
    assert error_commands(content(record(), tolerated, skipped, contracts=contracts), {}) == []
    assert len(error_commands(content(replace(tolerated, tolerant=False)), {})) == 1


def test_many_failing_settings_are_told_shortly():
    found = content(*(failed(setting=f"memorization[vocab_size={i}]") for i in range(9)))
    assert parsed(error_commands(found, {})[0])[2].splitlines()[5:] == ["and 4 more"]


@pytest.mark.parametrize(("count", "told"), [(10, 10), (11, 10), (40, 10)])
def test_at_most_ten_annotations_of_which_the_last_names_the_others(count, told):
    names = [f"a{i:02}" for i in range(count)]
    lines = error_commands(content(*(failed(architecture=name) for name in names)), {})
    assert len(lines) == told
    if count > 10:
        assert parsed(lines[-1])[2] == f"{count - 9} more architectures fail: {', '.join(names[9:])}"


@steady
@given(
    OUTSIDE,
    OUTSIDE,
    OUTSIDE,
    st.text(st.characters(exclude_characters="\ud800", exclude_categories=["Cs"]), min_size=1),
)
def test_no_text_breaks_out_of_a_workflow_command(name, setting, detail, file):
    """One line, which GitHub's runner reads as what was meant; a file's name as it is."""
    found = content(failed(detail=detail))
    mine = found.architectures["mine"]
    mine = replace(mine, settings={setting: mine.settings["memorization[baseline]"]})
    (line,) = error_commands(replace(found, architectures={name: mine}), {name: Place(file, 3)})
    assert len(line.split("\n")) == len(line.split("\r")) == 1
    command, properties, message = parsed(line)
    assert command == "error" and properties["file"] == file and properties["line"] == "3"
    assert properties["title"] == f"MAD: {visible(name)}"
    assert message == visible(f"{setting}: fail: {detail}")


def test_a_place_is_relative_to_the_workspace_and_none_outside(tmp_path):
    workspace = tmp_path / "workspace"
    file = workspace / "src" / "model.py"
    file.parent.mkdir(parents=True)
    file.touch()
    (tmp_path / "link").symlink_to(workspace)
    assert place(str(file), 7, str(workspace)) == Place("src/model.py", 7)
    assert place(str(file), None, str(tmp_path / "link")) == Place("src/model.py", None)
    assert place(str(tmp_path / "model.py"), 7, str(workspace)) is None
    assert place(str(workspace / ".venv/lib/site-packages/model.py"), 7, str(workspace)) is None
    assert place(None, None, str(workspace)) is place(str(file), 7, None) is place(str(file), 7, "") is None
