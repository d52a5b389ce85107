"""
Change the keys of a source: what ``s3proxy keys`` needs of each kind of source.

The strategy: a record is what the source says about one key, by the options of `KeyTable`, as a keys file would have
it. A change reads a record and puts another one in its place, in one transaction, so that two operators cannot undo
each other's change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from s3proxy.configuration.sources import find_source
from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.source import KeyRules, import_opener

Record = Mapping[str, Any]
"""
One key, by the options of `KeyTable`. What the record does not say is absent.
"""


class KeyEdit(Protocol):
    """
    One transaction. Nothing of it is visible to others before its end.
    """

    def get(self, access_key_id: str) -> Record | None:
        """
        Return the record of a key; None if there is none.
        """

    def put(self, record: Record) -> None:
        """
        Add a key, or replace the record with the same access key id.

        Raises:
            Faults: The source cannot keep this record. No secret is in the text.
        """

    def remove(self, access_key_id: str) -> None:
        """
        Remove a key that `get` returned.

        Raises:
            Faults: The source cannot remove the key.
        """


class KeyWriter(Protocol):
    """
    Lists and changes the keys of one source. It may wait for a disk or another machine, so it is not for the daemon.

    Attributes:
        effect: When a running daemon uses a change: a sentence for the operator.
    """

    effect: str

    def records(self) -> list[Record]:
        """
        Return the records of all keys.

        Raises:
            Faults: The source cannot be read, or is not valid. No secret is in the text.
        """

    def edit(self) -> AbstractContextManager[KeyEdit]:
        """
        Begin a transaction. An exception within it undoes it.

        Raises:
            Faults: The source cannot be read or changed, at the beginning or at the end. No secret is in the text.
        """


WriterOpener = Callable[[str, Path, KeyRules], KeyWriter]
"""
Opens a writer. Its arguments are those of an `Opener`. It raises `Faults` as an opener does.
"""


def open_writer(source: str, directory: Path, rules: KeyRules) -> KeyWriter:
    """
    Open the writer of a source by the source's word.

    Args:
        source: As in the configuration: ``file:keys.toml``.
        directory: Where relative paths start.

    Raises:
        NotAccepted: The word is unknown, or the argument is missing. Settings have no such source.
        Faults: The source cannot be opened, or its keys are managed elsewhere.
    """
    form, argument = find_source(source)
    if form.writer is None:
        word = source.partition(":")[0]
        raise Faults([Fault("credentials.source", f'the keys of a source "{word}:" are managed elsewhere')])
    opener: WriterOpener = import_opener(form, form.writer)
    return opener(argument, directory, rules)
