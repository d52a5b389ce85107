"""
``s3proxy keys``: what each command does to a keys file, what it says, and that a secret is shown once or never.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from s3proxy.commands import key_options, keys
from s3proxy.commands.cli import main
from s3proxy.configuration.sources import SOURCES, SourceForm
from s3proxy.configuration.tables import Kind, NotAccepted, boolean, list_of, option, options_of, text
from s3proxy.credentials.file import read_keys
from s3proxy.credentials.record import KeyTable
from s3proxy.credentials.source import ANY_NAMES
from s3proxy.s3.credential import Credential

FILE = """\
# Keys of the laboratory.

[[key]]  # the first one
access_key_id = "ALICE"
secret_access_key = "secret of alice"  # from the vault
expires = 2020-01-01T00:00:00Z

# Bob rotates.
[[key]]
secret_access_key = ["secret of bob", "new secret of bob"]
access_key_id = "BOB"
disabled = true
requests = 5
exempt = ["region", "clock-skew"]
backend = "only"
"""

CONFIGURATION = """\
[[backend]]
name = "only"
url = "http://127.0.0.1:1"
access_key_id = "OURS"
secret_access_key_env = "A_VARIABLE_OF_THE_DAEMON"
"""


@dataclass(frozen=True)
class Ran:
    """
    What a command has done.
    """

    status: int
    out: str
    err: str


class Laboratory:
    """
    A configuration, its keys file, and the command.
    """

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.path = directory / "keys.toml"
        self.path.write_text(FILE)
        self.path.chmod(0o600)
        (directory / "s3proxy.toml").write_text(CONFIGURATION)
        self._capture = capture
        self.texts: list[str] = []

    def __call__(self, *arguments: str) -> Ran:
        try:
            status = main(["keys", "--config", str(self.directory / "s3proxy.toml"), *arguments])
        except SystemExit as error:
            status = int(str(error.code))
        captured = self._capture.readouterr()
        self.texts += [captured.out, captured.err]
        return Ran(status, captured.out, captured.err)

    def key(self, name: str) -> Credential:
        """
        A key as the daemon reads it.
        """
        return read_keys(self.path, ANY_NAMES)[name.encode()]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Laboratory:
    """
    The command, with a configuration.
    """
    return Laboratory(tmp_path, capsys)


def secret_in(output: str) -> str:
    """
    The secret that was shown.
    """
    found = re.fullmatch(r"\[default\]\naws_access_key_id = (\S+)\naws_secret_access_key = ([A-Za-z0-9]{40})\n", output)
    assert found is not None
    return found[2]


def play_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, *secrets: str) -> list[str]:
    """
    Let an operator sit at the terminal; return the questions that are asked silently.
    """
    asked: list[str] = []
    answers = list(secrets)
    terminal = io.StringIO(typed)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr("getpass.getpass", lambda question: (asked.append(question), answers.pop(0))[1])
    return asked


# list


def test_keys_are_listed(run: Laboratory) -> None:
    """
    What each key is and may do, without its secrets.
    """
    ran = run("list")

    assert (ran.status, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["KEY", "STATE", "EXPIRES", "BACKEND", "SECRETS", "RULES"],
        ["ALICE", "expired", "2020-01-01T00:00:00Z", "-", "1", "-"],
        ["BOB", "disabled", "-", "only", "2", "exempt=region,clock-skew", "requests=5"],
    ]


def test_keys_are_listed_for_programs(run: Laboratory) -> None:
    """
    The same as one JSON document.
    """
    ran = run("list", "--json")

    assert ran.status == 0
    assert json.loads(ran.out) == [
        {
            "access_key_id": "ALICE",
            "state": "expired",
            "expires": "2020-01-01T00:00:00Z",
            "backend": None,
            "secrets": 1,
            "is_temporary": False,
            "rules": {},
        },
        {
            "access_key_id": "BOB",
            "state": "disabled",
            "expires": None,
            "backend": "only",
            "secrets": 2,
            "is_temporary": False,
            "rules": {"exempt": ["region", "clock-skew"], "requests": 5},
        },
    ]


def test_a_temporary_key_is_named_without_its_token(run: Laboratory) -> None:
    """
    The token is a secret, too.
    """
    run.path.write_text(FILE + 'session_token = "token of bob"\n')

    assert "session_token exempt=" in run("list").out
    assert json.loads(run("list", "--json").out)[1]["is_temporary"] is True
    assert "token of bob" not in "".join(run.texts)


# add


def test_a_key_is_added(run: Laboratory) -> None:
    """
    After the others, which stay byte for byte. Its secret is shown once, in the form of AWS clients.
    """
    ran = run("add", "CAROL")

    key = run.key("CAROL")
    assert ran.status == 0
    assert key.secret_access_keys == (secret_in(ran.out),)
    assert "aws_access_key_id = CAROL\n" in ran.out
    assert 'Key "CAROL" was added. The daemon uses it after a reload (SIGHUP)' in ran.err
    assert run.path.read_text().startswith(FILE)
    assert secret_in(ran.out) not in ran.err


def test_a_key_id_is_made(run: Laboratory) -> None:
    """
    Each time another one.
    """
    names = [re.findall(r"aws_access_key_id = ([A-Z2-7]{20})\n", run("add", "--generate").out)[0] for _ in range(2)]

    assert names[0] != names[1]
    assert list(read_keys(run.path, ANY_NAMES)) == [b"ALICE", b"BOB", *map(str.encode, names)]


def test_the_rules_of_a_key_are_options(run: Laboratory) -> None:
    """
    As a keys file would have them, without quotation marks.
    """
    ran = run(
        *("add", "CAROL", "--backend", "only", "--exempt", "region", "--exempt", "chunk-size", "--refuse", "v2-query"),
        *("--requests", "7", "--bytes-per-second", "2 MiB", "--expires", "2031-01-01T00:00:00Z", "--disabled"),
    )

    key = run.key("CAROL")
    assert ran.status == 0
    assert (key.backend, set(key.exemptions), set(key.refused)) == ("only", {"region", "chunk-size"}, {"v2-query"})
    assert key.budget is not None
    assert (key.budget.requests, key.budget.bytes_per_second) == (7, 2 << 20)
    assert (key.expires_at, key.is_disabled) == (datetime(2031, 1, 1, tzinfo=UTC), True)


WRONG_OPTIONS = {
    "a number": (["--requests", "many"], 2, "--requests: "),
    "a word": (["--exempt", "everything"], 2, "--exempt: "),
    "a time": (["--expires", "2031-01-01"], 2, "--expires: "),
    "two values": (["--requests", "1\nbodies = 2"], 2, "--requests: "),
    "a backend": (["--backend", "other"], 1, '--backend: "other" is not accepted; accepted: "only"\n'),
    "a backend key": (["--backend-key", "other"], 1, '--backend-key: "other" is not accepted; accepted: none'),
    "no secret": (["--secret-env", "UNSET_VARIABLE"], 1, "--secret-env: environment variable UNSET_VARIABLE is unset"),
    "no file": (["--secret-file", "/nonexistent"], 1, "--secret-file: /nonexistent: No such file or directory\n"),
    "no terminal": (["--secret-prompt"], 1, "--secret-prompt requires a terminal"),
    "two sources": (["--secret-prompt", "--secret-env", "X"], 2, "not allowed with argument"),
}


@pytest.mark.parametrize("kind", WRONG_OPTIONS)
def test_a_wrong_option_changes_nothing(run: Laboratory, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One line says which it is, and what is accepted.
    """
    monkeypatch.setattr(sys, "stdin", io.StringIO("a secret\n"))
    arguments, status, told = WRONG_OPTIONS[kind]

    ran = run("add", "CAROL", *arguments)

    assert (ran.status, ran.out) == (status, "")
    assert told in ran.err
    assert run.path.read_text() == FILE


@pytest.mark.parametrize(
    ("name", "told"), [("ALICE", 'already a key "ALICE"'), ("a/b", 'KEY_ID: "a/b" is not accepted'), ("", "KEY_ID: ")]
)
def test_a_key_that_cannot_be_added(run: Laboratory, name: str, told: str) -> None:
    """
    A key is never replaced.
    """
    ran = run("add", name)

    assert (ran.status, ran.out) == (1, "")
    assert told in ran.err
    assert run.path.read_text() == FILE


def test_each_rule_of_a_key_has_an_option(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What a key's table declares is an option, its secrets excepted. The next declaration is one, too.
    """
    ran = run("add", "--help")
    declared = [each.name for each in options_of(KeyTable)]

    for name in declared:
        is_option = f"--{name.replace('_', '-')} " in ran.out
        assert is_option == (name not in {"access_key_id", "secret_access_key", "session_token"}), name

    @dataclass(frozen=True, kw_only=True)
    class Wider(KeyTable):
        read_only: bool = option(boolean(), "Whether it reads only.", default=False)
        networks: tuple[str, ...] = option(list_of(text("a network")), "Where its clients are.", ())
        hidden: str | None = option(text("a word", is_secret=True), "A secret.", None)

    monkeypatch.setattr(key_options, "KeyTable", Wider)
    monkeypatch.setattr(keys, "KeyTable", Wider)
    written: list[Any] = []
    monkeypatch.setattr(
        "s3proxy.credentials.file_writer.put_key", lambda former, record: (written.append(record), former)[1]
    )
    ran = run("add", "CAROL", "--read-only", "--networks", "10.0.0.0/8", "--networks", "::1")

    assert ran.status == 0
    assert {name: written[0][name] for name in ("read_only", "networks")} == {
        "read_only": True,
        "networks": ["10.0.0.0/8", "::1"],
    }
    assert run("add", "DAVE", "--hidden", "x").status == 2


# Secrets


def test_a_secret_from_a_prompt(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is asked for twice, silently, and shown never.
    """
    asked = play_terminal(monkeypatch, "", "typed secret", "typed secret")

    ran = run("add", "CAROL", "--secret-prompt")

    assert (ran.status, ran.out) == (0, "")
    assert len(asked) == 2
    assert run.key("CAROL").secret_access_keys == ("typed secret",)
    assert "typed secret" not in ran.err


@pytest.mark.parametrize("typed", [("one secret", "other secret"), ("", ""), ("a\tsecret", "a\tsecret")])
def test_a_secret_that_is_typed_wrong(run: Laboratory, typed: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is changed, and neither text is shown.
    """
    play_terminal(monkeypatch, "", *typed)

    ran = run("add", "CAROL", "--secret-prompt")

    assert ran.status == 1
    assert run.path.read_text() == FILE
    assert not [each for each in typed if each and each in ran.out + ran.err]


def test_a_terminal_that_would_show_the_secret_is_not_used(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    getpass only warns then, and reads what everyone can see.
    """
    import getpass
    import warnings

    play_terminal(monkeypatch, "")

    def ask(question: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=2)
        return "seen secret"

    monkeypatch.setattr("getpass.getpass", ask)
    ran = run("add", "CAROL", "--secret-prompt")

    assert ran.status == 1
    assert "would show the secret" in ran.err
    assert run.path.read_text() == FILE


def test_a_secret_from_a_file_or_a_variable(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is shown never.
    """
    (run.directory / "secret").write_text("filed secret\n")
    monkeypatch.setenv("NEW_SECRET", "secret of the environment")

    from_file = run("add", "CAROL", "--secret-file", str(run.directory / "secret"))
    from_variable = run("add", "DAVE", "--secret-env", "NEW_SECRET")

    assert [from_file.status, from_file.out, from_variable.status, from_variable.out] == [0, "", 0, ""]
    assert run.key("CAROL").secret_access_keys == ("filed secret",)
    assert run.key("DAVE").secret_access_keys == ("secret of the environment",)
    assert not re.search("filed secret|secret of the environment", "".join(run.texts))


def test_a_secret_is_written_to_a_new_file(run: Laboratory) -> None:
    """
    Only its owner can read it, whatever the umask, and the secret is shown nowhere else.
    """
    path = run.directory / "carol"
    former = os.umask(0)
    try:
        ran = run("add", "CAROL", "--output", str(path))
    finally:
        os.umask(former)

    assert (ran.status, ran.out) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run.key("CAROL").secret_access_keys == (secret_in(path.read_text()),)
    assert secret_in(path.read_text()) not in ran.err


def test_a_secret_that_cannot_be_written_changes_nothing(run: Laboratory) -> None:
    """
    An existing file is not replaced, and a secret that nobody has is of no use.
    """
    path = run.directory / "carol"
    path.write_text("something else")

    existing = run("add", "CAROL", "--output", str(path))
    nowhere = run("add", "CAROL", "--output", str(run.directory / "none" / "carol"))

    assert (existing.status, existing.err) == (1, f"--output: {path}: File exists\n")
    assert (nowhere.status, "No such file" in nowhere.err) == (1, True)
    assert path.read_text() == "something else"
    assert run.path.read_text() == FILE


def test_the_file_of_a_secret_goes_if_the_change_fails(run: Laboratory) -> None:
    """
    It would hold a secret that nobody accepts.
    """
    path = run.directory / "alice"

    assert run("add", "ALICE", "--output", str(path)).status == 1
    assert not path.exists()


def test_a_given_secret_is_not_written(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The operator has it already.
    """
    monkeypatch.setenv("NEW_SECRET", "given secret")

    ran = run("add", "CAROL", "--secret-env", "NEW_SECRET", "--output", str(run.directory / "carol"))

    assert (ran.status, "--output is for a secret that is made" in ran.err) == (1, True)
    assert not (run.directory / "carol").exists()
    assert run.path.read_text() == FILE


@pytest.mark.parametrize(
    ("arguments", "undo"), [(["add", "CAROL"], "remove CAROL"), (["rotate", "ALICE"], "rotate --cancel ALICE")]
)
def test_a_secret_that_nobody_has_seen(
    run: Laboratory, arguments: list[str], undo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Standard output is closed: the operator hears how to undo the change.
    """

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())

    ran = run(*arguments)

    assert ran.status == 1
    assert f"The secret could not be shown. Undo it: s3proxy keys {undo}\n" in ran.err


# rotate


def test_a_rotation(run: Laboratory) -> None:
    """
    A second secret, which is shown; then the former one is dropped. Only the line of the secret differs.
    """
    begun = run("rotate", "ALICE")
    both = run.key("ALICE").secret_access_keys
    text = run.path.read_text()
    finished = run("rotate", "--finish", "ALICE")

    secret = secret_in(begun.out)
    assert (begun.status, finished.status, finished.out) == (0, 0, "")
    assert both == ("secret of alice", secret)
    assert text == FILE.replace('"secret of alice"', f'["secret of alice", "{secret}"]')
    assert run.key("ALICE").secret_access_keys == (secret,)
    assert run.path.read_text() == FILE.replace("secret of alice", secret)
    assert "When all clients use the new one: s3proxy keys rotate --finish ALICE\n" in begun.err
    assert 'The former secret of key "ALICE" was dropped.' in finished.err


def test_a_rotation_that_is_cancelled_leaves_nothing(run: Laboratory) -> None:
    """
    Not one byte differs.
    """
    run("rotate", "ALICE")
    ran = run("rotate", "--cancel", "ALICE")

    assert ran.status == 0
    assert 'The new secret of key "ALICE" was dropped.' in ran.err
    assert run.path.read_text() == FILE


ENDS = {
    "a third secret": (["rotate", "BOB"], "has two secrets already. Drop the former one by `rotate --finish BOB`"),
    "nothing to finish": (["rotate", "--finish", "ALICE"], "has only one secret"),
    "nothing to cancel": (["rotate", "--cancel", "ALICE"], "has only one secret"),
    "a secret for the end": (["rotate", "--finish", "BOB", "--secret-env", "X"], "take no secret"),
    "the same secret": (["rotate", "ALICE", "--secret-env", "SAME"], 'is the secret of key "ALICE" already'),
    "an unknown key": (["rotate", "ALCIE"], 'no key "ALCIE" (did you mean "ALICE"?)'),
    "an unknown key to finish": (["rotate", "--finish", "X"], 'no key "X"'),
    "an unknown key to disable": (["disable", "X"], 'no key "X"'),
    "an unknown key to enable": (["enable", "X"], 'no key "X"'),
    "an unknown key to remove": (["remove", "--yes", "X"], 'no key "X"'),
    "an unknown key to ask about": (["remove", "X"], 'no key "X"'),
}


@pytest.mark.parametrize("kind", ENDS)
def test_what_cannot_be_done_changes_nothing(run: Laboratory, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One line says why, without a secret.
    """
    monkeypatch.setenv("SAME", "secret of alice")
    arguments, told = ENDS[kind]

    ran = run(*arguments)

    assert (ran.status, ran.out) == (1, "")
    assert told in ran.err
    assert ran.err.count("\n") == 1
    assert "secret of" not in ran.err.replace("secret of key", "")
    assert run.path.read_text() == FILE


# disable, enable, remove


def test_a_key_is_disabled_and_enabled(run: Laboratory) -> None:
    """
    One line is added to its table. To say it again changes nothing.
    """
    line = "expires = 2020-01-01T00:00:00Z\n"

    disabled = run("disable", "ALICE")
    assert (disabled.status, disabled.out) == (0, "")
    assert run.path.read_text() == FILE.replace(line, line + "disabled = true\n")

    former = run.path.stat()
    again = run("disable", "ALICE")
    assert (again.status, "is disabled already; nothing was changed" in again.err) == (0, True)
    assert run.path.stat() == former

    assert run("enable", "ALICE").status == 0
    assert run.path.read_text() == FILE.replace(line, line + "disabled = false\n")
    assert "is enabled already" in run("enable", "ALICE").err


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_a_key_is_removed_after_a_question(run: Laboratory, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its comments stay.
    """
    play_terminal(monkeypatch, answer)

    ran = run("remove", "BOB")

    assert (ran.status, ran.out) == (0, "")
    assert f'Remove the key "BOB" from {run.path.name} for good? [y/N] ' in ran.err.replace(
        str(run.directory) + "/", ""
    )
    assert list(read_keys(run.path, ANY_NAMES)) == [b"ALICE"]
    assert run.path.read_text() == FILE[: FILE.index("[[key]]\nsecret")]


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yesterday\n"])
def test_a_key_stays_unless_the_answer_is_yes(run: Laboratory, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Silence is no answer.
    """
    play_terminal(monkeypatch, answer)

    ran = run("remove", "BOB")

    assert (ran.status, "nothing was changed" in ran.err) == (1, True)
    assert run.path.read_text() == FILE


def test_without_a_terminal_nothing_is_removed(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Unless the command line says so.
    """
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    refused = run("remove", "BOB")
    assert (refused.status, "use --yes" in refused.err) == (1, True)
    assert run.path.read_text() == FILE

    assert run("remove", "--yes", "BOB").status == 0
    assert list(read_keys(run.path, ANY_NAMES)) == [b"ALICE"]


# Where the keys are


def test_the_configuration_is_in_the_working_directory(run: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    By default. Relative paths start from the configuration.
    """
    monkeypatch.chdir(run.directory)
    assert main(["keys", "list"]) == 0

    (run.directory / "elsewhere").mkdir()
    monkeypatch.chdir(run.directory / "elsewhere")
    assert main(["keys", "list"]) == 1
    assert main(["keys", "list", "--config", "../s3proxy.toml"]) == 0
    assert main(["keys", "--source", "file:../keys.toml", "list"]) == 0
    assert main(["keys", "list", "--source", "file:keys.toml"]) == 1


SOURCES_OF_KEYS = {
    "keys.toml": "--source is not accepted",
    "gopher:x": "--source is not accepted",
    "file:": "--source is not accepted",
    "elsewhere:x": 'the keys of a source "elsewhere:" are managed elsewhere',
    "database://user:hidden@host/name": "--source must not contain a password",
    "database://host/name?password=hidden": "--source must not contain a password",
    "database://[": "--source is not accepted",
}


@pytest.mark.parametrize("source", SOURCES_OF_KEYS)
def test_a_source_that_cannot_be_used(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    One line says why, without what may be a password.
    """
    monkeypatch.setitem(SOURCES, "elsewhere", SourceForm("PATH", "s3proxy.credentials.file.open_file"))
    monkeypatch.setitem(SOURCES, "database", SourceForm("//HOST", "s3proxy.credentials.file.open_file"))

    status = main(["keys", "--source", source, "list"])

    captured = capsys.readouterr()
    assert (status, captured.out) == (1, "")
    assert SOURCES_OF_KEYS[source] in captured.err
    assert "hidden" not in captured.err


def test_a_source_and_a_configuration_exclude_each_other(run: Laboratory) -> None:
    """
    Neither is silently ignored.
    """
    ran = run("list", "--source", "file:keys.toml")

    assert (ran.status, ran.out) == (1, "")
    assert "exclude each other" in ran.err


BROKEN: dict[str, Callable[[Laboratory], object]] = {
    "no configuration": lambda run: (run.directory / "s3proxy.toml").unlink(),
    "a wrong source": lambda run: (run.directory / "s3proxy.toml").write_text("[credentials]\nsource = 1\n"),
    "no keys": lambda run: run.path.unlink(),
    "broken keys": lambda run: run.path.write_text(FILE + "nonsense = 1\n"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_is_named(run: Laboratory, kind: str) -> None:
    """
    With its file, without a traceback.
    """
    BROKEN[kind](run)

    ran = run("list")

    assert (ran.status, ran.out) == (1, "")
    assert str(run.directory) in ran.err
    assert "secret of" not in ran.err


def test_no_output_has_a_secret(run: Laboratory) -> None:
    """
    Of all commands, only those that make a secret show one: that one, once.
    """
    made = [secret_in(run("add", "CAROL").out), secret_in(run("rotate", "ALICE").out)]
    for arguments in (
        *(["list"], ["list", "--json"], ["add", "CAROL"], ["rotate", "ALICE"], ["rotate", "BOB"]),
        *(["rotate", "--finish", "ALICE"], ["rotate", "--cancel", "BOB"], ["disable", "CAROL"], ["enable", "CAROL"]),
        *(["add", "X", "--backend", "other"], ["remove", "--yes", "CAROL"]),
    ):
        run(*arguments)

    texts = "".join(run.texts)
    assert [texts.count(secret) for secret in made] == [1, 1]
    assert not re.search("secret of (alice|bob)", texts)


def test_values_are_read_as_a_file_has_them() -> None:
    """
    Text needs no quotation marks, and is not taken for another type.
    """

    def accept(value: Any) -> Any:
        if isinstance(value, list):
            raise NotAccepted
        return value

    read = key_options._reader(Kind("anything", accept))

    assert read("5") == "5"
    assert key_options._literal("5") == 5
    assert key_options._literal("5\nb = 6") is None
    assert key_options._literal("[[[") is None
