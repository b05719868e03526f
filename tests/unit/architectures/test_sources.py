"""The source of an architecture is every file of the user's that its factory reaches, loaded or not."""

from __future__ import annotations

import shutil
import sys

import pytest

from pytest_mad.architectures import source
from pytest_mad.architectures.source import source_digest

FILES = {
    "top_of_model.py": "import math\nfrom src_parts import layers\n\ndef make_model():\n    from src_late import head\n",
    "src_late.py": "import src_deepest as deepest, src_space.leaf\n",
    "src_space/leaf.py": "Y = 1\n",
    "src_deepest.py": "X = 1\n",
    "src_parts/__init__.py": "",
    "src_parts/layers.py": "from .blocks import Block\nfrom . import norms\n",
    "src_parts/blocks.py": "class Block: pass\n",
    "src_parts/norms.py": "EPS = 1\n",
    "src_parts/unused.py": "EPS = 2\n",
    "elsewhere.py": "import top_of_model\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith(("src_", "top_of_model"))]:
        del sys.modules[name]


def digest():
    return source_digest(["top_of_model"])


@pytest.mark.parametrize("name", [name for name in FILES if "unused" not in name and name != "elsewhere.py"])
def test_a_change_in_any_file_that_is_reached_shows(project, name):
    """Imported at the top or late, relative or not, in a package or beside it; nothing of it need be loaded."""
    before = digest()
    assert before is not None
    (project / name).write_text(FILES[name] + "# a change\n")
    assert digest() != before


@pytest.mark.parametrize("name", ["src_parts/unused.py", "elsewhere.py"])
def test_a_change_in_another_file_does_not(project, name):
    before = digest()
    (project / name).write_text("# a change\n")
    assert digest() == before


def test_it_is_the_same_before_and_after_loading(project):
    """Order of work must not matter."""
    before = digest()
    import top_of_model

    top_of_model.make_model
    assert digest() == before


def test_where_the_files_lie_does_not_matter(project, tmp_path_factory, monkeypatch):
    before = digest()
    monkeypatch.syspath_prepend(project.rename(tmp_path_factory.mktemp("other") / "moved"))
    assert digest() == before


def test_of_installed_packages_the_version_counts(project, monkeypatch):
    (project / "top_of_model.py").write_text("import numpy\n")
    before = digest()
    monkeypatch.setattr("pytest_mad.architectures.source._version", lambda name: "0.0")
    assert digest() != before


def test_a_module_without_a_file_has_no_source():
    """Written in a notebook, or nowhere."""
    assert source_digest(["there_is_no_such_module"]) is None
    assert source_digest(["builtins"]) is None


def test_a_file_that_is_no_python_counts_as_it_is(project):
    before = digest()
    (project / "src_deepest.py").write_text("not python (")
    assert digest() not in (before, None)


def test_a_digest_of_our_code_covers_the_presets_reader_and_the_committed_levels(tmp_path, monkeypatch):
    """A score is normalised by them: with other levels a stored trial was solved by another measure."""
    shutil.copytree(source.HERE, tmp_path / "pytest_mad")
    monkeypatch.setattr(source, "HERE", tmp_path / "pytest_mad")

    def digest():
        source.code_digest.cache_clear()
        return source.code_digest("presets", "tasks")

    seen = [digest(), digest()]
    for file in ("tasks/levels.json", "presets/setting.py"):
        with (tmp_path / "pytest_mad" / file).open("a") as written:
            written.write("\n")
        seen.append(digest())
    (tmp_path / "pytest_mad" / "presets" / "smoke.toml").write_text("")  # whose settings are in the key themselves
    seen.append(digest())
    source.code_digest.cache_clear()
    assert seen[0] == seen[1] and len(set(seen)) == 3 and seen[3] == seen[4]
