"""What is bad: texts, JSON values, damaged bytes. Small plans that Hypothesis draws, and what carries them out."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

#: Texts that some parser or terminal has tripped over; no NUL, which no command line can bear.
TEXTS = (
    *("", " ", "\t", "0", "-0", "-1", "1", "2", "0012", "１２", "²", "١٢", "1_000", "1e3", "1e400", "-1e400", "1e-400"),
    *("nan", "NaN", "inf", "-inf", "0x10", "1.5", "0.5", "1,5", "+1", " 1 ", "9" * 400, "9" * 5000, "1e", "--1", "½"),
    *("true", "no", "maybe", "None", "null", "auto", ",", ",,", "a,,b", ",a", "=", "==", "=0.5", "0.5=", "a=b=c"),
    *(":", "::", "a:b:c", "[", "]", "[]", "{}", "a[b]", "memorization[", "memorization[baseline]=", "]=0.5", "[x]=1"),
    *(
        "..",
        ".",
        "~",
        "/",
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "/root/x",
        "missing/x.toml",
        "x.toml/",
        "x.json",
    ),
    *("a" * 300, "a/" * 3000, "a" * 300 + ".toml", "a" * 300 + ".json", "a" * 100_000, "tiny.toml", "tiny.toml/x"),
    *(
        "a\nb",
        "a\r\nERROR: b",
        "\x1b[31mred",
        "\x07",
        "\x08",
        "\x7f",
        "\x85",
        "\u202eabc",
        "\u2028",
        "\ufeff",
        "\u200b",
    ),
    *("\ud800", "\udcff.toml", "é", "日本", "😀", "%s%d%n", "{0}", "{}", "${HOME}", "$(id)", "`id`", "'", '"', "\\"),
    *("'unclosed", '"unclosed', "a b", "--mad-seeds=3", "-x", "@file", "#", ";", "</script>", "a\\nb", "*", "**", "?"),
    *("smoke", "paper", "ci", "transformer", "swiglu", "mh-attention,swiglu", "memorization", "compression", "1/2"),
    *("2/1", "0/1", "1/1001", "1/9999999", "cuda", "cpu", "loop", "vmap", "ray", "inline", "output=off:", "output=off"),
    *("output=off:x", "x=fail", "output=warn", "=fail", "output=off:a\nb", "GPU-1", "MIG-\x1b[0m", "0,,1", "auto,0"),
)
texts: Strategy = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.characters(exclude_characters="\x00"), max_size=12),
    st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)).map("".join),
)
#: Values of another kind than the one that is expected.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 10**9, 10**18, 10**400, -(10**400), 0.5, 1.5, -0.5, 1e308, 5e-324, -0.0),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [0], [1, 2], ["a"], [None], {"a": 1}, {"": {}}, [{}]),
    *("pass", "fail", "memorization[baseline]", "x", {"lr": 1}, [{"lr": 0.1}], [[0, 0.5]], [[0, 0.5], [0, 0.5]]),
)


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


values: Strategy = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(TEXTS),
    st.floats(),
    st.integers(),
    st.just(_nested(8)),
    st.just(_nested(99)),
)


def _is_bearable(text: str) -> bool:
    """Whether a command line can have it."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


#: What can stand on a command line.
arguments: Strategy = texts.filter(_is_bearable)
places: Strategy = st.integers(0, 10**6)

# -- bytes ------------------------------------------------------------------------------------------------------------

BYTES = (
    "cut",
    "flip",
    "insert",
    "remove",
    "repeat",
    "empty",
    "noise",
    "bom",
    "utf-16",
    "latin",
    "zeros",
    "deep",
    "crlf",
)
byte_plan: Strategy = st.tuples(st.sampled_from(BYTES), places, st.integers(0, 255))
NOISE = bytes((i * i * 37 + i) % 256 for i in range(700))


def damaged(content: bytes, plan: tuple[str, int, int]) -> bytes:
    """The content with one thing done to it: where, in millionths of its length, and with which byte."""
    what, place, byte = plan
    at = place * len(content) // 10**6 if content else 0
    before, after = content[:at], content[at:]
    changed = {
        "cut": before,
        "flip": before + bytes([(after or b"\0")[0] ^ (1 << byte % 8)]) + after[1:],
        "insert": before + bytes([byte]) + after,
        "remove": before + after[1 + byte :],
        "repeat": content + after,
        "empty": b"",
        "noise": before + NOISE[byte:] + after,
        "bom": b"\xef\xbb\xbf" + content,
        "zeros": before + bytes(len(after)),
        "deep": before + b"[" * 100_000 + after,
        "crlf": content.replace(b"\n", b"\r\n"),
    }
    if what in changed:
        return changed[what]
    text = content.decode("utf-8", "replace")
    return text.encode("utf-16") if what == "utf-16" else f"\xe9{text}".encode("latin-1", "replace")


# -- JSON -------------------------------------------------------------------------------------------------------------

json_plan: Strategy = st.tuples(
    st.lists(
        st.tuples(st.sampled_from(("put", "put", "put", "drop", "add", "rename")), places, values, texts),
        min_size=1,
        max_size=3,
    ),
    st.one_of(st.none(), st.none(), st.none(), byte_plan),
)


def changed_json(content: Any, steps: list[tuple[str, int, Any, str]]) -> Any:
    """A tree in which some nodes are other ones, or have gone."""
    tree = copy.deepcopy(content)
    for what, place, drawn, name in steps:
        spots, value = list(_spots(tree)), copy.deepcopy(drawn)
        if not spots:
            return value
        holder, key = spots[place % len(spots)]
        if what == "put":
            holder[key] = value
        elif what == "drop":
            del holder[key]
        elif isinstance(holder, dict):
            holder[name] = holder.pop(key) if what == "rename" else value
        else:
            holder.append(value)
    return tree


def _spots(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _spots(value)


def damaged_json(content: Any, plan: tuple[list[Any], Any]) -> bytes:
    """The bytes of a changed tree, perhaps damaged once more."""
    steps, of_bytes = plan
    found = written(changed_json(content, steps))
    return damaged(found, of_bytes) if of_bytes else found


def written(tree: Any) -> bytes:
    """As a careless program would write it: NaN and halves of surrogate pairs included."""
    return json.dumps(tree, indent=1).encode()


# -- TOML -------------------------------------------------------------------------------------------------------------

LINES = (
    *("x = 1", "[recipe]", "[gate]", "[tasks]", "[tasks.memorization]", "[tasks.x]", "[[tasks]]", "tasks = 3", "= 1"),
    *("seeds = 10", "margin = 2", "[tasks.memorization.recipes]", "baseline = {}", "vary = { vocab_size = [] }"),
    *("thresholds = { baseline = 2 }", "costs = { x = 1 }", "steps = 0", "epochs = 1", 'schedule = "linear"'),
    *("width = 3", "width = 99999999999", "a.b.c.d = 1", '"" = 1', "x = " + "[" * 2000, "x = " + "{a=" * 500, "\x00"),
    *("points = []", "points = [{ lr = nan }]", "points = [{ lr = 1, x = 2 }]", '"a\\nb" = 1', '[tasks."a\\u001bb"]'),
    *(
        'description = "\\u001b[31m"',
        'description = """a\nb"""',
        "vary = { seq_len = [1, 1] }",
        "cost = -1",
        "x = 1e999",
    ),
)
_VALUE = re.compile(r"(?<== )[^\n{\[]+|(?<= )-?[\d.]+(?:e-?\d+)?|(?<=\[)[\w.-]+(?=\])|\w+(?= =)")
toml_plan: Strategy = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from(("value", "value", "value", "drop", "twice", "line")),
            places,
            values,
            st.sampled_from(LINES),
        ),
        min_size=1,
        max_size=3,
    ),
    st.one_of(st.none(), st.none(), st.none(), byte_plan),
)


def toml(value: Any) -> str:
    """A value as TOML has it; of a null, which TOML has not, what a careless hand writes."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, float):
        return str(value)
    return json.dumps(value)


def damaged_toml(content: str, plan: tuple[list[Any], Any]) -> bytes:
    """Another value, a line less, twice or more; and perhaps damaged bytes."""
    steps, of_bytes = plan
    for what, place, value, line in steps:
        if what == "value":
            spots = list(_VALUE.finditer(content))
            if spots:
                spot = spots[place % len(spots)]
                content = content[: spot.start()] + toml(value) + content[spot.end() :]
        else:
            lines = content.split("\n")
            at = place % len(lines)
            lines[at : at + 1] = {"drop": [], "twice": [lines[at]] * 2, "line": [lines[at], line]}[what]
            content = "\n".join(lines)
    found = content.encode("utf-8", "surrogatepass")
    return damaged(found, of_bytes) if of_bytes else found
