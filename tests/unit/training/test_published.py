"""MAD-Lab's published data: found under its names, read as it is, and refused in one line when it is broken."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pytest_mad.tasks import get_task
from pytest_mad.training.data import load_data
from pytest_mad.training.published import PublishedDataError, folder_name, load_published
from tests.oracles.parameters import steady
from tests.unit.tiny import make_setting

# Worked out by hand from section 1.4 of the specification: MAD's six baselines.
NAMES = {
    "in-context-recall": "t-CR_vs-16_sl-128_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-12345",
    "noisy-in-context-recall": "t-NR_vs-32_sl-128_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#2_nvs-16_ntc-0_s-12345",
    "fuzzy-in-context-recall": "t-FR_vs-16_sl-128_ntr-12800_nte-1280_km-3_vm-3_mq-1_fn-0#0_nvs-0_ntc-0_s-12345",
    "memorization": "t-M_vs-256_sl-32_ntr-256_nte-1280_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-12345",
    "compression": "t-C_vs-16_sl-32_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-12345",
    "selective-copying": "t-SC_vs-16_sl-256_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-16_s-12345",
}

TASK = get_task("noisy-in-context-recall")
PARAMS = TASK.Params(
    vocab_size=12, seq_len=8, num_train_examples=6, num_test_examples=4, noise_vocab_size=4, frac_noise=0.2
)
FOLDER = "t-NR_vs-12_sl-8_ntr-6_nte-4_km-1_vm-1_mq-1_fn-0#2_nvs-4_ntc-0_s-12345"
FILES = [f"{split}/{kind}.npy" for split in ("train", "test") for kind in ("inputs", "targets")]


def arrays(seed=0, length=7):
    """What the four files hold: train targets everywhere, test targets at some positions."""
    rng = np.random.default_rng(seed)
    found = {file: rng.integers(0, 12, (6 if file.startswith("train") else 4, length)) for file in FILES}
    found["test/targets.npy"][rng.random((4, length)) < 0.5] = -100
    return found


def write(folder, content):
    for file, array in content.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder


@pytest.fixture
def data(tmp_path):
    """A folder of published data with one setting in it."""
    write(tmp_path / FOLDER, arrays())
    return tmp_path


def refused(directory, path="", params=PARAMS):
    """The line with which the data is refused; it names the path."""
    with pytest.raises(PublishedDataError) as caught:
        load_published(directory, TASK, params)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert str(directory / path) in message
    return message


@pytest.mark.parametrize("task", NAMES)
def test_folders_of_mad_s_baselines_are_named_as_mad_lab_names_them(task):
    """Literally; the defaults of the parameters are MAD's baselines."""
    assert folder_name(get_task(task), get_task(task).Params()) == NAMES[task]


@pytest.mark.parametrize(
    ("task", "changes", "expected"),
    [
        ("noisy-in-context-recall", {"frac_noise": 0.4}, "_fn-0#4_"),
        ("noisy-in-context-recall", {"vocab_size": 144}, "_vs-144_"),
        ("in-context-recall", {"num_train_examples": 800}, "_ntr-800_"),
        ("in-context-recall", {"multi_query": False}, "_mq-1_"),
        ("selective-copying", {"num_tokens_to_copy": 96}, "_ntc-96_"),
    ],
)
def test_a_changed_parameter_stands_in_the_folder_s_name(task, changes, expected):
    """MAD-Lab spells False as 1, too: a bug of its, kept to find its folders."""
    assert expected in folder_name(get_task(task), get_task(task).Params(**changes))


@pytest.mark.parametrize("where", ["", "noisy-in-context-recall"], ids=["directly", "in a folder per task"])
def test_train_and_test_data_are_those_of_the_files(tmp_path, where):
    """Value by value, int64, test targets of -100 included."""
    content = arrays()
    write(tmp_path / where / FOLDER, content)
    train, test = load_published(tmp_path, TASK, PARAMS)
    for file, array in zip(FILES, (train.inputs, train.targets, test.inputs, test.targets), strict=True):
        assert np.array_equal(array, content[file])
        assert array.dtype == np.int64


@pytest.mark.parametrize("spelling", ["fn-0#0", "fn-0"])
def test_no_noise_may_be_spelled_as_a_float_or_an_integer(tmp_path, spelling):
    """MAD-Lab's own default is a float; other configurations wrote an integer."""
    folder = f"t-CR_vs-12_sl-8_ntr-6_nte-4_km-1_vm-1_mq-1_{spelling}_nvs-0_ntc-0_s-12345"
    write(tmp_path / folder, arrays())
    task = get_task("in-context-recall")
    params = task.Params(vocab_size=12, seq_len=8, num_train_examples=6, num_test_examples=4)
    train, _ = load_published(tmp_path, task, params)
    assert np.array_equal(train.inputs, arrays()["train/inputs.npy"])


def test_files_are_mapped_not_read(data):
    """A paper-sized set is a gigabyte; nobody needs all of it in memory."""
    for batch in load_published(data, TASK, PARAMS):
        assert all(isinstance(array, np.memmap) for array in batch)


@pytest.mark.parametrize("dtype", ["<i4", ">i8", "<i2", "i1"])
def test_any_integer_type_will_do(data, dtype):
    """The tokens count, not how many bytes each takes."""
    write(data / FOLDER, {file: array.astype(dtype) for file, array in arrays().items()})
    train, test = load_published(data, TASK, PARAMS)
    assert np.array_equal(train.inputs, arrays()["train/inputs.npy"])
    assert np.array_equal(test.targets, arrays()["test/targets.npy"])
    assert train.inputs.dtype == test.targets.dtype == np.int64


def test_training_uses_the_files_and_generates_validation_data(data):
    """For every seed the same files, but validation data of its own."""
    sizes = PARAMS.to_json()
    setting = make_setting("noisy-in-context-recall", sizes)
    first, second = (load_data(setting, seed, data) for seed in (0, 1))
    assert np.array_equal(first.train.inputs, arrays()["train/inputs.npy"])
    assert np.array_equal(second.test.targets, arrays()["test/targets.npy"])
    assert not np.array_equal(first.validation.inputs, second.validation.inputs)
    assert np.array_equal(first.validation.inputs, load_data(setting, 0).validation.inputs)


def test_a_missing_directory_is_named(tmp_path):
    assert "is not a folder" in refused(tmp_path / "nowhere")


def test_a_missing_setting_is_named(data):
    """With the folder's name that was looked for."""
    message = refused(data, params=TASK.Params(**PARAMS.to_json() | {"num_train_examples": 7}))
    assert FOLDER.replace("ntr-6", "ntr-7") in message


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(data, file):
    (data / FOLDER / file).unlink()
    assert "does not exist" in refused(data, f"{FOLDER}/{file}")


BROKEN = {
    "one row short": lambda a: a[:-1],
    "one row more": lambda a: np.vstack([a, a[:1]]),
    "one token short": lambda a: a[:, :-1],
    "flat": lambda a: a.ravel(),
    "three axes": lambda a: a[..., None],
    "empty": lambda a: a[:0],
    "floats": lambda a: a.astype(float),
    "truth values": lambda a: a > 3,
    "text": lambda a: a.astype(str),
    "durations": lambda a: a.astype("m8[s]"),
    "records": lambda a: a.astype([("token", "<i8")]),
    "token of another vocabulary": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, 12, a),
    "negative token": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, -1, a),
    "huge token": lambda a: np.full_like(a, 2**64 - 1, dtype=np.uint64),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("what", BROKEN)
def test_an_array_that_does_not_fit_the_setting_is_named(data, what, file):
    """Shape, type and tokens are checked before any training."""
    write(data / FOLDER, {file: BROKEN[what](arrays()[file])})
    message = refused(data, f"{FOLDER}/{file}")
    assert "needs" in message or "must" in message or "vocabulary has 12" in message


def test_an_ignored_token_is_no_input(data):
    """-100 is a target that does not count; as an input it is broken data."""
    content = arrays()["test/inputs.npy"]
    content[0, 0] = -100
    write(data / FOLDER, {"test/inputs.npy": content})
    assert "from -100" in refused(data, f"{FOLDER}/test/inputs.npy")


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(header):
    text = header.encode("latin1").ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(6 * 7 * 8)


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("inputs.npy", npy(arrays()["train/inputs.npy"]))
    return file.getvalue()


SOUND = npy(arrays()["train/inputs.npy"])
UNREADABLE = {
    "nothing": b"",
    "text": b"1 2 3\n",
    "half a header": SOUND[:30],
    "half the data": SOUND[: len(SOUND) // 2],
    "all but a byte": SOUND[:-1],
    "an archive": archive(),
    "the start of an archive": b"PK\x03\x04 and no more",
    "open bracket": with_header("{'descr': '<i8', 'fortran_order': False, 'shape': (6, 7"),
    "a header that is no table": with_header("{{}: 3}"),
    "a huge shape": with_header(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**30}, 7)}}"),
    "a negative shape": with_header("{'descr': '<i8', 'fortran_order': False, 'shape': (-6, 7)}"),
    "an unknown type": with_header("{'descr': 'tokens', 'fortran_order': False, 'shape': (6, 7)}"),
    "deep nesting": with_header("(" * 100),
}


@pytest.mark.parametrize("file", ["train/inputs.npy", "test/targets.npy"])
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_file_that_is_no_array_is_named(data, what, file):
    (data / FOLDER / file).write_bytes(UNREADABLE[what])
    assert "not a readable .npy file" in refused(data, f"{FOLDER}/{file}")


class SideEffect:
    """Unpickled, it makes a folder: a stand-in for anything worse."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["pickle", "array of objects"])
def test_a_pickle_is_refused_and_runs_no_code(data, kind):
    """Neither a plain one nor one inside an array; loading it would run what it says."""
    ran = data / "ran"
    path = data / FOLDER / "train/inputs.npy"
    trap = SideEffect(str(ran))
    objects = np.full((6, 7), trap, dtype=object)
    path.write_bytes(pickle.dumps(trap) if kind == "pickle" else npy(objects, allow_pickle=True))
    message = refused(data, f"{FOLDER}/train/inputs.npy")
    assert "pickle" in message or "objects" in message
    assert not ran.exists()
    np.load(path, allow_pickle=True)
    assert ran.exists()  # so the trap is real


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write(tmp_path_factory.mktemp("published") / FOLDER, arrays()).parent


@steady
@given(st.integers(0, len(SOUND)), st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), max_size=3))
def test_damaged_bytes_are_read_or_refused(place, length, flips):
    """Whatever a download does to a file: never an exception that nobody expects."""
    content = bytearray(SOUND)
    for position, byte in flips:
        content[position] = byte
    (place / FOLDER / "train/inputs.npy").write_bytes(content[:length])
    try:
        train, _ = load_published(place, TASK, PARAMS)
    except PublishedDataError as error:
        assert len(str(error).splitlines()) == 1
        assert "train/inputs.npy" in str(error)
    else:
        assert train.inputs.shape == (6, 7)
        assert 0 <= train.inputs.min() <= train.inputs.max() < 12
        json.dumps(train.inputs.tolist())
