"""Which option writes which report. All are made of one thing: the content of the result file."""

from __future__ import annotations

import importlib.util
from typing import Any

from pytest_mad.common.files import json_text

#: Packages that a report needs beyond the core.
_NEEDS = {"mad_html": "jinja2"}


class MissingPackageError(ValueError):
    """A report needs a package that is not installed; the message is the line that installs it."""


def check_packages(option: str) -> None:
    """Raise :class:`MissingPackageError` before anything is trained for a report that could not be written."""
    package = _NEEDS.get(option)
    if package and importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"needs {package}: pip install 'pytest-mad[report]'")


def rendered(option: str, content: dict[str, Any]) -> str:
    """The text of the report that an option asks for."""
    if option == "mad_html":
        from pytest_mad.report.html.render import html_report

        return html_report(content)
    if option == "mad_benchmark_json":
        from .benchmark_json import benchmark_entries

        return json_text(benchmark_entries(content))
    return json_text(content)
