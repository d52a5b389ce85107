"""
The protocol between the supervisor and a worker. Both sides use this module, so nothing is spelled twice.

The strategy: before a worker does anything, it gets all that it needs, as one JSON document on descriptor 0. After that
the supervisor sends one-way commands, one on each line, and the worker sends reports, each a JSON document on one line.
Neither side waits for a response. If one of the two dies, the other one reads the end of a pipe.

The keys of a document are the names of the fields. A worker runs the program that is on disk when it starts, which may
be newer than the supervisor's. It ignores unknown fields, and it needs every known field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    # A worker imports this module before it can log, and the larger ones after that.
    from s3proxy.telemetry.metrics import Family

COMMANDS_FD = 3
REPORTS_FD = 4
FIRST_SOCKET_FD = 5
"""
Descriptors of a worker, in addition to its orders on 0 and its log on 2. The listening sockets begin at the last of
them.
"""

RETIRE = b"retire"
"""
The command to leave the sockets to a successor, and to end after the last request. The end of the commands means the
same.
"""

STOP = b"stop"
"""
The command to serve no new request, and to end at the latest after the time of a drain.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """
    A message in JSON. Its fields have JSON types: text, numbers, lists, and tables whose keys are text.
    """

    def to_json(self) -> bytes:
        """
        Return the document as one line, without the line end.
        """
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)}).encode()

    @classmethod
    def from_json(cls, document: bytes) -> Self:
        """
        Read the output of `to_json`.
        """
        read = json.loads(document)
        return cls(**{field.name: read[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders(Document):
    """
    The configuration and descriptors for a worker.

    Attributes:
        content: The content of the configuration, as `s3proxy.configuration.loading.Configuration` has it.
        directory: The directory that relative paths start from.
        sockets: Descriptors of listening sockets in the worker, by name.
        workers: How many workers share the limits.
        number: The number of this worker, from 0.
        counts_fd: The descriptor, in the worker, of the memory in which workers share their numbers of connections.
        multipart_directory: The directory that the supervisor has claimed for all workers; None if it has claimed none.
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
    What a worker has counted since its start. The first report shows that it accepts connections.

    Attributes:
        metrics: The output of `s3proxy.telemetry.metrics.Metrics.families`.
    """

    metrics: list[Family]
