"""
What the supervisor and a worker say to each other. Both sides use this module, so nothing is spelled twice.

The strategy: a worker learns all that it needs before it does anything, from one JSON document on descriptor 0. After
that the supervisor sends one-way commands, a line each, and the worker sends reports, a JSON document in a line each.
Neither side waits for a response. If one of the two dies, the other one reads the end of a pipe.

The keys of a document are the names of the fields. A worker runs the program that is on disk when it starts, which may
be newer than the supervisor's. It ignores a field that it does not know, and it needs every field that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    # A worker imports this module before it logs, and the larger ones after that.
    from s3proxy.telemetry.metrics import Family

COMMANDS_FD = 3
REPORTS_FD = 4
FIRST_SOCKET_FD = 5
"""
Descriptors of a worker, beside its orders on 0 and its log on 2. The listening sockets begin at the last of them.
"""

RETIRE = b"retire"
"""
Leave the sockets to a successor, and end with the last request. The end of the commands means the same.
"""

STOP = b"stop"
"""
Take no new request, and end at the latest when the time of a drain has passed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """
    A message in JSON. Its fields are what JSON has: text, numbers, lists, and tables whose keys are text.
    """

    def to_json(self) -> bytes:
        """
        Return the document in one line, without its end.
        """
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)}).encode()

    @classmethod
    def from_json(cls, document: bytes) -> Self:
        """
        Read what `to_json` returned.
        """
        read = json.loads(document)
        return cls(**{field.name: read[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders(Document):
    """
    What a worker is to do.

    Attributes:
        content: What the configuration says, as `s3proxy.configuration.loading.Configuration` has it.
        directory: What relative paths are relative to.
        sockets: Descriptors of listening sockets, in the worker, by name.
        workers: How many workers share the limits.
        number: Which of them this one is, from 0 on.
        counts_fd: The descriptor, in the worker, of the memory in which they tell how many connections they have.
        multipart_directory: What the supervisor has claimed for all of them; None if it has claimed none.
    """

    content: Mapping[str, object]
    directory: str
    sockets: Mapping[str, int]
    workers: int
    number: int
    counts_fd: int
    multipart_directory: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Document):
    """
    What a worker has counted since it started. The first report says that it accepts connections.

    Attributes:
        metrics: As `s3proxy.telemetry.metrics.Metrics.families` returns them.
    """

    metrics: list[Family]
