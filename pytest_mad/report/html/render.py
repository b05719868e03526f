"""``--mad-html``: one self-contained page, which opens without JavaScript and without a network."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps

from pytest_mad.results.result import Run
from pytest_mad.results.result_file import to_json

from .page import SHOWN_AT_ONCE, page
from .parts import SIGNS

#: With the results inside, the page has at most so many bytes; beyond that it goes without.
LARGEST_WITH_RESULTS = 2**20
_RESULTS = '<script type="application/json" id="mad-results">{}</script>\n'
#: Where the results go. No name can be mistaken for it: autoescape lets no ``<`` through.
_PLACE = "<!--results-->"
#: Control characters that HTML does not allow, in an exception's message for example.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), 127) if chr(code) not in "\t\n"}


def html_report(run: Run) -> str:
    """The page for a run; the same run gives the same text."""
    text = _writable(_template().render(page=page(run), signs=SIGNS, shown_at_once=SHOWN_AT_ONCE))
    results = _RESULTS.format(htmlsafe_json_dumps(to_json(run), separators=(",", ":"), sort_keys=True))
    fits = len(text.encode()) + len(results.encode()) <= LARGEST_WITH_RESULTS
    return text.replace(_PLACE, results if fits else "")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pytest_mad.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _writable(text: str) -> str:
    """Without what UTF-8 or HTML cannot hold: halves of characters, from undecodable bytes of a command line."""
    return text.encode("utf-8", "backslashreplace").decode().translate(_CONTROLS)
