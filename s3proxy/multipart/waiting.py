"""
The response to CompleteMultipartUpload and UploadPartCopy: the final one as soon as it is known, and white space until
then.

Source:
    "CompleteMultipartUpload" and "UploadPartCopy": processing may take minutes, and the response begins before its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from s3proxy.backend.response import BackendResponse
from s3proxy.forwarding.deletions import read_response
from s3proxy.mending.deletions import NOT_ANSWERED, Outcome, judge_response
from s3proxy.multipart.documents import DECLARATION
from s3proxy.profiles.profile import Profile
from s3proxy.resign.error_documents import blames_our_signature, read_error
from s3proxy.resign.response import JUDGED_STATUSES
from s3proxy.s3.head import HeaderList, ResponseHead, index_headers
from s3proxy.transport.deadline import Deadline

KEEP_ALIVE_TIME = 10.0
"""
Seconds without a response after which white space is sent, and between two pieces of white space: clients wait 60 s and
more.
"""


class WaitingResponse:
    """
    Responds with the result of a Deferred. If that takes long, the response begins with status 200, and its document
    has the result at the end.

    It acts as the connection of a `BackendResponse` that begins in this way.

    Args:
        write_error: Returns the document of an error; called once its status can no longer be sent.
        write_failure: Returns the same document for any other failure.
        profile: The profile of the backend.

    Attributes:
        answered: Fires with the response for the client.
    """

    transport = None

    def __init__(
        self,
        reactor: Any,
        write_error: Callable[[Outcome], bytes],
        write_failure: Callable[[Failure], bytes],
        profile: Profile,
    ) -> None:
        self._asked: Deferred[BackendResponse] | None = None
        self._reading: Deferred[bytes] | None = None
        self._profile = profile
        self._write_error = write_error
        self._write_failure = write_failure
        self._response: BackendResponse | None = None
        self._is_paused = False
        self._timer = Deadline(reactor, self._wait_on)
        self.answered: Deferred[BackendResponse] = Deferred(lambda ignored: self.abort())

    def wait_for(self, asked: Deferred[BackendResponse]) -> None:
        """
        Respond with the result of this Deferred. It is cancelled if the response is no longer wanted.
        """
        self._asked = asked
        asked.addCallbacks(self._told, self._failed)

    def begin_to_wait(self) -> None:
        """
        Called when no error with a status of its own is expected any more: the operation may take long from now on.
        """
        if not self.answered.called:
            self._timer.set(KEEP_ALIVE_TIME)

    def _wait_on(self) -> None:
        self._timer.set(KEEP_ALIVE_TIME)
        if self._response is None:
            headers: HeaderList = [(b"Content-Type", b"application/xml")]
            head = ResponseHead(b"HTTP/1.1", 200, b"OK", headers, index_headers(headers))
            self._response = BackendResponse(None, head, None, cast(Any, self))
            self._response.received((DECLARATION,))
            self.answered.callback(self._response)
        elif not self._is_paused:
            self._response.received((b" ",))

    def _told(self, response: BackendResponse) -> None:
        own = self._response
        if own is None:
            self._timer.cancel()
            self.answered.callback(response)
        else:
            self._reading = reading = read_response(response)
            reading.addCallback(self._read, response.head, own).addErrback(self._failed)

    def _read(self, document: bytes, head: ResponseHead, own: BackendResponse) -> None:
        self._reading = None
        if head.status != 200:
            profile = self._profile
            outcome = judge_response(head, document, profile.error_codes, writes_own_errors=profile.writes_own_errors)
            if not outcome.code or (head.status in JUDGED_STATUSES and blames_our_signature(read_error(document))):
                outcome = NOT_ANSWERED
            document = self._write_error(outcome)
        self._end(own, document)

    def _failed(self, failure: Failure) -> None:
        self._timer.cancel()
        own = self._response
        if own is not None:
            if failure.check(CancelledError) is None:
                self._end(own, self._write_failure(failure))
        elif not self.answered.called:
            self.answered.errback(failure)

    def _end(self, own: BackendResponse, document: bytes) -> None:
        self._timer.cancel()
        own.received((document.removeprefix(DECLARATION),))
        own.ended(None)

    # Called by the response

    def claimed(self, response: BackendResponse) -> None:
        """
        Do nothing: the operation goes on.
        """

    def abort(self) -> None:
        """
        Cancel the operation: the response is no longer wanted.
        """
        self._timer.cancel()
        if self._asked is not None:
            self._asked.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def pause_response(self) -> None:
        """
        Stop sending white space.
        """
        self._is_paused = True

    def resume_response(self) -> None:
        """
        Resume sending white space.
        """
        self._is_paused = False
