"""
Edit a backend's document for the client: hide the backend, translate errors, mend results.
"""

from __future__ import annotations

from s3proxy.backend.response import BackendResponse
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.record import Record
from s3proxy.mending.mending import Mending
from s3proxy.resign.error_documents import ERROR_ROOTS, blames_our_signature, error_code, public_error, read_error
from s3proxy.resign.public_name import PublicName
from s3proxy.resign.response import ResponseUse, edit_document
from s3proxy.s3.errors import InternalError


class BlamesUsError(Exception):
    """
    A backend's error is about our own signature, not about the client's.
    """


class ResponseEditing:
    """
    Edits the document of one response.

    Args:
        mending: Mends the response; None if it needs no mending, or if s3proxy made it itself.
        record: Gets the code of an error.
        response: The response that the document belongs to.
        use: What s3proxy does with the response.
        name: How the client addresses the resource of its request.
    """

    __slots__ = ("_admitted", "_context", "_mending", "_name", "_record", "_response", "_use")

    def __init__(
        self,
        context: ProxyContext,
        admitted: Admitted,
        mending: Mending | None,
        record: Record,
        response: BackendResponse,
        use: ResponseUse,
        name: PublicName,
    ) -> None:
        self._context = context
        self._admitted = admitted
        self._mending = mending
        self._record = record
        self._response = response
        self._use = use
        self._name = name

    def edit(self, document: bytes, *, is_whole: bool = True) -> bytes | None:
        """
        Return the document that the client gets; None if it may be relayed unchanged.

        Args:
            is_whole: False if the document is too large to be read, and this is only its beginning.

        Raises:
            BlamesUsError: The document is an error about our own signature.
            InternalError: The document cannot be read.
        """
        use, mending, status = self._use, self._mending, self._response.head.status
        # A listing is not an error, and may be long.
        is_result = use in {ResponseUse.CONVERT, ResponseUse.CHECK}
        error = read_error(b"" if is_result else document, is_whole=is_whole)
        is_error = use is ResponseUse.JUDGE or (use is ResponseUse.WATCH and error.root_name in ERROR_ROOTS)
        if not is_result and blames_our_signature(error):
            self._tell_of_our_signature(error_code(error))
            raise BlamesUsError
        if not is_whole and mending is not None and mending.replaces_error(status):
            # An error of S3 is never this large.
            self._response.abort()
            document, is_whole = b"", True
        if not is_whole or (use is ResponseUse.WATCH and not is_error):
            return None
        if mending is not None:
            mended = mending.document(document, status)
            if mended is not document and is_error:
                error = read_error(mended)
            document = mended
        edit_result = self._admitted.onward.edit_result
        if edit_result is not None and status < 300:
            document = edit_result(document)
        if use is ResponseUse.EDIT:
            document = edit_document(document, self._name, self._admitted.onward.completed_etag)
        elif is_error:
            document = public_error(error, self._name)
        if status >= 400 or error.root_name == "Error":
            self._record.error_code = (error_code(error) or b"").decode("ascii") or None
        return document

    def edit_late(self, document: bytes) -> bytes:
        """
        Return the document for a client that already has the status. If the client must not see the document, the
        result is an error of s3proxy, without an XML declaration. S3 also sends such late errors in place of a result.
        """
        try:
            edited = self.edit(document)
        except (BlamesUsError, InternalError):
            text = self._record.write_error(InternalError())
            return text[text.index(b"<Error>") :]
        return document if edited is None else edited

    def _tell_of_our_signature(self, code: bytes | None) -> None:
        key = self._admitted.backend.account.key
        self._context.log.error(
            "backend {backend} refused our own signature, of key {key}: {code}: {request_id}",
            backend=self._record.backend_name,
            key=key.access_key_id if key is not None else None,
            code=(code or b"").decode("ascii"),
            request_id=self._record.request_id,
        )
