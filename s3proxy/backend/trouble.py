"""
Why a backend did not answer, in words for an operator. No bytes of a peer are in them.
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
    errors.ConnectionRefusedError: "nobody listens there: connection refused",
    errors.DNSLookupError: "its host name is not known",
    errors.NoRouteError: "no route leads there",
    errors.TCPTimedOutError: "it does not answer: timed out",
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
    Why no connection with TLS was made; its text is OpenSSL's own words and ours.
    """


def tls_fault(error: BaseException | None, transport: Any) -> BaseException | None:
    """
    Say in words what OpenSSL found before there was a connection to trust.

    Args:
        transport: Which was lost.

    Returns:
        The error itself where OpenSSL has nothing to do with it.
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
        reasons.append("what answers there speaks no TLS")
    return TLSFault(": ".join(reasons) or "TLS failed")


def _identity(mismatch: Any) -> str:
    wanted = mismatch.mismatched_id
    host = getattr(wanted, "hostname", None)
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(getattr(wanted, "ip", wanted))


def _verification(transport: Any) -> str:
    """
    Return what is wrong with a certificate: OpenSSL's own words, like "self-signed certificate".

    Of pyOpenSSL it needs what is not public, and says nothing without it.
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
    Say why a backend failed. Where nothing is known, the kind of the last cause: its text could quote what was sent.
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
