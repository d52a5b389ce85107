"""
The sources of client keys that `credentials.source` can name: ``WORD:ARGUMENT``, or a URL.

A row names its opener and does not import it. This room is below the sources, and a source's driver is imported only if
the source is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.configuration.tables import NotAccepted


@dataclass(frozen=True, slots=True)
class SourceForm:
    """
    One kind of credential source.

    Attributes:
        argument: What comes after the word and its colon, as a placeholder for messages and the reference. If it begins
            with two slashes, the source is a URL, and the word is its scheme.
        opener: Full name of the function that opens the source: an `Opener` of `s3proxy.credentials.source`.
        extra: The extra of the package that installs the driver; empty if the source needs none.
        writer: Full name of the function that opens it for ``s3proxy keys``: a `WriterOpener` of
            `s3proxy.credentials.writer`. None if its keys are managed elsewhere.
        is_file: Whether the argument is the path of a file that only a reload reads again.
    """

    argument: str
    opener: str
    extra: str = ""
    writer: str | None = None
    is_file: bool = False

    @property
    def is_url(self) -> bool:
        """
        Whether the source is a URL. Its opener gets the whole URL.
        """
        return self.argument.startswith("//")


SOURCES = {
    "file": SourceForm(
        "PATH",
        "s3proxy.credentials.file.open_file",
        writer="s3proxy.credentials.file_writer.open_writer",
        is_file=True,
    ),
    "sqlite": SourceForm(
        "PATH",
        "s3proxy.credentials.sqlite.open_sqlite",
        writer="s3proxy.credentials.sqlite_writer.open_writer",
    ),
    "postgresql": SourceForm(
        "//USER@HOST/DATABASE",
        "s3proxy.credentials.postgresql.open_postgresql",
        extra="postgresql",
        writer="s3proxy.credentials.postgresql_writer.open_writer",
    ),
    "ldap": SourceForm("//HOST[:PORT]/BASE_DN", "s3proxy.credentials.ldap.open_ldap", extra="ldap"),
    "ldaps": SourceForm("//HOST[:PORT]/BASE_DN", "s3proxy.credentials.ldap.open_ldap", extra="ldap"),
    "http": SourceForm("//HOST[:PORT]/PATH", "s3proxy.credentials.callout.open_callout"),
    "https": SourceForm("//HOST[:PORT]/PATH", "s3proxy.credentials.callout.open_callout"),
    "keystone": SourceForm("URL", "s3proxy.credentials.keystone.open_keystone"),
}
"""
The kinds of credential sources by their words.
"""


def accepted_sources() -> str:
    """
    Return the accepted forms of a source, as text for error messages and the reference.
    """
    return " | ".join(f'"{word}:{form.argument}"' for word, form in SOURCES.items())


def find_source(source: str) -> tuple[SourceForm, str]:
    """
    Return the kind of a source, and what its opener gets: the argument, or the whole URL.

    Raises:
        NotAccepted: The word is unknown, or the argument is missing.
    """
    word, _, argument = source.partition(":")
    if word not in SOURCES or not argument:
        raise NotAccepted
    form = SOURCES[word]
    if not form.is_url:
        return form, argument
    if not argument.startswith("//") or argument == "//":
        raise NotAccepted
    return form, source


def check_source(source: str) -> None:
    """
    Check the word of a source. Whether the source can be opened is not checked.

    Raises:
        NotAccepted: The word is unknown, or the argument is missing.
    """
    find_source(source)
