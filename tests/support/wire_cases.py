"""
The cases of the data set, and what is expected of each.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from s3proxy.testing.faulty_client import Response

FILES = (
    "negative/header-v4",
    "negative/query-v4",
    "negative/payload",
    "negative/token",
    "negative/misc",
    "negative/post",
    "negative/sigv2",
    "negative/sigv4a",
    "negative/http-framing",
    "chunked/good-signed",
    "chunked/good-signed-trailer",
    "chunked/good-unsigned-trailer",
    "chunked/bad-signed",
    "chunked/bad-signed-trailer",
    "chunked/bad-unsigned-trailer",
    "chunked/bad-framing",
    "chunked/good-sigv4a",
    "chunked/bad-sigv4a",
)


LONG = 20_000
"Bytes of a wire above which it is not sent byte by byte."


def element(document: bytes, name: str) -> str | None:
    """
    Return the text of an element of an error document.
    """
    found = re.search(rf"<{name}>(.*?)</{name}>".encode(), document, re.DOTALL)
    return unescape(found[1].decode()) if found is not None else None


def judge_refusal(case: dict[str, Any], response: Response) -> list[str]:
    """
    Return what is wrong with a refusal.
    """
    wanted = case["expected"]
    is_head = case["request"]["method"] == "HEAD"
    code = element(response.body, "Code")
    allowed = [(wanted.get("status"), wanted.get("code"))]
    allowed += [(other.get("status"), other.get("code")) for other in wanted.get("also_allowed") or []]
    if not any(status in {None, response.status} and (is_head or name in {None, code}) for status, name in allowed):
        return [f"{response.status} {code}, wanted {allowed}"]
    faults = []
    if case.get("evidence") in {"recorded", "third-party"} and not is_head and (response.status, code) == allowed[0]:
        message = element(response.body, "Message")
        if wanted.get("message") and message != wanted["message"]:
            faults.append(f"message {message!r}, wanted {wanted['message']!r}")
        for name, text in (wanted.get("elements") or {}).items():
            if element(response.body, name) != text:
                faults.append(f"{name} {element(response.body, name)!r}, wanted {text!r}")
        for name in wanted.get("elements_present") or ():
            if element(response.body, name) is None:
                faults.append(f"no {name}")
        for name in wanted.get("elements_absent") or ():
            if element(response.body, name) is not None:
                faults.append(f"{name} is there")
    if case.get("expect_continue") and response.interim:
        faults.append("100 Continue before the refusal")
    return faults
