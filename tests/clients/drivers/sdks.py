"""
Clients that are Python libraries.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from scenario import MIB, Cell, Client, cannot


class Boto3(Client):
    """
    boto3, with its defaults.
    """

    signature: ClassVar[str] = "s3v4"

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        import boto3

        self.client = boto3.client("s3", **self.options())

    def options(self) -> dict[str, Any]:
        """
        Return the arguments of a boto3 client.
        """
        from botocore.config import Config

        cell = self.cell
        return {
            "endpoint_url": cell.url,
            "aws_access_key_id": cell.key_id,
            "aws_secret_access_key": cell.secret,
            "region_name": "us-east-1",
            "verify": cell.authority if cell.is_tls else None,
            "config": Config(
                retries={"max_attempts": 0},
                signature_version=self.signature,
                s3={"addressing_style": cell.style},
                read_timeout=min(30, cell.response_seconds),
            ),
        }

    def make_bucket(self, bucket: str) -> None:
        self.client.create_bucket(Bucket=bucket)

    def remove_bucket(self, bucket: str) -> None:
        self.client.delete_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, path: str) -> None:
        with Path(path).open("rb") as file:
            self.client.put_object(Bucket=bucket, Key=key, Body=file)

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self.client.upload_file(path, bucket, key)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.client.upload_fileobj(stream, bucket, key)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.client.download_file(bucket, key, path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        found: bytes = self.client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")["Body"].read()
        return found

    def list(self, bucket: str, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.client.copy_object(Bucket=target_bucket, Key=target, CopySource={"Bucket": bucket, "Key": key})

    def head(self, bucket: str, key: str) -> int:
        return int(self.client.head_object(Bucket=bucket, Key=key)["ContentLength"])

    def presign(self, bucket: str, key: str) -> str:
        url: str = self.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        return url

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        response = self.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
        if response.get("Errors"):
            raise RuntimeError(str(response["Errors"]))


class Boto3V2(Boto3):
    """
    boto3, signing with Signature V2.
    """

    signature = "s3"


class Boto3Crt(Boto3):
    """
    boto3 with the transfers of the Common Runtime.

    boto3 itself lets one process at a time use it, and works without it in others. So this class calls it as boto3
    does.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        import botocore.session
        from s3transfer.crt import (
            BotocoreCRTCredentialsWrapper,
            BotocoreCRTRequestSerializer,
            CRTTransferManager,
            create_s3_crt_client,
        )

        session = botocore.session.Session()
        session.set_credentials(cell.key_id, cell.secret)
        provider = BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
        options = self.options()
        client = create_s3_crt_client(
            region="us-east-1",
            crt_credentials_provider=provider,
            use_ssl=cell.is_tls,
            verify=cell.authority if cell.is_tls else None,
        )
        names = ("endpoint_url", "region_name", "config")
        serializer = BotocoreCRTRequestSerializer(session, {name: options[name] for name in names})
        self._transfers = CRTTransferManager(client, serializer)

    def put(self, bucket: str, key: str, path: str) -> None:
        self._transfers.upload(path, bucket, key).result()

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self.put(bucket, key, path)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self._transfers.upload(stream, bucket, key).result()

    def get(self, bucket: str, key: str, path: str) -> None:
        self._transfers.download(bucket, key, path).result()
        # It reports completion before the file has its final name.
        for _ in range(100):
            if Path(path).exists():
                break
            time.sleep(0.05)


class Aioboto3(Boto3):
    """
    aioboto3, with its defaults.
    """

    def __init__(self, cell: Cell) -> None:
        Client.__init__(self, cell)
        import aioboto3

        self._loop = asyncio.new_event_loop()
        self._context = aioboto3.Session().client("s3", **self.options())
        self.client = self._do(self._context.__aenter__())

    def _do(self, awaitable: Any) -> Any:
        return self._loop.run_until_complete(awaitable)

    def close(self) -> None:
        self._do(self._context.__aexit__(None, None, None))

    def make_bucket(self, bucket: str) -> None:
        self._do(self.client.create_bucket(Bucket=bucket))

    def remove_bucket(self, bucket: str) -> None:
        self._do(self.client.delete_bucket(Bucket=bucket))

    def put(self, bucket: str, key: str, path: str) -> None:
        self._do(self.client.put_object(Bucket=bucket, Key=key, Body=Path(path).read_bytes()))

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self._do(self.client.upload_file(path, bucket, key))

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self._do(self.client.upload_fileobj(stream, bucket, key))

    def get(self, bucket: str, key: str, path: str) -> None:
        self._do(self.client.download_file(bucket, key, path))

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        async def read() -> bytes:
            response = await self.client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
            found: bytes = await response["Body"].read()
            return found

        return bytes(self._do(read()))

    def list(self, bucket: str, prefix: str) -> list[str]:
        async def read() -> list[str]:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [item["Key"] async for page in pages for item in page.get("Contents", [])]

        return list(self._do(read()))

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        source = {"Bucket": bucket, "Key": key}
        self._do(self.client.copy_object(Bucket=target_bucket, Key=target, CopySource=source))

    def head(self, bucket: str, key: str) -> int:
        return int(self._do(self.client.head_object(Bucket=bucket, Key=key))["ContentLength"])

    def presign(self, bucket: str, key: str) -> str:
        params = {"Bucket": bucket, "Key": key}
        return str(self._do(self.client.generate_presigned_url("get_object", Params=params)))

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        wanted = {"Objects": [{"Key": key} for key in keys]}
        response = self._do(self.client.delete_objects(Bucket=bucket, Delete=wanted))
        if response.get("Errors"):
            raise RuntimeError(str(response["Errors"]))


class S3fs(Client):
    """
    s3fs, with its defaults.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        import s3fs

        # An argument would also be sent for new buckets, and S3 refuses us-east-1 there.
        os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
        s3fs.S3FileSystem.retries = 1
        self._files = s3fs.S3FileSystem(
            key=cell.key_id,
            secret=cell.secret,
            endpoint_url=cell.url,
            client_kwargs={"verify": cell.authority if cell.is_tls else None},
            config_kwargs={
                "s3": {"addressing_style": cell.style},
                "retries": {"max_attempts": 0},
                "read_timeout": min(30, cell.response_seconds),
            },
        )

    def make_bucket(self, bucket: str) -> None:
        self._files.mkdir(bucket)

    def remove_bucket(self, bucket: str) -> None:
        self._files.rmdir(bucket)

    def put(self, bucket: str, key: str, path: str) -> None:
        self._files.put_file(path, f"{bucket}/{key}")

    def put_large(self, bucket: str, key: str, path: str) -> None:
        # By default s3fs sends parts from 100 MiB on.
        self._files.put_file(path, f"{bucket}/{key}", chunksize=8 * MIB)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        with self._files.open(f"{bucket}/{key}", "wb", block_size=5 * MIB) as target:
            shutil.copyfileobj(stream, target)

    def get(self, bucket: str, key: str, path: str) -> None:
        self._files.get_file(f"{bucket}/{key}", path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return bytes(self._files.cat_file(f"{bucket}/{key}", start=first, end=last + 1))

    def list(self, bucket: str, prefix: str) -> list[str]:
        return [path.removeprefix(f"{bucket}/") for path in self._files.find(f"{bucket}/{prefix}")]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self._files.copy(f"{bucket}/{key}", f"{target_bucket}/{target}")

    def head(self, bucket: str, key: str) -> int:
        self._files.invalidate_cache()
        return int(self._files.info(f"{bucket}/{key}")["size"])

    def presign(self, bucket: str, key: str) -> str:
        return str(self._files.sign(f"{bucket}/{key}"))

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self._files.rm([f"{bucket}/{key}" for key in keys])


class SmartOpen(Client):
    """
    smart_open, with its defaults.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self._parameters = {"client": Boto3(cell).client}

    def _open(self, bucket: str, key: str, mode: str) -> Any:
        from smart_open import open as open_url

        return open_url(f"s3://{bucket}/{key}", mode, transport_params=self._parameters)

    def put(self, bucket: str, key: str, path: str) -> None:
        with Path(path).open("rb") as file:
            self.put_stream(bucket, key, file)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        with self._open(bucket, key, "wb") as target:
            shutil.copyfileobj(stream, target)

    def get(self, bucket: str, key: str, path: str) -> None:
        with self._open(bucket, key, "rb") as source, Path(path).open("wb") as target:
            shutil.copyfileobj(source, target)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        with self._open(bucket, key, "rb") as source:
            source.seek(first)
            # One read returns no more than has arrived.
            found = b""
            while len(found) <= last - first and (piece := source.read(last + 1 - first - len(found))):
                found += bytes(piece)
            return found


class Obstore(Client):
    """
    obstore, a binding of Rust's object_store.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        # It has no setting for its own root certificates.
        os.environ["SSL_CERT_FILE"] = cell.authority

    def _store(self, bucket: str) -> Any:
        from obstore.store import S3Store

        cell = self.cell
        is_virtual = cell.style == "virtual"
        return S3Store(
            bucket,
            endpoint=f"{cell.scheme}://{bucket}.{cell.address}{cell.path}" if is_virtual else cell.url,
            access_key_id=cell.key_id,
            secret_access_key=cell.secret,
            region="us-east-1",
            virtual_hosted_style_request=is_virtual,
            client_options={"allow_http": True, "timeout": f"{cell.response_seconds}s"},
            retry_config={"max_retries": 0},
        )

    def put(self, bucket: str, key: str, path: str) -> None:
        self._store(bucket).put(key, Path(path).read_bytes(), use_multipart=False)

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self._store(bucket).put(key, Path(path), use_multipart=True, chunk_size=8 * MIB)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self._store(bucket).put(key, iter(lambda: stream.read(65536), b""))

    def get(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(bytes(self._store(bucket).get(key).bytes()))

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return bytes(self._store(bucket).get_range(key, start=first, end=last + 1))

    def list(self, bucket: str, prefix: str) -> list[str]:
        return [item["path"] for item in self._store(bucket).list(prefix).collect()]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        # One of its stores is one bucket.
        store = self._store(target_bucket)
        store.put(key, self._store(bucket).get(key).bytes(), use_multipart=False)
        store.copy(key, target)

    def head(self, bucket: str, key: str) -> int:
        return int(self._store(bucket).head(key)["size"])

    def presign(self, bucket: str, key: str) -> str:
        import obstore

        url: str = obstore.sign(self._store(bucket), "GET", key, timedelta(minutes=10))
        return url

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self._store(bucket).delete(keys)


class OpenDal(Client):
    """
    OpenDAL.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        # It has no setting for its own root certificates.
        os.environ["SSL_CERT_FILE"] = cell.authority

    def _operator(self, bucket: str) -> Any:
        import opendal

        cell = self.cell
        return opendal.Operator(
            "s3",
            bucket=bucket,
            endpoint=cell.url,
            region="us-east-1",
            access_key_id=cell.key_id,
            secret_access_key=cell.secret,
            enable_virtual_host_style="true" if cell.style == "virtual" else "false",
            disable_config_load="true",
            disable_ec2_metadata="true",
        )

    def put(self, bucket: str, key: str, path: str) -> None:
        self._operator(bucket).write(key, Path(path).read_bytes())

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self._operator(bucket).write(key, Path(path).read_bytes(), chunk=8 * MIB)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        with self._operator(bucket).open(key, "wb") as target:
            for block in iter(lambda: stream.read(MIB), b""):
                target.write(block)

    def get(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(bytes(self._operator(bucket).read(key)))

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        with self._operator(bucket).open(key, "rb") as source:
            source.seek(first)
            # One read returns no more than has arrived.
            found = b""
            while len(found) <= last - first and (piece := source.read(last + 1 - first - len(found))):
                found += bytes(piece)
            return found

    def list(self, bucket: str, prefix: str) -> list[str]:
        return [item.path for item in self._operator(bucket).scan(prefix) if not item.path.endswith("/")]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        # One of its operators is one bucket.
        operator = self._operator(target_bucket)
        operator.write(key, bytes(self._operator(bucket).read(key)))
        operator.copy(key, target)

    def head(self, bucket: str, key: str) -> int:
        return int(self._operator(bucket).stat(key).content_length)

    def presign(self, bucket: str, key: str) -> str:
        async def sign() -> str:
            url: str = (await self._operator(bucket).to_async_operator().presign_read(key, 600)).url
            return url

        return asyncio.run(sign())

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self._operator(bucket).remove_all(keys[0].rpartition("/")[0] + "/")


class PyArrow(Client):
    """
    pyarrow, whose client is the AWS SDK for C++.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        from pyarrow import fs

        self._fs = fs
        self._files = fs.S3FileSystem(
            access_key=cell.key_id,
            secret_key=cell.secret,
            region="us-east-1",
            scheme=cell.scheme,
            endpoint_override=cell.address,
            force_virtual_addressing=cell.style == "virtual",
            allow_bucket_creation=True,
            allow_bucket_deletion=True,
            request_timeout=cell.response_seconds,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
            tls_ca_file_path=cell.authority,
        )

    def make_bucket(self, bucket: str) -> None:
        self._files.create_dir(bucket)

    def remove_bucket(self, bucket: str) -> None:
        self._files.delete_dir(bucket)

    def put(self, bucket: str, key: str, path: str) -> None:
        with self._files.open_output_stream(f"{bucket}/{key}") as target:
            target.write(Path(path).read_bytes())

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        with self._files.open_output_stream(f"{bucket}/{key}") as target:
            shutil.copyfileobj(stream, target)

    def get(self, bucket: str, key: str, path: str) -> None:
        with self._files.open_input_stream(f"{bucket}/{key}") as source, Path(path).open("wb") as target:
            shutil.copyfileobj(source, target)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        with self._files.open_input_file(f"{bucket}/{key}") as source:
            return bytes(source.read_at(last + 1 - first, first))

    def list(self, bucket: str, prefix: str) -> list[str]:
        found = self._files.get_file_info(self._fs.FileSelector(f"{bucket}/{prefix}", recursive=True))
        return [item.path.removeprefix(f"{bucket}/") for item in found if item.type == self._fs.FileType.File]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self._files.copy_file(f"{bucket}/{key}", f"{target_bucket}/{target}")

    def head(self, bucket: str, key: str) -> int:
        return int(self._files.get_file_info(f"{bucket}/{key}").size)

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self._files.delete_dir_contents(f"{bucket}/{keys[0].rpartition('/')[0]}")


class MinioPy(Client):
    """
    minio-py.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        import urllib3
        from minio import Minio

        self.client = Minio(
            endpoint=cell.address,
            access_key=cell.key_id,
            secret_key=cell.secret,
            secure=cell.is_tls,
            region="us-east-1",
            http_client=urllib3.PoolManager(ca_certs=cell.authority, retries=False, timeout=30),
        )
        if cell.style == "virtual":
            self.client.enable_virtual_style_endpoint()
        else:
            self.client.disable_virtual_style_endpoint()

    def make_bucket(self, bucket: str) -> None:
        self.client.make_bucket(bucket_name=bucket)

    def remove_bucket(self, bucket: str) -> None:
        self.client.remove_bucket(bucket_name=bucket)

    def put(self, bucket: str, key: str, path: str) -> None:
        self.client.fput_object(bucket_name=bucket, object_name=key, file_path=path, part_size=8 * MIB)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.client.put_object(bucket_name=bucket, object_name=key, data=stream, length=-1, part_size=5 * MIB)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.client.fget_object(bucket_name=bucket, object_name=key, file_path=path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        response = self.client.get_object(bucket_name=bucket, object_name=key, offset=first, length=last + 1 - first)
        try:
            return bytes(response.read())
        finally:
            response.close()

    def list(self, bucket: str, prefix: str) -> list[str]:
        return [
            item.object_name for item in self.client.list_objects(bucket_name=bucket, prefix=prefix, recursive=True)
        ]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        from minio.commonconfig import CopySource

        source = CopySource(bucket_name=bucket, object_name=key)
        self.client.copy_object(bucket_name=target_bucket, object_name=target, source=source)

    def head(self, bucket: str, key: str) -> int:
        return int(self.client.stat_object(bucket_name=bucket, object_name=key).size)

    def presign(self, bucket: str, key: str) -> str:
        return str(self.client.presigned_get_object(bucket_name=bucket, object_name=key))

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        from minio.deleteobjects import DeleteObject

        wanted = [DeleteObject(key) for key in keys]
        errors = [str(error) for error in self.client.remove_objects(bucket_name=bucket, delete_object_list=wanted)]
        if errors:
            raise RuntimeError("; ".join(errors))


class Boto2(Client):
    """
    boto 2, signing with Signature V2.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        os.environ.pop("AWS_CREDENTIAL_FILE", None)
        import boto
        from boto.s3.connection import OrdinaryCallingFormat, S3Connection, SubdomainCallingFormat

        boto.config.add_section("Boto")
        settings = {
            "https_validate_certificates": "true",
            "ca_certificates_file": cell.authority,
            "num_retries": "0",
            "http_socket_timeout": str(cell.response_seconds),
        }
        for name, value in settings.items():
            boto.config.set("Boto", name, value)
        self._connection = S3Connection(
            cell.key_id,
            cell.secret,
            host=cell.host,
            port=cell.port,
            is_secure=cell.is_tls,
            path=cell.path or "/",
            calling_format=SubdomainCallingFormat() if cell.style == "virtual" else OrdinaryCallingFormat(),
        )

    def _bucket(self, name: str) -> Any:
        return self._connection.get_bucket(name, validate=False)

    def make_bucket(self, bucket: str) -> None:
        self._connection.create_bucket(bucket)

    def remove_bucket(self, bucket: str) -> None:
        self._connection.delete_bucket(bucket)

    def put(self, bucket: str, key: str, path: str) -> None:
        self._bucket(bucket).new_key(key).set_contents_from_filename(path)

    def put_large(self, bucket: str, key: str, path: str) -> None:
        upload = self._bucket(bucket).initiate_multipart_upload(key)
        with Path(path).open("rb") as file:
            number = 0
            while file.tell() < Path(path).stat().st_size:
                number += 1
                upload.upload_part_from_file(file, number, size=min(8 * MIB, Path(path).stat().st_size - file.tell()))
        upload.complete_upload()

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        cannot("its streams need chunked transfer coding, which it uses with Google's storage alone")

    def get(self, bucket: str, key: str, path: str) -> None:
        self._bucket(bucket).get_key(key, validate=False).get_contents_to_filename(path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        found = self._bucket(bucket).get_key(key, validate=False)
        return bytes(found.get_contents_as_string(headers={"Range": f"bytes={first}-{last}"}))

    def list(self, bucket: str, prefix: str) -> list[str]:
        return [item.name for item in self._bucket(bucket).list(prefix=prefix)]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self._bucket(target_bucket).copy_key(target, bucket, key)

    def head(self, bucket: str, key: str) -> int:
        found = self._bucket(bucket).get_key(key)
        if found is None:
            raise RuntimeError("404 Not Found")
        return int(found.size)

    def presign(self, bucket: str, key: str) -> str:
        return str(self._bucket(bucket).get_key(key, validate=False).generate_url(600))

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        errors = self._bucket(bucket).delete_keys(keys).errors
        if errors:
            raise RuntimeError(str([(error.key, error.code) for error in errors]))


CLIENTS: dict[str, type[Client]] = {
    "boto3": Boto3,
    "boto3-v2": Boto3V2,
    "boto3-crt": Boto3Crt,
    "aioboto3": Aioboto3,
    "s3fs": S3fs,
    "smart_open": SmartOpen,
    "minio-py": MinioPy,
    "obstore": Obstore,
    "opendal": OpenDal,
    "pyarrow": PyArrow,
    "boto2": Boto2,
}
