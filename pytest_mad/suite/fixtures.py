"""What users' own test files use: ``mad_model``, ``mad_setting``, ``mad_result`` and the ``mad`` marker."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_mad.presets.setting import Setting
    from pytest_mad.results.result import SettingResult


@pytest.fixture
def mad_model(request: pytest.FixtureRequest) -> Any:
    """The factory to judge: override it in your test file, or give ``--mad-arch``."""
    from .session import SESSION

    found = request.config.stash[SESSION].architectures()
    if len(found) != 1:
        pytest.fail(
            f"mad_model needs one architecture, but the command line names {len(found)}: override the fixture in your "
            "test file, or give --mad-arch=module:factory once",
            pytrace=False,
        )
    return found[0]


@pytest.fixture
def mad_setting(request: pytest.FixtureRequest) -> Setting:
    """The MAD setting of this test; tests that ask for it run once per setting of the preset."""
    setting: Setting = request.param
    return setting


@pytest.fixture
def mad_result(request: pytest.FixtureRequest, mad_model: Any, mad_setting: Setting) -> SettingResult:
    """Score and verdict of ``mad_model`` on ``mad_setting``; trained when the first test of the process asks for it."""
    from pytest_mad.architectures.architecture import TargetError
    from pytest_mad.report.progress import live_progress

    from .items import SlowerWarning, work
    from .keys import RESULT
    from .naming import named
    from .plan import run_options
    from .session import SESSION

    marker = request.node.get_closest_marker("mad")
    contracts = tuple(marker.kwargs.get("contracts") or ()) if marker else ()
    try:
        architecture = named(mad_model, request.node)
    except TargetError as error:
        pytest.fail(f"mad_model: {error}", pytrace=False)
    before = request.node.stash.get(RESULT, None)  # where the test runs again
    works = [work(architecture, mad_setting, run_options(request.config))]  # how many others there are, pytest shows
    with live_progress(request.config, works, 1, []) as progress:
        session = request.config.stash[SESSION]
        outcome = session.measure(mad_model, architecture, mad_setting, contracts, progress, before)
    request.node.stash[RESULT] = outcome.result
    if outcome.traceback:
        print(outcome.traceback)
    if outcome.result.verdict == "skipped":
        pytest.skip(outcome.result.detail)
    if outcome.result.verdict == "slower" and outcome.result.slower == "warn":
        warnings.warn(outcome.result.explain(), SlowerWarning, stacklevel=1)  # as an error it fails the test
    return outcome.result


def parametrize(metafunc: pytest.Metafunc) -> None:
    """One call of the test per setting that its ``mad`` marker, or the command line, selects."""
    from .plan import chosen_settings, run_options

    marker = metafunc.definition.get_closest_marker("mad")
    try:
        arguments = {} if marker is None else _marker_arguments(marker)
        run_options(metafunc.config, contracts=arguments.pop("contracts", ()))  # what is wrong is found before any test
        chosen = chosen_settings(metafunc.config, **arguments)
    except pytest.UsageError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None
    metafunc.parametrize("mad_setting", list(chosen.values()), ids=list(chosen), indirect=True)


def _marker_arguments(marker: pytest.Mark) -> dict[str, Any]:
    known = ("preset", "tasks", "threshold", "contracts", "slower")
    wrong = [*map(repr, marker.args), *(key for key in marker.kwargs if key not in known)]
    if wrong:
        takes = "preset=, tasks=, threshold=, contracts= and slower="
        raise pytest.UsageError(f"the mad marker takes {takes}, not {', '.join(wrong)}")
    for name, what in (("tasks", "task names"), ("contracts", "NAME=fail, NAME=warn or NAME=off:REASON")):
        given = marker.kwargs.get(name)
        is_list = isinstance(given, list | tuple) and all(isinstance(one, str) for one in given)
        if given is not None and not is_list:
            raise pytest.UsageError(f"{name}= of the mad marker is {given!r}, but must be a list of {what}")
    return {name: given for name, given in marker.kwargs.items() if given is not None}
