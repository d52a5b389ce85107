"""
The words of options that choose how something is done.
"""

from __future__ import annotations

from enum import StrEnum


class Commit(StrEnum):
    """
    How a body is verified before the backend can commit it.
    """

    TAIL = "tail"
    "its last bytes are withheld until it is verified"
    SPOOL = "spool"
    "it is verified on disk first"


class FormMode(StrEnum):
    """
    How the file of a POST form is verified before the backend can commit it.
    """

    SPOOL = "spool"
    "on disk"
    STREAM = "stream"
    "as it arrives, with a predicted length"


class UnknownLength(StrEnum):
    """
    How a body in chunked transfer coding is handled that declares no length.
    """

    REFUSE = "refuse"
    SPOOL = "spool"
    "it is verified on disk first"


class MultipartMode(StrEnum):
    """
    How multipart uploads are handled for a backend that does not support them.
    """

    SPOOL = "spool"
    "s3proxy keeps the parts"
    REFUSE = "refuse"


class Reload(StrEnum):
    """
    When the configuration, the keys and the certificates are read again.
    """

    SIGNAL = "signal"
    "on SIGHUP"
    WATCH = "watch"
    "also when one of the files has changed"


class LossyHeaders(StrEnum):
    """
    What happens to an object with a header that the backend would not store.
    """

    DROP = "drop"
    "it is stored without the header"
    REFUSE = "refuse"


class Sent(StrEnum):
    """
    What a callout is told of a request, besides its access key id.
    """

    CARRIER = "carrier"
    "where the request has its signature, and of which kind it is"
    SCOPE = "scope"
    "the day, region and service of Signature V4; the day and service of V4A"
    SESSION_TOKEN = "session_token"  # noqa: S105
    "the session token, which is a credential"
