"""
Reads the error documents of backends, and makes the ones that clients may see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from s3proxy.resign.public_name import URL, PublicName, is_backend, public_url, with_public_urls
from s3proxy.s3.elements import Element, Reading, character_data, read_elements, replace_contents

_OUR_FAULTS = frozenset(
    {
        b"SignatureDoesNotMatch",
        b"InvalidAccessKeyId",
        b"RequestTimeTooSkewed",
        b"AuthorizationHeaderMalformed",
        b"InvalidToken",
        b"ExpiredToken",
    }
)

MAX_CODE_SIZE = 64
"""
Most characters of an error code. S3's longest has 44.
"""

_CODE = re.compile(r"[A-Za-z0-9.]+")
# Walrus has an error code of two words.
_OWN_CODE = re.compile(r"[A-Za-z0-9.]++(?: [A-Za-z]++)*")

ERROR_ROOTS = frozenset({"Error", "ErrorResponse", "Response"})
"""
Names of the root element of an error document. The first is S3's.
"""

_ERROR_ELEMENTS = frozenset({"Code", "Endpoint", "HostId", "Message", "RequestID", "RequestId"})
_CODES_BY_STATUS = {
    400: b"InvalidRequest",
    401: b"AccessDenied",
    403: b"AccessDenied",
    404: b"NoSuchKey",
    405: b"MethodNotAllowed",
    409: b"OperationAborted",
    411: b"MissingContentLength",
    412: b"PreconditionFailed",
    416: b"InvalidRange",
    501: b"NotImplemented",
    503: b"ServiceUnavailable",
}


def read_error(document: bytes, *, is_whole: bool = True) -> Reading:
    """
    Return the elements of a document that may be an error.

    Args:
        is_whole: False if the document is only the beginning of one.
    """
    return read_elements(document, _ERROR_ELEMENTS, is_whole=is_whole)


def error_code(error: Reading) -> bytes | None:
    """
    Return the code of an error document; None if it has none in the form of S3's codes.
    """
    code = own_code(error)
    return code.encode() if _CODE.fullmatch(code) is not None else None


def error_message(error: Reading) -> str:
    """
    Return the message of an error document; empty if it has none.
    """
    return "".join(error.texts("Message")[:1])


def own_code(reading: Reading) -> str:
    """
    Return the first code of a document; empty if it does not have the form of a code.
    """
    for text in reading.texts("Code"):
        code = text.strip(" \t\r\n")
        return code if len(code) <= MAX_CODE_SIZE and _OWN_CODE.fullmatch(code) is not None else ""
    return ""


def translate_error(
    document: bytes, codes: Mapping[bytes, tuple[bytes, bytes]], status: int, *, is_about_object: bool
) -> bytes:
    """
    Return an error document with S3's code instead of the backend's own.

    Args:
        codes: `error_codes` of the profile.
    """
    if not codes:
        return document
    reading = read_error(document)
    known = codes.get(own_code(reading).encode())
    if known is None or not reading.is_readable:
        return document
    code = known[not is_about_object] or code_by_status(status, is_about_object=is_about_object)
    return replace_contents(reading.document, [(e, code) for e in reading.elements if e.name == "Code"][:1])


def code_by_status(status: int, *, is_about_object: bool) -> bytes:
    """
    Return S3's code for the status of an error that has no code.
    """
    if status == 404 and not is_about_object:
        return b"NoSuchBucket"
    return _CODES_BY_STATUS.get(status, b"InvalidRequest" if status < 500 else b"InternalError")


def blames_our_signature(error: Reading) -> bool:
    """
    Return True if an error document is about the signature, key or date that s3proxy sent, not the client's.
    """
    if any(text.strip().encode() in _OUR_FAULTS for text in error.texts("Code")):
        return True
    # If it is not XML, it is searched: a false match is better than showing our own string to sign.
    return not error.is_readable and any(fault in error.document for fault in _OUR_FAULTS)


def public_error(error: Reading, name: PublicName) -> bytes:
    """
    Return an error document with our own request id and host id, and the client's name for us instead of the backend's.

    Args:
        error: Any error. If it is not XML, only URLs of the backend are replaced.

    Source:
        "REST Error Responses"; "Request redirection and the REST API", for Endpoint.
    """
    if not error.is_readable or error.root_name not in ERROR_ROOTS:
        return with_public_urls(error.document, name, character_data(name.host))
    contents: list[tuple[Element, bytes]] = []
    for element in error.elements:
        if element.name in {"RequestId", "RequestID"}:
            contents.append((element, character_data(name.request_id)))
        elif element.name == "HostId":
            contents.append((element, character_data(name.host_id)))
        elif element.name == "Endpoint":
            text = element.text.strip().encode()
            url = URL.fullmatch(text)
            if is_backend(text if url is None else url[1], name.hosts):
                contents.append((element, character_data(name.host if url is None else public_url(text, name))))
        elif element.name == "Message":
            text = element.text.encode("utf-8", "replace")
            public = with_public_urls(text, name, name.host)
            if public != text:
                contents.append((element, character_data(public)))
    return replace_contents(error.document, contents)
