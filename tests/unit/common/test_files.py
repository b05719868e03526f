"""Files that outlive a run: strict JSON in, whole files out. What a failing write leaves is in test_json_file.py."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.common.files import LARGEST, FileError, json_text, read_json, refuse_unwritable, write_json, write_text
from tests.oracles.parameters import steady


@pytest.fixture
def refused(tmp_path):
    """The line that a file of these bytes is refused with; the file stays as it was, and alone."""

    def refuse(data, **limits):
        path = tmp_path / "some.json"
        path.write_bytes(data)
        with pytest.raises(FileError) as error:
            read_json(path, **limits)
        assert path.read_bytes() == data and os.listdir(tmp_path) == ["some.json"]
        (line,) = str(error.value).splitlines()
        assert "some.json" not in line
        return line

    return refuse


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b" \n", "is not JSON: Expecting value"),
        (b'{"a": 1', "is not JSON: Expecting ',' delimiter"),
        (b'{"a": 1}{}', "is not JSON: Extra data"),
        (b"{'a': 1}", "is not JSON: Expecting property name"),
        (b'{"a": 1,}', "is not JSON: "),
        (b'{"a": "b\nc"}', "is not JSON: Invalid control character"),
        (b'{"a": "\\x41"}', "is not JSON: Invalid \\escape"),
        (b'{"a": "\xff"}', "is not JSON: 'utf-8' codec can't decode byte 0xff"),
        ('{"a": 1}'.encode("utf-16"), "is not JSON: 'utf-8' codec can't decode"),
        (b"\x00" * 100, "is not JSON: "),
        (b"[1]", "holds a list, but must hold an object"),
        (b'"a"', "holds a str, but must hold an object"),
        (b"1", "holds a int, but must hold an object"),
        (b"null", "holds a NoneType, but must hold an object"),
        (b'{"a": NaN}', "has the number NaN"),
        (b'{"a": [-Infinity]}', "has the number -Infinity"),
        (b"Infinity", "has the number Infinity"),
        (b'{"a": 1e400}', "has the number 1e400, which is not finite"),
        (b'{"a": -1' + b"0" * 400 + b".0}", "has the number -1000000000000000000, which is not finite"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "has the key 'c' twice"),
        (b'{"a": 1, "\\u0061": 2}', "has the key 'a' twice"),
        (b"[" * 100_000 + b"]" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused_in_one_line(refused, data, says):
    """It says what is wrong, and leaves the file's name to those who know it."""
    assert refused(data).startswith(says)


def test_a_number_of_thousands_of_digits_is_refused(refused):
    """Python takes time for these that grows with the square of their length."""
    assert refused(b'{"a": ' + b"9" * 100_000 + b"}").startswith("is not JSON: ")


def test_a_file_may_be_as_large_as_the_limit(refused, tmp_path):
    """By its bytes, of which no more are read."""
    data = json.dumps({"a": "ä"}, ensure_ascii=False).encode()
    assert refused(data, largest=len(data) - 1) == "has more than the 10 bytes that it may have"
    assert read_json(tmp_path / "some.json", largest=len(data)) == {"a": "ä"}
    with (tmp_path / "some.json").open("wb") as sparse:
        sparse.truncate(LARGEST + 1)
    with pytest.raises(FileError, match=r"^has more than the 67,108,864 bytes that it may have$"):
        read_json(tmp_path / "some.json")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero here")
def test_a_file_without_end_is_refused():
    """It says that it has no bytes."""
    with pytest.raises(FileError, match=r"^has more than the 1,000 bytes that it may have$"):
        read_json(Path("/dev/zero"), largest=1000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_read_to_its_end(tmp_path):
    """As a shell's ``<(...)`` makes it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=['{"a": 1}'])
    writer.start()
    assert read_json(path) == {"a": 1}
    writer.join()


def test_a_key_that_is_twice_among_a_million_is_found_in_seconds(refused):
    """In one pass; a long one is not told in full."""
    long = "x" * 1000
    keys = [*map(str, range(1_000_000)), long, long]
    data = ("{" + ", ".join(f'"{key}": 1' for key in keys) + "}").encode()
    started = time.process_time()
    assert refused(data) == f"has the key {'x' * 60!r} twice"
    assert time.process_time() - started < 10


def test_what_cannot_be_opened_is_refused_in_words_of_the_system(tmp_path):
    """Missing, a folder, a link to nowhere or to itself."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("missing")
    missing = "No such file or directory"
    for name, says in (
        ("missing", missing),
        (".", "Is a directory"),
        ("nowhere", missing),
        ("loop", "Too many levels"),
    ):
        with pytest.raises(FileError, match=f"^cannot be read: {says}"):
            read_json(tmp_path / name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path):
    """By its permissions."""
    path = tmp_path / "some.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(FileError, match=r"^cannot be read: Permission denied$"):
        read_json(path)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@steady
@given(st.dictionaries(st.text(), _plain, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory, content):
    """Also keys and texts that UTF-8 alone could not hold; the same content is the same text."""
    path = tmp_path_factory.mktemp("files") / "some.json"
    write_json(path, content)
    assert read_json(path) == content
    assert path.read_text(encoding="utf-8") == json_text(dict(reversed(content.items())))


@steady
@given(st.binary(max_size=50) | _plain.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_refused(tmp_path_factory, data):
    """Nothing else is raised."""
    path = tmp_path_factory.mktemp("files") / "some.json"
    path.write_bytes(data)
    try:
        content = read_json(path)
    except FileError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert content == json.loads(data)
    assert path.read_bytes() == data


def test_text_is_written_over_an_old_file(tmp_path):
    """In UTF-8, readable by others; the folder has that file and no other."""
    path = tmp_path / "some.txt"
    path.write_text("old and longer")
    path.chmod(0o600)
    write_text(path, "naïve\n")
    assert path.read_bytes() == "naïve\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["some.txt"]


def test_text_that_is_no_unicode_leaves_the_old_file(tmp_path):
    """A lone surrogate has no bytes."""
    path = tmp_path / "some.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["some.txt"]


def test_a_path_is_refused_before_anything_is_done_for_it(tmp_path):
    """A folder that is missing, or that is where the file should be; nothing is left of the attempt."""
    refuse_unwritable(tmp_path / "some.json")
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileError, match=r"^the folder .*missing does not exist$"):
        refuse_unwritable(tmp_path / "missing" / "some.json")
    with pytest.raises(FileError, match=r"^is a folder, but must be a file$"):
        refuse_unwritable(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FileError, match=r"^the folder .*file does not exist$"):
        refuse_unwritable(file / "some.json")
    refuse_unwritable(file)  # an old one may be replaced
    assert file.read_text() == ""


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    """Editors on Windows begin a file with one."""
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}
