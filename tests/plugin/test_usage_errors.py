"""Bad input that shows before anything is trained: exit code 4 and one line, nothing written."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def usage_error(project):
    """The one line of a run that ends as a usage error, and what is shown above it."""

    def run(*args, shows=False):
        before = project.files()
        result = project.run(*args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
        lines = [line for line in result.errlines if line]
        assert lines[-1].startswith("ERROR: ") and (len(lines) > 1) == shows
        assert project.files() == before
        return lines[-1].removeprefix("ERROR: "), lines[:-1]

    return run


@pytest.mark.parametrize(
    ("option", "says"),
    [
        # architectures: where
        ("--mad-arch=modles:make_model", "there is no module 'modles'"),
        ("--mad-arch=package.models:make_model", "there is no module 'package.models'"),
        ("--mad-arch=folder/models.py:make_model", "there is no file folder/models.py"),
        ("--mad-arch=models:make_modle", "models has no attribute 'make_modle'; did you mean 'make_model'?"),
        ("--mad-arch=bad.py:Namespace.make_modell", "has no attribute 'make_modell'; did you mean 'make_model'?"),
        ("--mad-arch=models", "'models' must be module:factory or path/to/file.py:factory"),
        ("--mad-arch=", "'' must be module:factory or path/to/file.py:factory"),
        ("--mad-arch=models.py", "'models.py' must be module:factory or path/to/file.py:factory"),
        (
            "--mad-arch=needs_package:make_model",
            "module 'needs_package' needs 'no_such_package', which is not installed",
        ),
        # architectures: what
        ("--mad-arch=bad:number", "bad:number is of type int, but must be a function that builds a model"),
        ("--mad-arch=bad:instance", "bad:instance is a model, but must be the function that builds it"),
        (
            "--mad-arch=bad:needs_width",
            "requires 'width', 'depth', but is called with task, vocab_size, max_length only",
        ),
        ("--mad-arch=bad:positional_only", "requires 'vocab_size'"),
        ("--mad-mixer=bad:NoWidth", "takes none of dim, d_model, hidden_size, embed_dim"),
        ("--mad-mixer=models:Mixer", "models has no attribute 'Mixer'"),
        ("--mad-layers=mh-atention,swiglu", "did you mean 'mh-attention'?"),
        ("--mad-layers=mh-attention,,swiglu", "layer"),
        # names
        ("--mad-arch=my model=models:make_model", "'my model' may only have letters, digits"),
        ("--mad-arch=a::b=models:make_model", "'a::b' may only have letters, digits"),
        ("--mad-arch=a[b]=models:make_model", "'a[b]' may only have letters, digits"),
        ("--mad-layers=ä=swiglu", "'ä' may only have letters, digits"),
        ("--mad-arch==models:make_model", "'' may only have letters, digits"),
        # settings
        ("--mad-preset=smok", "unknown preset 'smok'; did you mean 'smoke'?"),
        ("--mad-preset=missing.toml", "missing.toml"),
        ("--mad-preset=broken.toml", "line 3"),
        ("--mad-preset=typo.toml", "did you mean 'memorization'?"),
        ("--mad-preset=folder.toml", "preset file folder.toml is a folder, but must be a file"),
        ("--mad-preset=blind.toml", "=blind.toml: memorization[baseline]: guessing reaches 0.000 of 0.000"),
        ("--mad-preset=huge.toml", "[tasks.memorization]: vocab_size is 16777216, but must be at least 2 and at most"),
        ("--mad-tasks=memorisation", "did you mean 'memorization'?"),
        ("--mad-tasks=compression", "'compression' is not in this preset, which has: memorization, in-context-recall"),
        ("--mad-tasks=memorization,", "must be names with commas between them"),
        # numbers
        ("--mad-threshold=high", "must be a number, or TASK=number, or TASK[SETTING]=number"),
        ("--mad-threshold=1.5", "must be from 0 to 1"),
        ("--mad-threshold=-0.1", "must be from 0 to 1"),
        ("--mad-threshold=nan", "must be from 0 to 1"),
        ("--mad-threshold=memorisation=0.5", "did you mean 'memorization'?"),
        ("--mad-threshold=memorization[vocab_size=42]=0.5", "did you mean 'memorization[vocab_size=24]'?"),
        ("--mad-seeds=0", "must be a whole number of at least 1"),
        ("--mad-seeds=many", "must be a whole number of at least 1"),
        ("--mad-first-seed=-1", "must be a whole number of at least 0"),
        ("--mad-timeout=0", "must be a number of seconds above 0"),
        ("--mad-timeout=inf", "must be a number of seconds above 0"),
        ("--mad-device=gpu", "must be auto, cpu or cuda"),
        ("--mad-executor=slurm", "must be inline or ray"),
        # files
        ("--mad-data=missing", "there is no such folder"),
        ("--mad-json=missing/out.json", "missing does not exist"),
        ("--mad-json=.", "is a folder, but must be a file"),
    ],
)
def test_one_line_names_the_option_and_what_would_be_right(project, usage_error, option, says):
    """Beside an architecture that is sound, so that it is this option that is refused."""
    (project.path / "broken.toml").write_text("schema = 1\n[recipe]\nsteps = = 20\n")
    (project.path / "typo.toml").write_text(
        (project.path / "tiny.toml").read_text().replace("memorization", "memorisation")
    )
    (project.path / "folder.toml").mkdir()
    for name, sizes in (
        ("blind", "vocab_size = 8192, num_train_examples = 1, seq_len = 2"),
        ("huge", "vocab_size = 16777216"),
    ):
        text = (
            f"schema = 1\n[recipe]\npoints = [{{ lr = 1 }}]\nsteps = 1\n[tasks.memorization]\nbaseline = {{ {sizes} }}"
        )
        (project.path / f"{name}.toml").write_text(text)
    project.write(needs_package="from no_such_package import make_model")
    line, shown = usage_error("--mad-arch=sound=models:make_model", option, shows="needs_package" in option)
    assert line.startswith(option.partition("=")[0]) and says in line
    assert all("pytest_mad" not in frame for frame in shown)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--mad-arch=models:make_model", "--mad-arch=models.py:make_model"],
            "models:make_model and models.py:make_model",
        ),
        (["--mad-arch=x=models:plain", "--mad-layers=x=swiglu"], "models:plain and swiglu are both named 'x'"),
        (["--mad-arch=models:make_model", "--mad-arch=models:make_model"], "both named 'models'"),
    ],
)
def test_two_architectures_with_one_name_are_refused(usage_error, options, says):
    """The line says how to give one of them another."""
    line, _ = usage_error(*options)
    assert says in line and line.endswith("give one of them another name with NAME=TARGET")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f():\n    raise RuntimeError('no GPU here\\nsecond line')\nf()", "raised RuntimeError: no GPU here"),
        ("def make_model(:\n    pass", "raised SyntaxError"),
    ],
)
@pytest.mark.parametrize("target", ["raising:make_model", "raising.py:make_model"])
def test_an_import_that_raises_shows_its_own_traceback_and_then_our_line(project, usage_error, target, source, says):
    """The user's frames only, and none of the import machinery's."""
    (project.path / "raising.py").write_text(source)
    line, shown = usage_error(f"--mad-arch={target}", shows=True)
    assert line.startswith(f"--mad-arch={target}: importing ") and says in line
    assert any("raising.py" in frame for frame in shown)
    assert not any("pytest_mad" in frame or "importlib" in frame for frame in shown)


@pytest.mark.parametrize(
    ("ini", "says"),
    [
        ("mad_seeds = none", "ini option mad_seeds=none: must be a whole number of at least 1"),
        ("mad_threshold = 2", "ini option mad_threshold=2: must be from 0 to 1"),
        ("mad_device = tpu", "ini option mad_device=tpu: must be auto, cpu or cuda"),
    ],
)
def test_a_wrong_ini_option_is_named_as_such(project, usage_error, ini, says):
    """So that nobody looks for it on the command line."""
    project.pytester.makeini(f"[pytest]\n{ini}")
    assert usage_error("--mad-arch=models:make_model")[0] == says


@pytest.mark.parametrize(
    ("ini", "says"),
    [
        ("mad_junit = maybe", "ini option mad_junit: invalid truth value 'maybe'"),
        ('mad_tasks = "memorization', "ini option mad_tasks: No closing quotation"),
        ("mad_seeds = three\n   four", "ini option mad_seeds=three\\nfour: must be a whole number of at least 1"),
    ],
)
def test_what_pytest_refuses_in_an_ini_file_names_the_option_too(project, usage_error, ini, says):
    """Whose text may have several lines; the message has one."""
    project.pytester.makeini(f"[pytest]\n{ini}")
    assert usage_error("--mad-arch=models:make_model")[0] == says


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("mad_seeds = [3]", "mad_seeds=[3]: must be a text"),
        ("mad_margin = [[0.1]]", "mad_margin=[[0.1]]: must be a text"),
        ("mad_data = ['x']", "mad_data=['x']: must be a text"),
        ("mad_threshold = [0.5]", "mad_threshold=[0.5]: must be a list of texts"),
        ("mad_tasks = [['memorization']]", "mad_tasks=[['memorization']]: must be a list of texts"),
    ],
)
def test_a_list_in_the_place_of_a_text_is_refused(project, usage_error, line, says):
    """TOML has types, and pytest hands lists through."""
    project.pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\n{line}\n")
    assert usage_error("--mad-arch=models:make_model")[0] == f"ini option {says}"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--mad-seeds=3\nERROR: x", "--mad-seeds=3\\nERROR: x: must be a whole number"),
        ("--mad-engine=\x1b[31mloop", "--mad-engine=\\x1b[31mloop: must be auto, loop or vmap"),
        ("--mad-baseline=a\rb", "--mad-baseline=a\\rb: there is no such file"),
        ("--mad-layers=a\tb", "--mad-layers=a\\tb: unknown layer"),
        ("--mad-mixer=x=a\u2028.py:Mixer", "--mad-mixer=x=a\\u2028.py:Mixer: there is no file a\\u2028.py"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(usage_error, option, says):
    """Else one message would be several, or of another colour."""
    assert usage_error("--mad-arch=sound=models:make_model", option)[0].startswith(says)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--mad-arch=x={}:make_model", "there is no module '{}'"),
        ("--mad-arch={}.py:make_model", "there is no file {}.py"),
        ("--mad-layers={}=swiglu-no", "unknown layer 'swiglu-no'"),
        ("--mad-preset={}.toml", "preset file {}.toml does not exist"),
        ("--mad-data={}", "there is no such folder"),
        ("--mad-json={}", "cannot be written: File name too long"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_file_that_is_not_there(usage_error, option, says):
    """The system says of it neither yes nor no."""
    long = "a" * 300
    line, _ = usage_error("--mad-arch=sound=models:make_model", option.format(long))
    assert says.format(long) in line


def test_a_folder_that_cannot_be_written_is_found_before_training(usage_error):
    """Whoever asks: nothing can be created in /proc, not even by root, whom permissions let through."""
    if not os.path.isdir("/proc/self"):
        pytest.skip("there is no /proc here")
    line, _ = usage_error("--mad-arch=models:make_model", "--mad-json=/proc/out.json")
    assert line.startswith("--mad-json=/proc/out.json: cannot be written: ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_found_before_training(project, usage_error):
    """By its permissions."""
    folder = project.path / "folder"
    folder.mkdir(mode=0o500)
    assert "cannot be written" in usage_error("--mad-arch=models:make_model", "--mad-json=folder/out.json")[0]


def test_usage_errors_are_the_same_with_workers(usage_error):
    """No worker is started for them."""
    assert "did you mean 'memorization'?" in usage_error("--mad-arch=models:plain", "-n", "2", "--mad-tasks=memory")[0]


def test_a_setting_without_room_for_a_score_is_refused_and_not_listed_either(project, usage_error):
    """Seeing one of 4,095 keys leaves nothing to tell from guessing."""
    text = "schema = 1\n[recipe]\npoints = [{ lr = 1 }]\nsteps = 1\n[tasks.memorization]\n"
    (project.path / "blind.toml").write_text(
        text + "baseline = { vocab_size = 8192, num_train_examples = 1, seq_len = 2 }"
    )
    says = "preset=blind.toml: memorization[baseline]: guessing reaches 0.000 of 0.000"
    line, _ = usage_error("--mad-arch=models:make_model", "--mad-preset=blind.toml")
    assert line.startswith(f"--mad-{says}")
    listed = project.command("list", "--preset=blind.toml")
    assert listed.ret == 2 and listed.errlines[0].startswith(f"pytest-mad list: error: --{says}")


@pytest.mark.parametrize("argument", ["mad", "mad::models"])
def test_the_suite_without_an_architecture_says_what_is_missing(project, argument):
    """Rather than that there is no such file."""
    result = project.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {argument} is the MAD suite, which needs --mad-arch=module:factory"])
