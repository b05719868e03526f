"""The HTML report in a real browser, where there is one: silent, offline, and inside any window."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
import threading

import pytest

from pytest_mad.report.html.render import html_report
from tests.unit.report.html_samples import CONTRACTS, MISSING, SAMPLES, architecture, content, grid

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome")

#: No start-up traffic of the browser's own, so that what is left is the page's.
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"),
    *("--enable-logging=stderr", "--v=0"),
)
#: Whom the browser asks for the time and for updates of its own, in spite of that.
OWN_HOSTS = re.compile(r"[\w.-]+\.(google|googleapis|gstatic)\.com[:/]")
LIGHT, DARK = 1, 0
#: Long names, many settings, everything that a page can have.
LONG = content(
    {
        "a-name-of-sixty-letters-as-nobody-would-choose-but-anybody-may": architecture(
            grid(), CONTRACTS, state_size=64
        ),
        "unfinished": architecture(MISSING, CONTRACTS, state_size=10**9),
        "no_contracts": architecture(grid(["task_without_any_place_where_a_line_may_be_broken_at_all"]), {}),
    },
    command="pytest " + " ".join(f"--mad-arch=package.module_{i}:make_model" for i in range(9)),
)


class Proxy:
    """A proxy that serves nothing and remembers what it was asked for."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.requests = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._server.accept()
                with connection:
                    self.requests.append(connection.recv(4096).decode(errors="replace").partition("\r\n")[0])
            except OSError:
                return

    def close(self):
        self._server.close()


class Loaded:
    """A page after loading: its elements as text, what the console said, what was asked of the network."""

    def __init__(self, dom, console, requests):
        self.dom, self.console, self.requests = dom, console, requests


@pytest.fixture
def load(tmp_path):
    """Load a page's text, in a frame of this width if there is one."""

    def run(text, scheme=LIGHT, width=None):
        text = text if width is None else framed(text, width)
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        proxy = Proxy()
        done = subprocess.run(
            [
                BROWSER,
                *QUIET,
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--proxy-server=127.0.0.1:{proxy.port}",
                "--proxy-bypass-list=<-loopback>",
                "--window-size=1400,900",
                f"--blink-settings=preferredColorScheme={scheme}",
                "--dump-dom",
                path.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        proxy.close()
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return Loaded(done.stdout, console, [r for r in proxy.requests if not OWN_HOSTS.search(r)])

    return run


def measured(load, text, script, **kwargs):
    """What a script returns that is put into the page, whose policy would forbid it."""
    code = f"top.document.documentElement.dataset.found = JSON.stringify((() => {{ {script} }})())"
    text = without_policy(text).replace("</body>", f"<script>{code}</script></body>")
    found = re.search(r'data-found="(.*?)"', load(text, **kwargs).dom)
    return json.loads(html.unescape(found[1]))


def without_policy(text):
    return re.sub(r"<meta http-equiv=.*\n", "", text)


def framed(text, width):
    """A page in a frame of this width: no window of the browser is as narrow as a phone."""
    return f'<!doctype html><iframe srcdoc="{html.escape(text)}" style="width: {width}px; height: 900px; border: 0">'


@pytest.mark.parametrize("name", ["several", "missing", "contracts", "nothing", "same names"])
def test_nothing_on_the_console_and_nothing_from_the_network(load, name):
    """And the page is all there."""
    text = html_report(SAMPLES[name])
    assert not OWN_HOSTS.search(text)
    page = load(text)
    assert page.console == [] and page.requests == []
    assert page.dom.count("<article") == text.count("<article") and "</html>" in page.dom


def test_the_browser_would_have_told(load):
    """The test above sees a request and a violated policy when there is one."""
    text = html_report(SAMPLES["nothing"])
    asking = without_policy(text).replace("</body>", '<img src="http://example.test/x.png"></body>')
    assert any("example.test/x.png" in request for request in load(asking).requests)
    forbidden = text.replace("</body>", '<img src="http://example.test/x.png"><script>alert(1)</script></body>')
    page = load(forbidden)
    assert page.requests == [] and len(page.console) == 2
    assert all("Content Security Policy" in line for line in page.console)


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("sample", [SAMPLES["several"], LONG], ids=["several", "long names"])
def test_nothing_sticks_out_of_the_window(load, width, sample):
    """On a phone, a tablet and a desk: the page is not scrolled sideways, only a table of many columns may be."""
    script = """
        document.querySelectorAll("details").forEach((e) => { e.open = true; });
        const wide = [...document.querySelectorAll("body *:not(.vh, .skip)")]
            .filter((e) => !e.closest("svg, .stack thead, .scroll *") && e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.tagName + "." + e.className);
        return [innerWidth, document.documentElement.scrollWidth, wide.slice(0, 5)];
    """
    assert measured(load, html_report(sample), script, width=width) == [width, width, []]


def test_the_page_is_light_or_dark_as_the_reader_likes(load):
    """Ground and letters change places."""
    script = """
        const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color].map((c) => c.match(/\\d+/g).map(Number)[0] > 127);
    """
    text = html_report(SAMPLES["one"])
    assert measured(load, text, script, scheme=LIGHT) == [True, False]
    assert measured(load, text, script, scheme=DARK) == [False, True]


def test_a_keyboard_reaches_every_link_in_the_order_of_the_page(load):
    """The first stop is the way past the navigation; what has the focus has a frame."""
    script = """
        const stops = [...document.querySelectorAll("a[href], summary, [tabindex='0']")];
        const skip = stops[0];
        skip.focus({focusVisible: true});
        const frame = getComputedStyle(skip);
        return [skip.getAttribute("href"), frame.outlineStyle, skip.getBoundingClientRect().left >= 0,
                stops.every((e) => e.tabIndex === 0)];
    """
    assert measured(load, html_report(SAMPLES["several"]), script) == ["#main", "solid", True, True]


def test_on_paper_what_is_closed_is_open_and_fits(load, tmp_path):
    """Printing works, and the pages are not empty."""
    text = html_report(SAMPLES["several"])
    path = tmp_path / "paper.html"
    path.write_text(text, encoding="utf-8")
    pdf = tmp_path / "paper.pdf"
    command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}", path.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF") and len(content) > 20_000
