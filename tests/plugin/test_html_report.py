"""``--mad-html``: the page holds every item of the run, in any way of running, or is refused before anything trains."""

from __future__ import annotations

import json
import sys

import pytest

from tests.unit.report.html_samples import Page


@pytest.fixture
def written(project):
    """The page of a run of the suite's tiny models."""

    def run(*args):
        project.models("--mad-html=out.html", *args)
        return Page((project.path / "out.html").read_text(encoding="utf-8"))

    return run


def test_the_page_holds_every_item_and_the_results(project, written):
    """Settings with their curves, contracts, the command, and the content of the result file."""
    page = written("--mad-json=out.json")
    content = project.results()
    found = content["architectures"]["models"]
    assert json.loads(page.text("script")) == content
    assert page.blocks("h1") == ["1 of 3 settings failed"]
    assert [heading.replace(" [", "[") for heading in page.blocks("h4")] == [
        "memorization[baseline]",
        "memorization[vocab_size=24]",
        "in-context-recall[baseline]",
    ]
    assert len(page.named("polyline")) == len(page.named("article")) == 3
    contracts = " ".join(page.text("section").split())
    assert all(name in contracts for name in found["contracts"])
    assert "--mad-html=out.html" in page.text("code") and "--mad-json=out.json" in page.text("code")
    (recall,) = [text for text in page.blocks("article") if "in-context-recall" in text]
    assert found["settings"]["in-context-recall[baseline]"]["detail"] in recall


def test_the_page_of_workers_is_the_page_of_one_process(project, written):
    """But for what was measured by a clock, and the command."""

    def without_times(page):
        results = json.loads(page.text("script"))
        return {
            (name, key): value
            for name, setting in results["architectures"]["models"]["settings"].items()
            for key, value in setting.items()
            if key not in ("seconds", "seconds_per_step")
        }, page.attribute("id")

    assert without_times(written()) == without_times(written("-n", "2"))


def test_a_page_of_contracts_alone(written):
    """A run that selects them trains nothing, and has no scores to show."""
    page = written("-k", "contract")
    assert "contracts passed" in page.blocks("h1")[0] and not page.named("article", "svg")


def test_several_architectures_are_compared(project):
    project.models("--mad-arch=second=models:plain", "--mad-html=out.html", "-k", "memorization")
    page = Page((project.path / "out.html").read_text(encoding="utf-8"))
    assert page.blocks("h2")[1:4] == ["Comparison", "models", "second"]


def test_an_interrupted_run_has_a_page_of_what_had_finished(project):
    project.run("--mad-arch=models:interrupted", "--mad-html=out.html", no_reraise_ctrlc=True)
    page = Page((project.path / "out.html").read_text(encoding="utf-8"))
    assert [text.replace(" [", "[") for text in page.blocks("h4")] == ["memorization[baseline]"]


def test_jinja2_is_imported_for_the_page_only(project):
    """It costs every run some time."""
    project.pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure(config):
            print("templates are loaded:", "pytest_mad.report.html.render" in sys.modules)
        """
    )
    arguments = ("-m", "pytest", "--mad-preset=tiny.toml", "--mad-arch=models:make_model", "-k", "output")
    done = project.pytester.run(sys.executable, *arguments)
    assert "templates are loaded: False" in done.stdout.str()


@pytest.mark.parametrize("size", ["-1", "True", "10**400", "1.5", "'many'"])
def test_a_state_size_that_is_none_is_not_stated(project, size):
    """And no report is lost by it."""
    project.write(
        sized=f"""
        from models import Tiny

        class Sized(Tiny):
            def state_size(self):
                return {size}

        def make_model(vocab_size):
            return Sized(vocab_size)
        """
    )
    result = project.run("--mad-arch=sized:make_model", "--mad-html=h.html", "--mad-json=j.json", "-k", "24")
    assert result.ret == 0
    assert project.results("j.json")["architectures"]["sized"]["state_size"] is None
    assert "not stated" in (project.path / "h.html").read_text()


def test_a_report_that_cannot_be_made_takes_no_other_with_it(project, monkeypatch):
    """One line says which, and the exit code that something is missing."""
    import pytest_mad.report.html.render as module

    monkeypatch.setattr(module, "html_report", lambda content: 1 / 0)
    result = project.models("--mad-html=h.html", "--mad-json=j.json", "-k", "24")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line == f"ERROR: --mad-html={project.path / 'h.html'}: writing raised ZeroDivisionError: division by zero"
    assert project.files().count("j.json") == 1 and "h.html" not in project.files()
