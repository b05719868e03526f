"""The HTML report: one sound page that asks for nothing, says what broke first, and shows every name as text."""

from __future__ import annotations

import copy
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.report.html import render
from pytest_mad.report.html.page import SHOWN_AT_ONCE
from pytest_mad.report.html.render import LARGEST_WITH_RESULTS
from tests.oracles.parameters import steady
from tests.oracles.result_files import unchecked
from tests.unit.report.html_samples import (
    CONTRACTS,
    MISSING,
    SAMPLES,
    Page,
    architecture,
    baseline,
    content,
    curve,
    grid,
    setting,
    trial,
)

pytestmark = pytest.mark.filterwarnings("error")


def html_report(content):
    """The page of a result file's content, also of names that no file may have."""
    return render.html_report(unchecked(content))


@pytest.fixture(scope="module", params=SAMPLES)
def page(request):
    return Page(html_report(SAMPLES[request.param]))


def read(*settings, contracts=None):
    """The page of one architecture with these settings."""
    named = {f"{one['task']}[{i or 'baseline'}]": one for i, one in enumerate(settings)}
    return Page(html_report(content({"mine": architecture(named, contracts)})))


# -- a sound page -----------------------------------------------------------------------------------------------------


def test_ids_are_unique_and_every_link_leads_to_one(page):
    """Also where names differ only in characters that an id cannot have."""
    ids = page.attribute("id")
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in ids)
    targets = [link.attributes["href"] for link in page.named("a")]
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert set(page.attribute("aria-labelledby")) <= set(ids)


def test_nothing_is_loaded_and_nothing_runs(page):
    """No address but anchors and data, no script but the results, no handler, a policy that forbids the rest."""
    addresses = [value for key in ("href", "src", "srcset", "action", "xlink:href") for value in page.attribute(key)]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert [s.attributes for s in page.named("script")] in ([], [{"type": "application/json", "id": "mad-results"}])
    assert not any(key.startswith("on") for element in page.elements for key in element.attributes)
    assert not page.named("iframe", "object", "embed", "img", "form", "base")
    assert not re.search(r"url\(|@import|https?:|//", page.text("style"))
    (policy,) = [m for m in page.named("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy"]
    rules = policy.attributes["content"].split("; ")
    assert rules[:3] == ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    assert [link.attributes for link in page.named("link")] == [{"rel": "icon", "href": "data:,"}]


def test_landmarks_headings_and_tables_make_sense_without_eyes(page):
    """One first heading, no level left out, captions and scopes, a name for each picture and list of links."""
    assert page.named("html")[0].attributes == {"lang": "en"}
    assert [len(page.named(tag)) for tag in ("header", "nav", "main", "h1")] == [1] * 4
    assert sum("head" in title.around for title in page.named("title")) == 1
    levels = [int(heading.tag[1]) for heading in page.named("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(cell.attributes.get("scope") in ("row", "col") for cell in page.named("th"))
    for picture in page.named("svg"):
        assert picture.attributes["role"] == "img" and len(picture.attributes["aria-label"]) > 20
    assert all("aria-label" in nav.attributes for nav in page.named("nav"))
    assert all(text.strip() for text in page.blocks("a"))


def test_a_sign_stands_beside_its_word(page):
    """A reader of the screen hears the verdict; who sees no colours has the sign."""
    words = "error|fail|regress|inconclusive|warning|skipped|pass"
    for cell in page.blocks("article"):
        assert re.search(rf"[!✗↓?△–✓] ({words})\b", cell)


def test_the_same_content_gives_the_same_page_and_is_left_alone():
    given = copy.deepcopy(SAMPLES["several"])
    assert html_report(given) == html_report(given)
    assert given == SAMPLES["several"]
    assert html_report(json.loads(json.dumps(given))) == html_report(given)


# -- names and messages of others -------------------------------------------------------------------------------------


texts = st.text(min_size=1, max_size=40) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</script><!--",
        "<!--results-->",
        "\"' onclick='x",
        "{{ 7*7 }}",
        "&lt;",
        "]]>",
        "%s {}",
    ]
)
#: What a page cannot hold, and what a parser turns into a newline, becomes one sign.
plain = texts.filter(lambda t: all(c.isprintable() or c == " " for c in t))


def hostile(name, task, detail):
    one = setting(task, 0.5, "fail", detail=detail, baseline=baseline() | {"source": detail}, device=detail)
    contracts = {name: {"verdict": "fail", "detail": detail, "warned": [], "attempts": []}}
    return content(
        {name: architecture({f"{task}[k{name}=1]": one}, contracts), "other": architecture({})},
        command=detail,
        preset=name,
    )


HARMLESS = Page(html_report(hostile("a", "b", "c")))


@steady
@given(plain, plain, plain)
def test_any_name_and_message_is_shown_as_text(name, task, detail):
    """The elements are those of harmless names, and the texts are all there; so are the results."""
    text = html_report(hostile(name, task, detail))
    page = Page(text)
    assert [e.tag for e in page.elements] == [e.tag for e in HARMLESS.elements]
    assert all(part in page.text("main") for part in (name, task, detail))
    assert page.text("code") == detail
    assert "".join(name.split()) in "".join(page.blocks("h2")).replace(" ", "")
    assert json.loads(page.text("script")) == hostile(name, task, detail)


@steady
@given(st.text(st.characters(), max_size=30))
def test_what_utf_8_or_html_cannot_hold_does_no_harm(detail):
    """Halves of characters, from a command line that is no UTF-8, and control characters, from an exception."""
    text = html_report(hostile("mine", "compression", detail))
    shown = text.encode().decode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", shown)
    Page(shown)


def test_a_name_is_no_place_for_the_results():
    """The place where they go is found once, whatever a name says."""
    page = Page(html_report(content({"<!--results-->": architecture({})})))
    assert page.blocks("h1") == ["1 contract passed"] and len(page.named("script")) == 1


# -- size -------------------------------------------------------------------------------------------------------------


def many(architectures, points, trials):
    """As many settings as a run of ``ci``."""
    runs = [trial(seed=i, points=curve(points, top=0.9 - i / 20)) for i in range(trials)]
    settings = grid(trials=runs)
    assert len(settings) >= 24
    return content(
        {f"architecture-{i}": architecture(settings, CONTRACTS, state_size=4096) for i in range(architectures)}
    )


def test_three_architectures_with_two_trials_each_are_below_a_mebibyte_with_their_results():
    given = many(3, 90, 2)
    text = html_report(given)
    assert len(text.encode()) < 2**20
    assert json.loads(Page(text).text("script")) == given


def test_results_that_would_make_the_page_too_large_are_left_out():
    """The rest is as it is without them."""
    text = html_report(many(3, 200, 6))
    assert "mad-results" not in text and "<!--" not in text
    assert len(text.encode()) <= LARGEST_WITH_RESULTS


# -- what is said first -----------------------------------------------------------------------------------------------


def headline(*verdicts, contracts=(), tolerant=False):
    checks = {
        f"c{i}": {"verdict": verdict, "detail": "", "warned": [], "attempts": []} for i, verdict in enumerate(contracts)
    }
    page = read(*(setting(f"task{i}", 0.5, v, tolerant=tolerant) for i, v in enumerate(verdicts)), contracts=checks)
    return page.blocks("h1")[0], page.blocks("h2")[0]


@pytest.mark.parametrize(
    ("verdicts", "contracts", "says"),
    [
        (["pass", "fail", "pass"], ["pass"], "1 of 3 settings failed"),
        (["fail", "error", "regress", "inconclusive", "pass", "skipped"], [], "4 of 6 settings failed"),
        (["fail"], ["fail", "pass"], "1 of 1 setting and 1 of 2 contracts failed"),
        (["pass"], ["error"], "1 of 1 contract failed"),
        (["pass", "pass"], ["pass", "skipped"], "2 settings and 1 contract passed"),
        (["pass", "skipped"], [], "1 setting passed"),
        ([], ["pass"], "1 contract passed"),
        (["skipped"], ["skipped"], "Nothing was measured"),
        ([], [], "Nothing was measured"),
    ],
)
def test_the_headline_counts_what_failed(verdicts, contracts, says):
    """In the largest letters, and as the window's title."""
    assert headline(*verdicts, contracts=contracts) == (
        says,
        "What broke" if "failed" in says else "Nothing broke",
    )


def test_an_open_case_counts_as_it_counted_in_the_run():
    assert headline("inconclusive")[0] == "1 of 1 setting failed"
    assert headline("inconclusive", tolerant=True)[0] == "1 setting passed"
    page = read(setting(verdict="inconclusive", tolerant=True))
    assert "inconclusive, counts as a pass" in page.blocks("article")[0]


def test_what_broke_comes_first_the_worst_at_the_top_with_links_to_the_details():
    """Contracts, then settings by verdict, then warnings; what passed is not there."""
    text = html_report(SAMPLES["missing"])
    first = text[text.index('id="broke"') : text.index("</section>")]
    found = Page(f"<h2 {first}")
    assert [item.split(" ", 1)[1] for item in found.blocks("li")] == [
        "fail contract causality token 5 changes the logits at position 3",
        "error compression [baseline] the loss is nan at step 350",
        "fail noisy-in-context-recall [baseline] normalised score 0.2",
        "regress fuzzy-in-context-recall [baseline] normalised score 0.6",
        "warning contract lengths length 1 raises ValueError",
    ]
    ids = set(Page(text).attribute("id"))
    assert {link.attributes["href"][1:] for link in found.named("a")} <= ids
    assert text.index("What broke") < text.index("Scores") < text.index("Run it again")


def test_a_model_that_fails_everywhere_does_not_bury_the_others():
    """The first dozen is in sight, the rest is counted and a click away."""
    page = Page(html_report(content({"mine": architecture(grid(score=0.1, verdict="fail"))})))
    outside = [
        e for e in page.named("li") if "details" not in e.around and "nav" not in e.around and "dl" not in e.around
    ]
    inside = [e for e in page.named("li") if "details" in e.around]
    assert len(outside) == SHOWN_AT_ONCE and len(outside) + len(inside) == len(grid())
    assert f"{len(inside)} more of mine" in page.blocks("summary")


# -- one architecture -------------------------------------------------------------------------------------------------


def rows(page, heading):
    """The rows of the table whose head begins with this."""
    found = page.blocks("tr")
    start = next(i for i, row in enumerate(found) if row.startswith(heading))
    return found[start:]


def test_the_map_has_a_row_per_task_and_from_left_to_right_what_is_harder():
    """Away from the baseline's value, in whatever direction; only baselines when there is nothing else."""
    page = Page(html_report(content({"mine": architecture(grid(["compression", "memorization"]))})))
    head, first, second, *_ = rows(page, "task")
    assert head == "task baseline vocab_size num_train_examples frac_noise accuracy"
    assert first.startswith("compression") and second.startswith("memorization")
    values = re.findall(r"(vocab_size|num_train_examples|frac_noise) (\S+)", first)
    assert values == [
        *(("vocab_size", value) for value in ("32", "64", "128")),
        *(("num_train_examples", value) for value in ("6400", "800")),
        *(("frac_noise", value) for value in ("0.4", "0.8")),
    ]
    assert rows(read(setting()), "task")[0] == "task baseline accuracy"
    assert rows(read(setting(metric="compat")), "task")[0] == "task baseline compat"


def test_a_cell_is_coloured_by_score_framed_by_verdict_and_leads_to_the_setting():
    """Rounded down: 0.8999 does not read as 0.9."""
    page = read(
        setting("a", 0.8999, "fail"), setting("b", -0.1, "fail"), setting("c", 0.97), setting("d", None, "error")
    )
    cells = [e for e in page.named("a") if "cell" in e.attributes.get("class", "").split()]
    assert [e.attributes["class"] for e in cells] == [
        "cell shade s4 lone bad v-fail",
        "cell shade s0 lone bad v-fail",
        "cell shade s5 lone",
        "cell none lone bad v-error",
    ]
    table = " ".join(rows(page, "task"))
    assert "fail 0.899" in table and "fail -0.100" in table and "pass 0.970" in table and "error –" in table
    assert {e.attributes["href"][1:] for e in cells} == {e.attributes["id"] for e in page.named("h4")}


def card(one):
    """The texts of a setting's card: its facts by name, and everything."""
    page = read(one)
    return dict(zip(page.blocks("dt"), page.blocks("dd"), strict=True)), page.blocks("article")[0], page


def test_a_setting_says_why_in_numbers():
    """Score, what was needed, the difference and the levels, for a threshold."""
    facts, text, _ = card(setting(normalized=0.5, verdict="fail", detail="too low"))
    wanted = {"normalised": "0.500", "threshold": "0.900", "difference": "-0.400"}
    assert {key: facts[key] for key in wanted} == wanted
    assert facts["accuracy"] == "0.625" and facts["trivial"] == "0.250" and facts["oracle"] == "1.000"
    assert "✗ fail too low" in text and "1 trial, 600 steps, 12.5 s, cpu, engine loop; task version 1" in text


def test_a_setting_with_a_baseline_shows_its_floor_and_every_seed():
    one = setting(normalized=0.93, threshold=None, baseline=baseline(0.9), scores=[[10, 0.93], [11, 0.85]])
    facts, _, _ = card(one)
    assert facts["baseline’s floor"] == "0.900" and facts["difference"] == "+0.030"
    assert facts["baseline"] == "main: lowest of 10 seeds 0.93, less 0.03"
    assert facts["seeds"] == "0.930 (seed 10), 0.850 (seed 11)"


def test_a_setting_shows_its_trials_and_parameters():
    trials = [trial(), trial(lr=0.01, weight_decay=0.1, seed=3, stopped="hopeless", points=[[50, 0.31], [100, 0.25]])]
    facts, text, page = card(setting(trials=trials, stored=True))
    assert "from the store" in text and facts["vocab_size"] == "16"
    assert "0 0.001 0 600 budget" in text and "3 0.01 0.1 100 hopeless 0.250" in text
    assert len(page.named("polyline")) == 2 and text.count(", counts") == 1


def test_what_is_missing_is_a_dash():
    """A setting without a score, a threshold or a curve; a model whose size nobody knows."""
    page = Page(html_report(content({"mine": architecture(MISSING, CONTRACTS, parameters=None)})))
    error, skipped = page.blocks("article")[:2]
    assert "! error the loss is nan at step 350" in error and "No learning curve." in error
    assert "– skipped there is no bottleneck" in skipped
    assert page.text().count("None") == 0 and "nan" not in page.text().replace("is nan", "")
    assert ("parameters", "–") in zip(page.blocks("dt"), page.blocks("dd"), strict=True)


def test_contracts_are_told_with_their_details_and_those_that_hold_by_name():
    page = read(setting(), contracts=CONTRACTS)
    assert rows(page, "contract verdict")[1:4] == [
        "causality ✗ fail token 5 changes the logits at position 3",
        "lengths △ warning length 1 raises ValueError",
        "state – skipped the model has no step",
    ]
    assert "✓ pass output" in " ".join(page.text().split())


def test_the_run_can_be_repeated():
    """The command as it was given, and what scores depend on."""
    page = Page(html_report(SAMPLES["one"]))
    assert page.text("code") == "pytest --mad-arch=models:make_model"
    facts = dict(zip(page.blocks("dt"), page.blocks("dd"), strict=True))
    assert (facts["preset"], facts["torch"], facts["device"], facts["plugin"]) == ("smoke", "2.13.0", "cpu", "–")
    assert not Page(html_report(SAMPLES["nothing"])).named("code")


# -- several architectures --------------------------------------------------------------------------------------------


def test_architectures_are_compared_the_best_first():
    """Names lead to the architectures; the shades are those of the normalised means."""
    page = Page(html_report(SAMPLES["several"]))
    table = rows(page, "architecture MAD score")[1:6]
    assert [row.split(" ")[0] for row in table] == ["grows", "best", "mine", "worst", "unfinished"]
    assert "24 settings and 1 contract passed" in table[0]
    assert "4,096" in table[2] and "✗ fail, 0.100 8 of 8" in table[3]
    assert (
        table[4].startswith("unfinished 3 of 6 settings and 1 of 4 contracts failed – –") and "! error, –" in table[4]
    )
    shades = [e.attributes["class"] for e in page.named("td") if "shade" in e.attributes.get("class", "")]
    assert shades[:3] == ["shade s5"] * 3 and "shade s0" in shades


def test_accuracy_is_drawn_against_state_size_where_both_exist():
    """An architecture whose state grows, and one without a MAD score, are named instead."""
    page = Page(html_report(SAMPLES["several"]))
    (picture,) = [e for e in page.named("svg") if e.attributes["class"] == "scatter"]
    label = picture.attributes["aria-label"]
    assert "mine: state size 4,096, MAD score 0.9" in label and "worst: state size 0" in label
    assert "grows" not in label and "unfinished" not in label
    notes = page.blocks("figcaption")[0]
    assert "No state size is stated by: grows." in notes and "every setting has a score: unfinished." in notes


def test_one_architecture_is_compared_with_nothing():
    page = Page(html_report(SAMPLES["one"]))
    assert "Comparison" not in page.text() and "comparison" not in page.attribute("id")


# -- contrast ---------------------------------------------------------------------------------------------------------


def luminance(colour):
    """WCAG's relative luminance of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_can_be_read_in_both_themes(theme):
    """4.5 for text, 3 for frames and lines: WCAG 2.2 AA."""
    style = Page(html_report(SAMPLES["one"])).text("style")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", blocks[theme]))
    for ground in ("paper", "card"):
        for text in ("ink", "soft", "link", "bad", "open", "good"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for shade in (f"s{i}" for i in range(6)):
        assert contrast(colours["ink"], colours[shade]) >= 4.5, shade
        assert contrast(colours["bad"], colours["paper"]) >= 3
