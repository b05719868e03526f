"""Factories that end more than their item: by Ctrl-C's exception, or with the whole process."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

MEMORIZATION, LARGER = "memorization[baseline]", "memorization[vocab_size=24]"
ENDING = """
    import os
    from models import Tiny

    def interrupted(vocab_size):
        if vocab_size == 24:
            raise KeyboardInterrupt
        return Tiny(vocab_size)

    class Interrupting(Tiny):
        def forward(self, tokens):
            if self.training and self.embed.num_embeddings == 24:
                raise KeyboardInterrupt
            return super().forward(tokens)

    def leaves(vocab_size):
        if vocab_size == 24:
            os._exit(5)
        return Tiny(vocab_size)
"""
OWN = """
    import pytest
    import ending

    @pytest.fixture
    def mad_model():
        return ending.{name}

    @pytest.mark.mad(tasks=["memorization"])
    def test_own(mad_result):
        assert mad_result.passed
"""
REPORTS = ("--mad-json=out.json", "--mad-html=out.html", "--junitxml=out.xml")


@pytest.fixture
def ending(project):
    project.pytester.syspathinsert()
    project.write(ending=ENDING)
    return project


def reported(project):
    """Settings with a result, in the JSON file and in JUnit's."""
    found = [name for one in project.results()["architectures"].values() for name in one["settings"]]
    cases = [case.get("name", "") for case in ET.parse(project.path / "out.xml").iter("testcase")]
    return found, [name for name in cases if "memorization" in name]


@pytest.mark.parametrize("workers", [[], ["-n1"]])
@pytest.mark.parametrize("name", ["interrupted", "Interrupting"])
def test_ctrl_c_s_exception_in_a_model_ends_the_run_as_ctrl_c_does(ending, name, workers):
    """What had finished is in every report, what was interrupted is in none."""
    options = ("--mad-tasks=memorization", "-k", "not contract", *REPORTS, *workers)
    result = ending.run(f"--mad-arch=mine=ending:{name}", *options, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert reported(ending) == ([MEMORIZATION], [MEMORIZATION])
    assert ending.results()["cut_short"] is True
    assert "Cut short" in (ending.path / "out.html").read_text()
    assert "INTERNALERROR" not in result.stdout.str() and "crashed while" not in result.stdout.str()


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_so_it_does_in_a_test_of_the_users_own(ending, workers):
    ending.write(test_own=OWN.format(name="interrupted"))
    result = ending.run("test_own.py", *REPORTS, *workers, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert reported(ending)[0] == [MEMORIZATION] and ending.results()["cut_short"] is True


def test_a_factory_that_ends_its_process_costs_a_worker_one_item(ending):
    options = ("--mad-tasks=memorization", "-k", "not contract", *REPORTS, "-n1")
    result = ending.run("--mad-arch=mine=ending:leaves", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = ending.results()["architectures"]["mine"]["settings"]
    assert {name: one["verdict"] for name, one in found.items()} == {MEMORIZATION: "pass", LARGER: "error"}
    assert found[LARGER]["detail"] == "its worker gw0 ended with exit code 5"


# -- a single process, and the next one -------------------------------------------------------------------------------


def ended(project, *args):
    """A run as a process of its own: its exit code and its output."""
    project.has_store = True
    with project.started(*args) as process:
        output = process.communicate(timeout=100)[0]
    return process.returncode, output


@pytest.mark.parametrize("own", [False, True])
def test_the_next_run_names_the_item_whose_factory_ended_the_process(ending, own):
    ending.write(test_own=OWN.format(name="leaves"))
    what = ["test_own.py"] if own else ["--mad-arch=mine=ending:leaves", "-k", "not contract"]
    name = "leaves" if own else "mine"
    assert ended(ending, *what)[0] == 5
    line = f"mad: the last run ended while it ran {name}, {LARGER}; what had finished is in the store\n"
    code, output = ended(ending, "--mad-arch=mine=ending:leaves", "--collect-only", "-k", "not contract")
    assert code == 0 and line in output
    assert line not in ended(ending, "--mad-arch=mine=ending:leaves", "--collect-only")[1]


@pytest.mark.parametrize("target", ["leaving:make_model", "leaving.py:make_model", "package.inner:make_model"])
@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_the_next_run_names_the_target_whose_import_ended_the_process(ending, target, workers):
    """Before it imports it again, for that may end it too."""
    leaving = 'import os, pathlib\nif pathlib.Path("leave").exists():\n    os._exit(6)\nfrom models import make_model\n'
    (ending.path / "package").mkdir()
    for file in ("leaving.py", "package/inner.py"):
        (ending.path / file).write_text(leaving)
    (ending.path / "package" / "__init__.py").touch()
    (ending.path / "leave").touch()
    option = f"--mad-arch={target}"
    code, output = ended(ending, option, *workers)
    assert code == 6 and output == ""
    code, output = ended(ending, option, *workers)
    assert code == 6 and output == f"mad: the last run ended while it imported {target}\n"
    (ending.path / "leave").unlink()
    code, output = ended(ending, option, "--collect-only", "-q")
    assert code == 0 and f"mad: the last run ended while it imported {target}\n" in output
    assert "while it imported" not in ended(ending, option, "--collect-only")[1]
    assert not list((ending.path / ".pytest_mad").glob("running-*"))


@pytest.mark.parametrize(
    "arguments", [["--mad-arch=models:nothing_of_that_name"], ["--mad-arch=models:plain", "--mad-seeds=x"]]
)
def test_a_usage_error_leaves_no_store_behind(ending, arguments):
    """The mark that an import is under way goes, and so does a folder that was made for it alone."""
    before = ending.files()
    code, _ = ended(ending, *arguments)
    assert code == pytest.ExitCode.USAGE_ERROR and ending.files() == before


@pytest.mark.parametrize("ignored", [None, "dist/\n"])
def test_a_store_in_a_folder_of_the_user_s_leaves_their_files_alone(ending, ignored):
    """No import leaves one of its own there, and no run writes over theirs, or hides all of the folder."""
    if ignored:
        (ending.path / ".gitignore").write_text(ignored)
    before, ending.has_store = ending.files(), True
    ending.bare("--mad-arch=models:plain", "--mad-preset=tiny.toml", "--mad-store=.", "--collect-only")
    assert ending.files() == before
    ending.run("--mad-arch=models:plain", "--mad-store=.", "-k", "memorization and baseline")
    assert (ending.path / "store.json").exists()
    found = ending.path / ".gitignore"
    assert (found.read_text() if found.exists() else None) == ignored


def test_an_import_without_a_store_leaves_no_mark(ending):
    before = ending.files()
    ending.bare("--mad-arch=models:plain", "--mad-preset=tiny.toml", "--collect-only")
    assert ending.files() == before
    ending.has_store = True
    ending.bare("--mad-arch=models:plain", "--mad-preset=tiny.toml", "--collect-only")
    assert ending.files() == before
