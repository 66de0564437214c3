"""What hostile input is made of: text with all that breaks readers, JSON of any shape, and valid things gone wrong."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

STRANGE = (
    "",
    " ",
    "\x00",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\ufeff",
    "\ud800",
    "\udfff\ud800",
    "\u202e",
    "\u2028",
    "a\r\nb",
    "\uff11",
    "\u0663",
    "\U0010ffff",
    "-0",
    "1e5",
    "NaN",
    "Infinity",
    "9" * 5_000,
    "0." + "0" * 300 + "1",
    "x" * 70_000,
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "../../etc/passwd",
    "%s%n{0}{text}",
)
texts = st.sampled_from(STRANGE) | st.text(st.characters(), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**17, 10**18, 10**4299])
    | st.floats()
    | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
deep = st.builds(
    lambda depth, opens: json.loads(opens * depth + "1" + {"[": "]", '{"a":': "}"}[opens] * depth),
    st.integers(1, 20) | st.integers(21, 300),
    st.sampled_from(["[", '{"a":']),
)
anything = values | deep
OTHER_TYPES = (None, True, False, 0, 1, 1.5, "", "x", [], {}, ["x"], {"a": 1}, [[]])
of_other_types = st.sampled_from(OTHER_TYPES)


@st.composite
def changed(draw: st.DrawFn, valid: Mapping[str, Any]) -> dict[str, Any]:
    """The object with up to three members, at any level, replaced, taken out or added."""
    root = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(0, 3))):
        here = root
        while (inner := [v for v in here.values() if isinstance(v, dict) and v]) and draw(st.booleans()):
            here = draw(st.sampled_from(inner))
        name = draw(st.sampled_from(sorted(here)) if here and draw(st.integers(0, 3)) else texts)
        if draw(st.integers(0, 4)):
            here[name] = deepcopy(draw(of_other_types | anything))  # the next round may change what it put in
        else:
            here.pop(name, None)
    return root


def as_json(draw: st.DrawFn, value: object) -> bytes:
    """JSON bytes of the value, spelled in one of the ways there are; lone surrogates as Python would encode them."""
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    encoding = draw(st.sampled_from(["utf-8"] * 20 + ["utf-8-sig", "utf-16", "utf-32-le"]))
    return text.encode(encoding, "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, times: int = 3) -> bytes:
    """The bytes with a few of them changed, put in, taken out, repeated or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, times))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "insert", "delete", "repeat", "cut"])):
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at : at + draw(st.integers(1, 16))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case _:
                del data[at:]
    return bytes(data)
