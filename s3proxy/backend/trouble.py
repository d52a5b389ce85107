"""
Why a backend sent no response, in words for an operator. The words include no bytes of a peer.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet import defer
from twisted.internet import error as errors

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendError

_WORDS: dict[type[BaseException], str] = {
    errors.ConnectionRefusedError: "connection refused: no process listens there",
    errors.DNSLookupError: "its host name is not known",
    errors.NoRouteError: "there is no route to it",
    errors.TCPTimedOutError: "it does not respond: timed out",
    errors.TimeoutError: "not in time",
    TimeoutError: "not in time",
    defer.TimeoutError: "not in time",
    errors.ConnectionDone: "it closed the connection",
    errors.ConnectionLost: "the connection was lost",
    CertificateError: "its certificate names no host",
}
_NOT_TLS = frozenset({"wrong version number", "http request", "packet length too long", "record layer failure"})


class TLSFault(Exception):
    """
    Why no TLS connection was made. The text has only OpenSSL's own words and ours.
    """


def tls_fault(error: BaseException | None, transport: Any) -> BaseException | None:
    """
    Return the TLS fault that OpenSSL found before the connection was ready.

    Args:
        transport: The transport that was lost.

    Returns:
        A `TLSFault`, or the error itself if it is not OpenSSL's.
    """
    if isinstance(error, VerificationError):
        return TLSFault(f"its certificate is not for {', '.join(map(_identity, error.errors))}")
    if not isinstance(error, SSL.Error):
        return error
    found = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [str(each[-1]) for each in found if each and each[-1]]
    if "certificate verify failed" in reasons and (told := _verification(transport)):
        reasons.append(told)
    elif not _NOT_TLS.isdisjoint(reasons):
        reasons.append("the server there does not use TLS")
    return TLSFault(": ".join(reasons) or "TLS failed")


def _identity(mismatch: Any) -> str:
    wanted = mismatch.mismatched_id
    host = getattr(wanted, "hostname", None)
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(getattr(wanted, "ip", wanted))


def _verification(transport: Any) -> str:
    """
    Return what is wrong with a certificate, in OpenSSL's own words, for example "self-signed certificate".

    This uses private parts of pyOpenSSL, and returns an empty text if they are missing.
    """
    try:
        library: Any = SSL
        result = library._lib.SSL_get_verify_result(transport.getHandle()._ssl)
        if result == library._lib.X509_V_OK:
            return ""
        text: bytes = library._ffi.string(library._lib.X509_verify_cert_error_string(result))
        return text.decode("ascii", "replace")
    except AttributeError:
        return ""


def why(error: BaseException | None) -> str:
    """
    Return why a backend failed. If nothing else is known, the text is the type of the last cause: its message could
    quote what was sent.
    """
    if isinstance(error, BackendError) and error.fault is BackendFault.OPEN:
        return "not asked: the breaker is open"
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TLSFault):
        return str(error)
    if isinstance(error, BaseException) and type(error) in _WORDS:
        return _WORDS[type(error)]
    return type(error).__name__
