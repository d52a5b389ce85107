"""
What a list of signed headers covers of a set of header names: decided once for both, not for each request.

Source:
    "Signature Calculations for the Authorization Header", Task 1.
"""

from __future__ import annotations

from typing import Any

from s3proxy.s3.header_names import KNOWN_SETS, MAX_KNOWN_SETS, HeaderNames, is_known
from s3proxy.s3.known import Known, picker
from s3proxy.s3.native import NATIVE
from s3proxy.sigv4.signed_headers import MAX_KEPT_LIST_SIZE, split_list, unsigned_names


class Coverage:
    """
    A list of signed headers, and what it means for one set of names.

    Args:
        names: The names of the head.
        raw_signed_headers: The list as sent.

    Attributes:
        signed_headers: The names of the list, each once.
        signed_set: The same as a set.
        unsigned: Names of the head that must be signed, and are not in the list.
        native: The same for native code; None if there is none.
    """

    __slots__ = ("_form", "_pick", "native", "signed_headers", "signed_set", "unsigned")

    def __init__(self, names: HeaderNames, raw_signed_headers: bytes) -> None:
        self.signed_headers, self.signed_set = split_list(raw_signed_headers)
        self.unsigned = tuple(unsigned_names(names.lower, self.signed_set))
        places = {name: place for place, name in enumerate(names.lower)}
        self._pick = picker([places[name] for name in self.signed_headers if name in places])
        lines = b"".join(
            [
                # A missing header counts as empty.
                name.replace(b"%", b"%%") + (b":%s\n" if name in places else b":\n")
                for name in self.signed_headers
            ]
        )
        self.native: Any = None
        if NATIVE is not None:
            signed = [(name, places.get(name)) for name in self.signed_headers]
            self.native = NATIVE.Coverage(signed, raw_signed_headers)
        self._form = b"%%s\n%%s\n%%s\n%s\n%s\n%%s" % (lines, raw_signed_headers.replace(b"%", b"%%"))

    def canonical_request(
        self, method: bytes, path: bytes, query: bytes, values: tuple[bytes, ...], payload: bytes
    ) -> bytes | None:
        """
        Return the canonical request; None if there is white space inside a signed value, which must be trimmed.

        Args:
            path: Canonical.
            query: Canonical.
            values: The values of the head's headers, in the order of its names.
            payload: As sent.
        """
        text = self._form % (method, path, query, *self._pick(values), payload)
        return text if text.find(b" ") < 0 and text.find(b"\t") < 0 else None


KNOWN_COVERAGES: Known[tuple[HeaderNames, bytes], Coverage] = Known(MAX_KNOWN_SETS, about=KNOWN_SETS)
"""
What the lists of the last requests mean for their sets of names.
"""


def find_coverage(names: HeaderNames | None, raw_signed_headers: bytes) -> Coverage | None:
    """
    Return what a list covers of a set of names; None if the set or the list is not one that is remembered.
    """
    if names is None or len(raw_signed_headers) > MAX_KEPT_LIST_SIZE:
        return None
    key = (names, raw_signed_headers)
    return KNOWN_COVERAGES.get(key) or _cover(key)


def _cover(key: tuple[HeaderNames, bytes]) -> Coverage:
    names, coverage = key[0], Coverage(*key)
    # A list may name any number of headers that were not sent. It is not remembered: it comes before any signature.
    is_kept = coverage.signed_set.issubset(names.lower) and is_known(names)
    return KNOWN_COVERAGES.keep(key, coverage) if is_kept else coverage
