"""A folder with tiny models and a tiny preset, in which tests run pytest."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
from pathlib import Path

import pytest
import torch

import pytest_mad

PROJECT = Path(__file__).with_name("project")


@pytest.fixture(scope="session", autouse=True)
def _preload():
    """Import what runs in this process would import: pytester forgets modules that a run adds, and torch bears no
    second import.
    """
    for module in pkgutil.walk_packages(pytest_mad.__path__, "pytest_mad."):
        importlib.import_module(module.name)
    parameter = torch.nn.Parameter(torch.zeros(1))
    torch.optim.AdamW([parameter], fused=True)


class Project:
    """The folder, and how to run pytest in it."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path

    def run(self, *args, **kwargs):
        """Run in this process with the tiny preset, unless ``args`` say otherwise."""
        return self.pytester.runpytest_inprocess("--mad-preset=tiny.toml", *args, **kwargs)

    def models(self, *args, **kwargs):
        """Run the suite on ``models:make_model``."""
        return self.run("--mad-arch=models:make_model", *args, **kwargs)

    def results(self, name="out.json"):
        return json.loads((self.path / name).read_text())


@pytest.fixture
def project(pytester):
    for file in PROJECT.iterdir():
        if file.is_file():
            shutil.copy(file, pytester.path)
    return Project(pytester)
