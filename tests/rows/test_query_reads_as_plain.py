"""`SELECT * FROM data` gives the records that the file gives without a query, or is refused."""

import itertools
import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.domain.definitions import Extract
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import RefusedRow
from loomgit.errors import LoomError
from loomgit.rows.sources import open_source
from tests.soak import sized

EXAMPLES = sized(100, 2_500)  # files of each kind
VALUES = QueryValues(datetime(2026, 3, 4, tzinfo=UTC))
numbers = itertools.count()

CODES = ["", "007", "NaN", "inf"]
CODES += ["1", "1.0", "-0", "1e5", "1_000", "0x10", "99999999999999999999"]
WORDS = [
    "true",
    "False",
    "t",
    "null",
    "NULL",
    "None",
    "\\N",
    "-",
    "{}",
    '{"k": 1}',
    "[1]",
    "#",
    "'",
]
SPACES = ["a,b", 'say "hi"', "a\nb", "a\r\nb", "\r", " x ", "\t", "été", "😀", "\u2028"]
MOMENTS = ["2026-02-30", "05-11-2025", "12:30", "2024-01-05T10:00:00.123456789+05:30"]
IDS = ["BBD05AE7-58CC-4372-A567-0E02B2C3D479"]
TEXTS = st.sampled_from(CODES + WORDS + SPACES + MOMENTS + IDS)
NAMES = st.sampled_from(
    ["id", "text", "ID", "a b", "select", "é", "É", '"q"', "data", "1", "ß", "x.y"]
)


def read(path, query):
    """The rows, and the refused rows, or the error."""
    extract = Extract(path.name, query=query)
    try:
        rows = list(open_source(extract, root=path.parent, values=VALUES).rows())
    except LoomError as error:
        return error
    refused = [row for row in rows if isinstance(row, RefusedRow)]
    return [row for row in rows if not isinstance(row, RefusedRow)], refused


def without_nulls(row):
    return {name: value for name, value in row.items() if value is not None}


def typed(value):
    """The value with the type of each number, because 1 == 1.0 == True."""
    return json.dumps(value, sort_keys=True)


def require_same(path, *, nulls=True):
    plain, queried = read(path, None), read(path, "SELECT * FROM data")
    if isinstance(plain, LoomError):
        assert isinstance(queried, LoomError), (plain, queried)
        assert queried.message == plain.message
        return
    if isinstance(queried, LoomError):
        assert any(
            reason in queried.message
            for reason in (
                "differ only in upper and lower case",
                "the records have no fields",
                "a query cannot use a field",
            )
        ), queried.message
        return
    keep = dict if nulls else without_nulls
    assert [typed(keep(row)) for row in queried[0]] == [typed(keep(row)) for row in plain[0]]
    assert queried[1] == plain[1]


@st.composite
def csv_files(draw):
    """The bytes of a file that is often CSV."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    lines = [
        names,
        *draw(st.lists(st.lists(TEXTS, min_size=len(names), max_size=len(names)), max_size=5)),
    ]
    if len(lines) > 1 and draw(st.integers(0, 9)) == 0:
        lines[-1] = [*lines[-1], "x"]
    text = ""
    for line in lines:
        text += draw(st.sampled_from(["", "", "", "\n", "\r\n", " \n"]))
        fields = []
        for field in line:
            bare = not any(sign in field for sign in ',"\r\n') and draw(st.booleans())
            fields.append(field if bare else '"' + field.replace('"', '""') + '"')
        text += ",".join(fields) + draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"]))
    return text.encode(encoding, errors="replace")


INTEGERS = st.sampled_from(
    [0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30]
)
FLOATS = st.sampled_from([0.5, -0.0, 1.0, 1e16, 5e-324, 1.7976931348623157e308, 0.1]) | st.floats(
    allow_nan=False, allow_infinity=False
)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS | st.text(max_size=5)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=2), inner),
    max_leaves=6,
)
ODD_KEYS = st.dictionaries(st.sampled_from(["a\0b", "a", "", "A"]), INTEGERS, max_size=2)
OBJECTS = st.fixed_dictionaries({"x": INTEGERS, "y": st.lists(FLOATS, max_size=2)})
KINDS = (SCALARS, TEXTS, INTEGERS, FLOATS, st.booleans(), st.lists(INTEGERS, max_size=3))
KINDS += (st.lists(TEXTS | st.none(), max_size=3), OBJECTS, st.lists(OBJECTS, max_size=2))
KINDS += (JSON_VALUES, ODD_KEYS)


@st.composite
def json_rows(draw):
    """Rows in which the values of a column have one kind; some are null or missing."""
    columns = draw(st.dictionaries(NAMES, st.sampled_from(KINDS), max_size=4))
    rows = draw(st.lists(st.fixed_dictionaries({}, optional=columns), max_size=5))
    for row in rows:
        for name in row:
            if draw(st.integers(0, 9)) == 0:
                row[name] = None
    return rows


def write_new(folder, ending, raw):
    path = folder / f"file{next(numbers)}.{ending}"
    path.write_bytes(raw)
    return path


@settings(deadline=None, max_examples=EXAMPLES)
@given(raw=csv_files())
def test_a_csv_file(tmp_path_factory, raw):
    path = write_new(tmp_path_factory.getbasetemp(), "csv", raw)
    require_same(path)
    path.unlink()


@settings(deadline=None, max_examples=EXAMPLES)
@given(rows=json_rows(), escaped=st.booleans(), form=st.sampled_from(["json", "jsonl"]))
def test_a_json_file(tmp_path_factory, rows, escaped, form):
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    text = "\n".join(lines) if form == "jsonl" else f"[{','.join(lines)}]"
    path = write_new(tmp_path_factory.getbasetemp(), form, text.encode("utf-8", "surrogatepass"))
    require_same(path, nulls=False)
    path.unlink()
