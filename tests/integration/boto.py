"""
boto3's client of a door.
"""

from __future__ import annotations

from typing import Any

from tests.integration.conftest import Way


def boto(way: Way, **config: Any) -> Any:
    """
    A boto3 client with its defaults.
    """
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=way.url,
        aws_access_key_id=way.key_id,
        aws_secret_access_key=way.secret,
        region_name="us-east-1",
        verify=way.authority if way.scheme == "https" else None,
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, **config),
    )
