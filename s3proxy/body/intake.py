"""
A form as the exchange uses it: read up to its file, judged, and turned into an upload.
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
        head: The head of the request that carries the form.
        address: The address of that request: a bucket.
        limits: The limits of its file.
        fields_read: Called once, when the fields are complete and the client is paused.
        refused: Called once, with the first error in the fields.

    Attributes:
        reader: The consumer of the request's body.
        form: The fields, once they are complete.

    Raises:
        MissingContentLength: The request has no Content-Length.
        EntityTooLarge: The form is longer than an object with its fields may be.
        MalformedPOSTRequest: The request names no boundary.
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
        Judge the form by its policy, whose signature is verified.

        Raises:
            InvalidPolicyDocument: The policy cannot be used.
            AccessDenied: The policy does not allow this form.
        """
        fields = form_fields(self.form)
        policy = parse_policy(fields[b"policy"])
        policy.check({**fields, b"bucket": self._address.bucket}, now)
        self._size_ranges = policy.size_ranges

    def upload(self) -> tuple[RequestHead, Address]:
        """
        Return the upload that the form describes, as a request head and its address.

        Raises:
            S3Error: As `upload_request` does.
        """
        return upload_request(self._head, self._address, self.form)

    def plan(self, asked: RequestHead, *, computes_md5: bool = False) -> BodyPlan:
        """
        Return the plan for the file.

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
        Set the consumer of the file, and resume the client.
        """
        self.reader.give_file_to(file)
