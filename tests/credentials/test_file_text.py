"""
One key of a keys file changes, and every byte outside of what changes stays.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.credentials.file_text import CannotEdit, put_key, read_tables, remove_key

FILE = """\
# Keys of the laboratory.  Ask before you change them.

# Alice, until her project ends
  [[ key ]]   # the first one
access_key_id='ALICE'    # never reused
"secret_access_key"   =   "secret of alice"	# from the vault
expires = 2030-01-01T00:00:00+01:00

# ---- below this line: machines ----

[[key]]
secret_access_key = [
    "secret of bob",  # former
    "other secret of bob",
]
access_key_id = "BOB"
disabled = true  # on leave
# the end of Bob's options


# Carol
[[key]]
access_key_id = "CAROL"
secret_access_key = '''it's "hers"'''
exempt = ["region", "clock-skew"]
"""


def table(name: str, text: str = FILE) -> dict[str, Any]:
    """
    One key of the file.
    """
    return next(each for each in read_tables(text) if each["access_key_id"] == name)


CHANGES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a second secret": (
        "ALICE",
        {"secret_access_key": ["secret of alice", "new"]},
        '"secret_access_key"   =   "secret of alice"\t# from the vault\n',
        '"secret_access_key"   =   ["secret of alice", "new"]\t# from the vault\n',
    ),
    "a list becomes one secret": (
        "BOB",
        {"secret_access_key": "other secret of bob"},
        'secret_access_key = [\n    "secret of bob",  # former\n    "other secret of bob",\n]\n',
        'secret_access_key = "other secret of bob"\n',
    ),
    "a switch": ("BOB", {"disabled": False}, "disabled = true  # on leave\n", "disabled = false  # on leave\n"),
    "a new option": (
        "BOB",
        {"backend": 'a "b" \\ c'},
        "disabled = true  # on leave\n",
        'disabled = true  # on leave\nbackend = "a \\"b\\" \\\\ c"\n',
    ),
    "a new option before comments of the next key": (
        "ALICE",
        {"disabled": True},
        "expires = 2030-01-01T00:00:00+01:00\n",
        "expires = 2030-01-01T00:00:00+01:00\ndisabled = true\n",
    ),
    "a new option of the last key": (
        "CAROL",
        {"requests": 5, "expires": datetime(2031, 2, 3, 4, 5, tzinfo=UTC)},
        'exempt = ["region", "clock-skew"]\n',
        'exempt = ["region", "clock-skew"]\nrequests = 5\nexpires = 2031-02-03T04:05:00Z\n',
    ),
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changes_is_written(change: str, line_end: str) -> None:
    """
    Comments, order, quotation marks, white space and line ends stay, also in the table of the key.
    """
    name, options, before, after = CHANGES[change]
    text = FILE.replace("\n", line_end)

    changed = put_key(text, {**table(name), **options})

    assert FILE.count(before) == 1
    assert changed == FILE.replace(before, after).replace("\n", line_end)


def test_an_option_is_left_out() -> None:
    """
    A record without an option replaces one with it.
    """
    without = {name: value for name, value in table("ALICE").items() if name != "expires"}

    assert put_key(FILE, without) == FILE.replace("expires = 2030-01-01T00:00:00+01:00\n", "")


def test_what_stays_is_not_written() -> None:
    """
    Not even a file that is laid out in another way is changed.
    """
    inline = 'key = [{access_key_id = "A", secret_access_key = "s"}]\n'

    assert put_key(FILE, table("BOB")) is FILE
    assert put_key(inline, {"access_key_id": "A", "secret_access_key": "s"}) is inline


@pytest.mark.parametrize(
    ("text", "lead"),
    [("", ""), ("# no keys yet", "# no keys yet\n\n"), (FILE, FILE + "\n"), (FILE + "\n", FILE + "\n")],
)
def test_a_new_key_is_the_last_one(text: str, lead: str) -> None:
    """
    After a blank line, whatever the end of the file is.
    """
    record = {"access_key_id": "DAVE", "secret_access_key": "s", "exempt": ["region"], "disabled": True}

    assert put_key(text, record) == lead + (
        '[[key]]\naccess_key_id = "DAVE"\nsecret_access_key = "s"\nexempt = ["region"]\ndisabled = true\n'
    )


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("text", ["", FILE, "# no keys\n", FILE + "\n# the last line\n"])
def test_a_key_that_comes_and_goes_leaves_nothing(text: str, line_end: str) -> None:
    """
    Neither a blank line nor a lost one.
    """
    text = text.replace("\n", line_end)
    record = {"access_key_id": "DAVE", "secret_access_key": "s"}

    assert remove_key(put_key(text, record), "DAVE") == text


REMOVALS = {
    "ALICE": (
        FILE[FILE.index("  [[ key ]]") : FILE.index("# ---- below")],
        "",
    ),
    "BOB": (FILE[FILE.index("[[key]]") : FILE.index("# the end of Bob's")], ""),
    "CAROL": (FILE[FILE.rindex("[[key]]") :], ""),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_comments_outlive_their_key(name: str) -> None:
    """
    Only the lines of the key go, and one of the blank lines around it.
    """
    former = [line for line in FILE.splitlines() if line.startswith("#")]

    text = remove_key(FILE, name)

    assert [each["access_key_id"] for each in read_tables(text)] == [each for each in REMOVALS if each != name]
    assert [line for line in text.splitlines() if line.startswith("#")] == former
    for other in set(REMOVALS) - {name}:
        assert REMOVALS[other][0].rstrip() in text


@pytest.mark.parametrize(
    "text",
    [
        'key = [{access_key_id = "A", secret_access_key = "hidden"}, {access_key_id = "B"}]',
        '[[key]]\naccess_key_id = "A"\nsecret_access_key = """\n[[key]]\naccess_key_id = 1"""\n',
        '[["k\\u0065y"]]\naccess_key_id = "A"\nsecret_access_key = "hidden"\n',
    ],
)
def test_a_layout_that_is_not_understood_is_refused(text: str) -> None:
    """
    Nothing is guessed: the operator is told to edit the file.
    """
    assert tomllib.loads(text)["key"][0]["access_key_id"] == "A"
    secret = tomllib.loads(text)["key"][0]["secret_access_key"]

    for change in (
        lambda: put_key(text, {"access_key_id": "A", "secret_access_key": "other"}),
        lambda: remove_key(text, "A"),
    ):
        with pytest.raises(CannotEdit, match="by hand") as raised:
            change()
        assert secret not in str(raised.value)


def test_a_key_is_not_added_to_another_layout() -> None:
    """
    A table after an array of inline tables is no TOML.
    """
    with pytest.raises(CannotEdit, match="by hand"):
        put_key('key = [{access_key_id = "A", secret_access_key = "s"}]\n', {"access_key_id": "B"})


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
VALUES = st.one_of(PRINTABLE, st.booleans(), st.integers(0, 10**9), st.lists(PRINTABLE, max_size=3))
OPTIONS = st.dictionaries(st.sampled_from(["backend", "disabled", "requests", "exempt", "session_token"]), VALUES)
SECRETS = st.one_of(PRINTABLE, st.lists(PRINTABLE, min_size=1, max_size=2))
NAMES = ["A", "B", "C", "D"]
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), st.tuples(SECRETS, OPTIONS))), max_size=8)


@given(steps=STEPS)
def test_any_changes_give_what_they_mean(steps: list[tuple[str, Any]]) -> None:
    """
    Keys are added, replaced and removed in any order: the file says what a list would, and other keys keep their lines.
    """
    text, wanted = FILE, read_tables(FILE)
    for name, change in steps:
        names = [each["access_key_id"] for each in wanted]
        if change is None:
            if name in names:
                text = remove_key(text, name)
                wanted = [each for each in wanted if each["access_key_id"] != name]
            continue
        record = {"access_key_id": name, "secret_access_key": change[0], **change[1]}
        text = put_key(text, record)
        wanted = [record if each["access_key_id"] == name else each for each in wanted]
        wanted += [] if name in names else [record]

    assert read_tables(text) == wanted
    assert text.startswith(FILE.rstrip("\n"))
