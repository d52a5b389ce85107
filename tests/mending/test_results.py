"""
Whether the response to a copy is a success: Walrus 3.4 puts S3's document inside another, and may respond with 200
without it.
"""

from __future__ import annotations

import pytest

from s3proxy.mending.results import DisbelievedError, mend_result
from s3proxy.s3.operation import COPY_OBJECT

DATE = "2026-03-01T12:00:00.000Z"
WRITTEN = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LastModified>%s</LastModified><ETag>%s</ETag></CopyObjectResult>"
)
RESULT = f'<CopyObjectResult><ETag>"e"</ETag><LastModified>{DATE}</LastModified></CopyObjectResult>'


@pytest.mark.parametrize(
    ("document", "date"),
    [
        (RESULT, DATE),
        (f"<CopyObjectResponse>{RESULT}</CopyObjectResponse>", DATE),
        (f"<CopyObjectResponse><LastModified>1999</LastModified>{RESULT}</CopyObjectResponse>", DATE),
        ("<CopyObjectResult><ETag> e </ETag></CopyObjectResult>", ""),
    ],
)
def test_a_copy_is_told_as_s3_tells_it(document: str, date: str) -> None:
    """
    The date in its own form, and the entity tag in quotation marks; see "CopyObject".
    """
    expected = WRITTEN % (date, "&quot;e&quot;")

    assert mend_result(COPY_OBJECT, document.encode()).decode().replace('>"e"<', ">&quot;e&quot;<") == expected


@pytest.mark.parametrize(
    "document",
    [
        "",
        "no XML",
        '<CopyObjectResult><ETag>"e"</ETag>',
        '<CopyObjectResult><ETag>"e"</ETag></CopyObjectResult><more/>',
        "<CopyObjectResult/>",
        '<CopyObjectResult><ETag>""</ETag></CopyObjectResult>',
        '<CopyObjectResponse><ETag>"e"</ETag></CopyObjectResponse>',
        "<ExceptionResponse><Message>full</Message></ExceptionResponse>",
    ],
)
def test_a_copy_that_is_none_is_not_believed(document: str) -> None:
    """
    Otherwise the client would take the object as copied.
    """
    with pytest.raises(DisbelievedError):
        mend_result(COPY_OBJECT, document.encode())
