"""
A form as the exchange sees it: read up to its file, judged, turned into an upload, and let go on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from s3proxy.body.form import FileConsumer, FormReader
from s3proxy.body.plan import BodyLimits, BodyPlan, plan_form
from s3proxy.postobject.form import FieldsDecoder, Form, parse_boundary
from s3proxy.postobject.policy import SizeRange, parse_policy
from s3proxy.postobject.upload import form_fields, upload_request
from s3proxy.s3.address import Address
from s3proxy.s3.errors import EntityTooLarge, MissingContentLength, S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MAX_POST_REST_SIZE


class FormIntake:
    """
    One form.

    Args:
        head: Of the form's own request.
        address: Its bucket.
        limits: For its file.
        fields_read: Called once, when the fields are complete; the client is stopped then.
        refused: Called once, with the first fault of the fields.

    Attributes:
        reader: Takes the request's body.
        form: Its fields, once they are complete.

    Raises:
        MissingContentLength: It does not say how long it is.
        EntityTooLarge: It is longer than an object may be.
        MalformedPOSTRequest: It has no boundary.
    """

    def __init__(
        self,
        head: RequestHead,
        address: Address,
        limits: BodyLimits,
        fields_read: Callable[[], None],
        refused: Callable[[S3Error], None],
    ) -> None:
        if head.content_length is None:
            raise MissingContentLength
        max_size = limits.object_size + MAX_POST_REST_SIZE
        if head.content_length > max_size:
            raise EntityTooLarge(head.content_length, max_size)
        self._head = head
        self._address = address
        self._limits = limits
        self._length = head.content_length
        self._boundary = parse_boundary(head.fields.value(b"content-type") or b"")
        self._fields = FieldsDecoder(self._boundary)
        self._size_ranges: tuple[SizeRange, ...] = ()
        self.form: Form = self._fields.form
        self.reader = FormReader(self._fields, fields_read, refused)

    @property
    def fields_size(self) -> int:
        """
        Bytes before the file.
        """
        return self._fields.size

    def check_policy(self, now: datetime) -> None:
        """
        Judge the form by its policy, whose signature is good.

        Raises:
            InvalidPolicyDocument: The policy cannot be used.
            AccessDenied: It does not allow this form.
        """
        fields = form_fields(self.form)
        policy = parse_policy(fields[b"policy"])
        policy.check({**fields, b"bucket": self._address.bucket}, now)
        self._size_ranges = policy.size_ranges

    def upload(self) -> tuple[RequestHead, Address]:
        """
        Return what the form asks for, as a request of its own, and its address.

        Raises:
            S3Error: As `upload_request` does.
        """
        return upload_request(self._head, self._address, self.form)

    def plan(self, asked: RequestHead, *, computes_md5: bool = False) -> BodyPlan:
        """
        Plan for the file.

        Raises:
            S3Error: As `plan_form` does.
        """
        return plan_form(
            self._length,
            asked,
            self._fields.size,
            self._boundary,
            self._size_ranges,
            self._limits,
            computes_md5=computes_md5,
        )

    def give_file_to(self, file: FileConsumer) -> None:
        """
        Let the client go on, and somebody take its file.
        """
        self.reader.give_file_to(file)
