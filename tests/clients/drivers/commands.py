"""
Clients that are commands.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO, ClassVar, NoReturn
from urllib.parse import quote, unquote_plus, urlencode
from xml.sax.saxutils import escape

from scenario import Cell, Client, cannot


def shortened(text: str) -> str:
    """
    Return the beginning and the end of an output.
    """
    return text if len(text) < 2000 else text[:1000] + " ... " + text[-1000:]


class Command(Client):
    """
    A client that is a command, or several.
    """

    def environment(self) -> dict[str, str]:
        """
        Return the environment variables that the command needs.
        """
        return {}

    def run(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run the command; return its output.

        Args:
            stream: Its standard input.
        """
        cell = self.cell
        with subprocess.Popen(
            arguments,
            env=self._whole_environment(),
            cwd=cell.directory,
            stdin=subprocess.DEVNULL if stream is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                given = None if stream is None else stream.read()
                output, errors = process.communicate(given, timeout=cell.response_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RuntimeError(f"it did not end within {cell.response_seconds} s") from None
        if process.returncode:
            said = (errors + b"\n" + output).decode("utf-8", "replace")
            raise RuntimeError(f"exit status {process.returncode}: {shortened(said)}")
        return output

    def _whole_environment(self) -> dict[str, str]:
        cell = self.cell
        return {
            "PATH": os.environ["PATH"],
            "HOME": cell.directory,
            "LC_ALL": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": cell.key_id,
            "AWS_SECRET_ACCESS_KEY": cell.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SSL_CERT_FILE": cell.authority,
            **self.environment(),
        }


class AwsCli(Client):
    """
    The AWS CLI, with its defaults.

    Its command needs a second to load its modules. Here they are loaded once, and a fork runs each command line.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        text = f"[default]\ns3 =\n    addressing_style = {cell.style}\n    signature_version = s3v4\n"
        self._environment = {
            "AWS_ACCESS_KEY_ID": cell.key_id,
            "AWS_SECRET_ACCESS_KEY": cell.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": self.file("aws.conf", text.encode()),
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }
        import awscli.clidriver

        self._main = awscli.clidriver.main

    def aws(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run it with the endpoint.
        """
        said, given = self.file("said", b""), self.file("given", b"" if stream is None else stream.read())
        trust = ["--ca-bundle", self.cell.authority] if self.cell.is_tls else []
        sys.stdout.flush()
        child = os.fork()
        if not child:
            self._become([*("aws", "--endpoint-url", self.cell.url), *trust, *arguments], given, said)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output = Path(said).read_bytes()
        if status == -signal.SIGALRM:
            raise RuntimeError(f"it did not end within {self.cell.response_seconds} s")
        if status:
            raise RuntimeError(f"exit status {status}: {shortened(output.decode('utf-8', 'replace'))}")
        return output

    def _become(self, arguments: list[str], given: str, said: str) -> NoReturn:
        status = 255
        try:
            signal.alarm(self.cell.response_seconds)
            os.environ.update(self._environment)
            os.dup2(os.open(given, os.O_RDONLY), 0)
            os.dup2(os.open(said, os.O_WRONLY | os.O_APPEND), 1)
            os.dup2(1, 2)
            sys.argv = arguments
            status = self._main()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def make_bucket(self, bucket: str) -> None:
        self.aws("s3", "mb", f"s3://{bucket}")

    def remove_bucket(self, bucket: str) -> None:
        self.aws("s3", "rb", f"s3://{bucket}")

    def put(self, bucket: str, key: str, path: str) -> None:
        self.aws("s3", "cp", "--only-show-errors", path, f"s3://{bucket}/{key}")

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.aws("s3", "cp", "--only-show-errors", "-", f"s3://{bucket}/{key}", stream=stream)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.aws("s3", "cp", "--only-show-errors", f"s3://{bucket}/{key}", path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        path = self.file("range")
        self.aws("s3api", "get-object", "--bucket", bucket, "--key", key, "--range", f"bytes={first}-{last}", path)
        return Path(path).read_bytes()

    def list(self, bucket: str, prefix: str) -> list[str]:
        output = self.aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", prefix, "--output", "json")
        return [item["Key"] for item in json.loads(output or b"{}").get("Contents", [])]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.aws("s3", "cp", "--only-show-errors", f"s3://{bucket}/{key}", f"s3://{target_bucket}/{target}")

    def head(self, bucket: str, key: str) -> int:
        output = self.aws("s3api", "head-object", "--bucket", bucket, "--key", key, "--output", "json")
        return int(json.loads(output)["ContentLength"])

    def presign(self, bucket: str, key: str) -> str:
        return self.aws("s3", "presign", f"s3://{bucket}/{key}").decode().strip()

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        wanted = json.dumps({"Objects": [{"Key": key} for key in keys]})
        output = self.aws("s3api", "delete-objects", "--bucket", bucket, "--delete", wanted, "--output", "json")
        if json.loads(output or b"{}").get("Errors"):
            raise RuntimeError(output.decode())


class S3cmd(Command):
    """
    s3cmd.
    """

    more: ClassVar[tuple[str, ...]] = ()

    def s3cmd(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run it with the endpoint.
        """
        cell = self.cell
        return self.run(
            cell.tools["s3cmd"],
            "--config=/dev/null",
            f"--access_key={cell.key_id}",
            f"--secret_key={cell.secret}",
            f"--host={cell.address}",
            f"--host-bucket={'%(bucket)s.' if cell.style == 'virtual' else ''}{cell.address}",
            "--region=us-east-1",
            "--ssl" if cell.is_tls else "--no-ssl",
            f"--ca-certs={cell.authority}",
            "--no-progress",
            "--multipart-chunk-size-mb=8",
            "--max-retries=0",
            *self.more,
            *arguments,
            stream=stream,
        )

    def make_bucket(self, bucket: str) -> None:
        self.s3cmd("mb", f"s3://{bucket}")

    def remove_bucket(self, bucket: str) -> None:
        self.s3cmd("rb", f"s3://{bucket}")

    def put(self, bucket: str, key: str, path: str) -> None:
        self.s3cmd("put", path, f"s3://{bucket}/{key}")

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.s3cmd("put", "-", f"s3://{bucket}/{key}", stream=stream)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.s3cmd("get", "--force", f"s3://{bucket}/{key}", path)

    def list(self, bucket: str, prefix: str) -> list[str]:
        lines = self.s3cmd("ls", "--recursive", f"s3://{bucket}/{prefix}").decode().splitlines()
        return [line.partition(f"s3://{bucket}/")[2] for line in lines]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.s3cmd("cp", f"s3://{bucket}/{key}", f"s3://{target_bucket}/{target}")

    def head(self, bucket: str, key: str) -> int:
        output = self.s3cmd("info", f"s3://{bucket}/{key}").decode()
        found = re.search(r"File size: *(\d+)", output)
        if found is None:
            raise RuntimeError(output)
        return int(found[1])

    def presign(self, bucket: str, key: str) -> str:
        url = self.s3cmd("signurl", f"s3://{bucket}/{key}", "+600").decode().strip()
        # s3cmd has a setting for https, but no option.
        return re.sub("^https?", self.cell.scheme, url)

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self.s3cmd("del", "--recursive", "--force", f"s3://{bucket}/doomed/")


class S3cmdV2(S3cmd):
    """
    s3cmd, signing with Signature V2.
    """

    more = ("--signature-v2",)


class Rclone(Command):
    """
    rclone.
    """

    signature: ClassVar[str] = "false"

    def environment(self) -> dict[str, str]:
        cell = self.cell
        return {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Other",
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": cell.key_id,
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": cell.secret,
            "RCLONE_CONFIG_S_ENDPOINT": cell.url,
            "RCLONE_CONFIG_S_REGION": "us-east-1",
            "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true" if cell.style == "path" else "false",
            "RCLONE_CONFIG_S_V2_AUTH": self.signature,
            "RCLONE_CONFIG_S_UPLOAD_CUTOFF": "8Mi",
            "RCLONE_CONFIG_S_CHUNK_SIZE": "8Mi",
            "RCLONE_RETRIES": "1",
            "RCLONE_LOW_LEVEL_RETRIES": "1",
            "RCLONE_CA_CERT": cell.authority,
        }

    def rclone(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run it with the endpoint.
        """
        return self.run(self.cell.tools["rclone"], *arguments, stream=stream)

    def make_bucket(self, bucket: str) -> None:
        self.rclone("mkdir", f"s:{bucket}")

    def remove_bucket(self, bucket: str) -> None:
        self.rclone("rmdir", f"s:{bucket}")

    def put(self, bucket: str, key: str, path: str) -> None:
        self.rclone("copyto", path, f"s:{bucket}/{key}")

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.rclone("rcat", f"s:{bucket}/{key}", stream=stream)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.rclone("copyto", "--ignore-times", f"s:{bucket}/{key}", path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self.rclone("cat", "--offset", str(first), "--count", str(last + 1 - first), f"s:{bucket}/{key}")

    def list(self, bucket: str, prefix: str) -> list[str]:
        lines = self.rclone("lsf", "--recursive", "--files-only", f"s:{bucket}/{prefix}").decode().splitlines()
        return [prefix + line for line in lines]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.rclone("copyto", f"s:{bucket}/{key}", f"s:{target_bucket}/{target}")

    def head(self, bucket: str, key: str) -> int:
        return int(json.loads(self.rclone("lsjson", "--stat", f"s:{bucket}/{key}"))["Size"])

    def presign(self, bucket: str, key: str) -> str:
        return self.rclone("link", "--expire", "10m", f"s:{bucket}/{key}").decode().strip()

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self.rclone("delete", f"s:{bucket}/doomed")


class RcloneV2(Rclone):
    """
    rclone, signing with Signature V2.
    """

    signature = "true"


class Mc(Command):
    """
    MinIO's mc.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        alias = {
            "url": cell.url,
            "accessKey": cell.key_id,
            "secretKey": cell.secret,
            "api": "S3v4",
            "path": "on" if cell.style == "path" else "off",
        }
        authorities = Path(cell.directory) / "certs" / "CAs"
        authorities.mkdir(parents=True)
        shutil.copy(cell.authority, authorities / "authority.crt")
        self.file("config.json", json.dumps({"version": "10", "aliases": {"s": alias}}).encode())

    def mc(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run it with the endpoint.
        """
        return self.run(
            self.cell.tools["mc"], "--config-dir", self.cell.directory, "--quiet", "--json", *arguments, stream=stream
        )

    def make_bucket(self, bucket: str) -> None:
        self.mc("mb", f"s/{bucket}")

    def remove_bucket(self, bucket: str) -> None:
        self.mc("rb", f"s/{bucket}")

    def put(self, bucket: str, key: str, path: str) -> None:
        self.mc("cp", path, f"s/{bucket}/{key}")

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.mc("pipe", f"s/{bucket}/{key}", stream=stream)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.mc("cp", f"s/{bucket}/{key}", path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self.mc("cat", "--offset", str(first), f"s/{bucket}/{key}")[: last + 1 - first]

    def list(self, bucket: str, prefix: str) -> list[str]:
        lines = self.mc("ls", "--recursive", f"s/{bucket}/{prefix}").splitlines()
        return [prefix + json.loads(line)["key"] for line in lines]

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.mc("cp", f"s/{bucket}/{key}", f"s/{target_bucket}/{target}")

    def head(self, bucket: str, key: str) -> int:
        return int(json.loads(self.mc("stat", f"s/{bucket}/{key}"))["size"])

    def presign(self, bucket: str, key: str) -> str:
        found: str = json.loads(self.mc("share", "download", f"s/{bucket}/{key}"))["share"]
        return found

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self.mc("rm", "--recursive", "--force", f"s/{bucket}/doomed/")


class Program(Command):
    """
    One of our programs around a library. Its command line has an operation and the operation's arguments.
    """

    command: ClassVar[tuple[str, ...]]

    def environment(self) -> dict[str, str]:
        cell = self.cell
        names = {"SCHEME": cell.scheme, "ADDRESS": cell.address, "URL": cell.url, "STYLE": cell.style}
        return {**names, "NODE_EXTRA_CA_CERTS": cell.authority}

    def program(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run it with the endpoint.
        """
        return self.run(*[self.cell.tools.get(name, name) for name in self.command], *arguments, stream=stream)

    def make_bucket(self, bucket: str) -> None:
        self.program("make-bucket", bucket)

    def remove_bucket(self, bucket: str) -> None:
        self.program("remove-bucket", bucket)

    def put(self, bucket: str, key: str, path: str) -> None:
        self.program("put", bucket, key, path)

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self.program("put-large", bucket, key, path)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.program("put-stream", bucket, key, stream=stream)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.program("get", bucket, key, path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self.program("range", bucket, key, str(first), str(last))

    def list(self, bucket: str, prefix: str) -> list[str]:
        return self.program("list", bucket, prefix).decode().splitlines()

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.program("copy", bucket, key, target_bucket, target)

    def head(self, bucket: str, key: str) -> int:
        return int(self.program("head", bucket, key))

    def presign(self, bucket: str, key: str) -> str:
        return self.program("presign", bucket, key).decode().strip()

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self.program("delete-many", bucket, *keys)


class Conversation(Program):
    """
    One of our programs that is started once, because it starts slowly, and reads operations line by line.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self._process: subprocess.Popen[str] | None = None
        self._errors = self.file("errors", b"")

    def arguments(self) -> list[str]:
        """
        Return the program's command line.
        """
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "RESPONSE_SECONDS": str(self.cell.response_seconds)}

    def program(self, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        if stream is not None:
            arguments = (*arguments, self.file("stream", stream.read()))
        if self._process is None:
            with Path(self._errors).open("ab") as errors:
                self._process = subprocess.Popen(
                    self.arguments(),
                    env=self._whole_environment(),
                    cwd=self.cell.directory,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        # The program has a timeout of the same length, and also starts in that time.
        watch = threading.Timer(2 * self.cell.response_seconds, process.kill)
        watch.start()
        try:
            process.stdin.write(" ".join(quote(argument, safe="") for argument in arguments) + "\n")
            process.stdin.flush()
            said = process.stdout.readline().rstrip("\n")
        finally:
            watch.cancel()
        text = unquote_plus(said[1:])
        if said[:1] == "+":
            return text.encode()
        if said[:1] == "?":
            cannot(text)
        if not said:
            self.close()
            text = "it ended: " + Path(self._errors).read_text("utf-8", "replace")
        raise RuntimeError(shortened(text))

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        path = self.file("range")
        self.program("range", bucket, key, str(first), str(last), path)
        return Path(path).read_bytes()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Java(Conversation):
    """
    A program in Java.
    """

    classes: ClassVar[str]
    kind: ClassVar[str]

    def arguments(self) -> list[str]:
        return [
            *(self.cell.tools["java"], "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx768m", *self._trust()),
            *("-cp", self.cell.tools[self.classes], "Main", self.kind),
        ]

    def _trust(self) -> list[str]:
        """
        Return the options that make the program trust the authority.
        """
        if not self.cell.is_tls:
            return []
        store, password = self.file("trust.p12"), "changeit"
        if not Path(store).exists():
            self.run(
                *(self.cell.tools["keytool"], "-importcert", "-noprompt", "-alias", "authority"),
                *("-file", self.cell.authority, "-keystore", store, "-storepass", password, "-storetype", "PKCS12"),
            )
        names = {"trustStore": store, "trustStorePassword": password, "trustStoreType": "PKCS12"}
        return [f"-Djavax.net.ssl.{name}={value}" for name, value in names.items()]


class AwsJava(Java):
    """
    The AWS SDK for Java, version 2: its plain client.
    """

    classes = "aws-java"
    kind = "sync"


class AwsJavaNetty(AwsJava):
    """
    The SDK's asynchronous client.
    """

    kind = "netty"


class AwsJavaMultipart(AwsJava):
    """
    The SDK's asynchronous client, which sends and reads in parts.
    """

    kind = "multipart"


class AwsJavaCrt(AwsJava):
    """
    The SDK's client on the Common Runtime.
    """

    kind = "crt"


class AwsJava1(Java):
    """
    The AWS SDK for Java, version 1.
    """

    classes = "aws-java-v1"
    kind = "v4"


class AwsJava1V2(AwsJava1):
    """
    The AWS SDK for Java, version 1, signing with Signature V2.
    """

    kind = "v2"


class HadoopS3a(Java):
    """
    Hadoop's file system S3A.
    """

    classes = "hadoop-s3a"
    kind = ""


class AwsRuby(Conversation):
    """
    The AWS SDK for Ruby.
    """

    def arguments(self) -> list[str]:
        return [self.cell.tools["ruby"], self.cell.tools["aws-ruby"]]


class MinioGo(Program):
    """
    minio-go.
    """

    command = ("minio-go",)


class MinioGoTrailers(MinioGo):
    """
    minio-go with TrailingHeaders.
    """

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "TRAILERS": "yes"}


class AwsGo(Program):
    """
    aws-sdk-go-v2.
    """

    command = ("aws-go",)


class AwsGo1(Program):
    """
    aws-sdk-go, version 1.
    """

    command = ("aws-go-v1",)


class AwsRust(Program):
    """
    The AWS SDK for Rust.
    """

    command = ("aws-rust",)


class MinioJs(Program):
    """
    minio-js.
    """

    command = ("node", "minio-js")


class AwsJs(Program):
    """
    The AWS SDK for JavaScript, version 3.
    """

    command = ("node", "aws-js")


class Curl(Command):
    """
    curl with --aws-sigv4.
    """

    more: ClassVar[tuple[str, ...]] = ()

    def curl(self, bucket: str, key: str, *arguments: str, query: str = "", stream: BinaryIO | None = None) -> bytes:
        """
        Run it with a bucket or an object.
        """
        cell = self.cell
        url = f"{cell.scheme}://{cell.address}{cell.path}/{bucket}"
        if cell.style == "virtual":
            url = f"{cell.scheme}://{bucket}.{cell.address}{cell.path}"
        if key or query or cell.style == "virtual":
            url += "/" + quote(key)
        return self.run(
            *("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "50", "--cacert", cell.authority),
            *("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{cell.key_id}:{cell.secret}"),
            *self.more,
            *arguments,
            url + (f"?{query}" if query else ""),
            stream=stream,
        )

    def make_bucket(self, bucket: str) -> None:
        self.curl(bucket, "", "--request", "PUT")

    def remove_bucket(self, bucket: str) -> None:
        self.curl(bucket, "", "--request", "DELETE")

    def put(self, bucket: str, key: str, path: str) -> None:
        self.curl(bucket, key, "--upload-file", path)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        self.curl(bucket, key, "--upload-file", "-", stream=stream)

    def get(self, bucket: str, key: str, path: str) -> None:
        self.curl(bucket, key, "--output", path)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        return self.curl(bucket, key, "--range", f"{first}-{last}")

    def list(self, bucket: str, prefix: str) -> list[str]:
        output = self.curl(bucket, "", query=urlencode({"list-type": "2", "prefix": prefix})).decode()
        return re.findall("<Key>([^<]*)</Key>", output)

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        self.curl(target_bucket, target, "--request", "PUT", "--header", f"x-amz-copy-source: /{bucket}/{quote(key)}")

    def head(self, bucket: str, key: str) -> int:
        output = self.curl(bucket, key, "--head").decode("latin-1")
        found = re.search(r"(?im)^content-length: *(\d+)", output)
        if found is None:
            raise RuntimeError(output)
        return int(found[1])

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        items = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        body = f"<Delete>{items}</Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        path = self.file("delete.xml", body)
        output = self.curl(
            *(bucket, "", "--data-binary", f"@{path}"),
            # curl's default type is a form's, and a server may read the body as one.
            *("--header", f"Content-MD5: {digest}", "--header", "Content-Type: application/xml"),
            query="delete=",
        )
        if b"<Error>" in output:
            raise RuntimeError(output.decode())


class CurlUnsigned(Curl):
    """
    curl with the payload marked as unsigned, in the way that S3 defines.
    """

    more = ("--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD")


class Restic(Command):
    """
    restic, a backup program: it can only keep a repository in a bucket.
    """

    def environment(self) -> dict[str, str]:
        return {"RESTIC_PASSWORD": "restic", "RESTIC_CACHE_DIR": self.file("restic-cache")}

    def restic(self, repository: str, *arguments: str, stream: BinaryIO | None = None) -> bytes:
        """
        Run it with a repository.
        """
        cell = self.cell
        lookup = "path" if cell.style == "path" else "dns"
        return self.run(
            *(cell.tools["restic"], "--cacert", cell.authority, "--option", f"s3.bucket-lookup={lookup}"),
            *("--option", "s3.retries=1", "--quiet", "--repo", f"s3:{cell.url}/{repository}", *arguments),
            stream=stream,
        )

    def make_bucket(self, bucket: str) -> None:
        self.restic(bucket, "init")

    def put_backup(self, bucket: str, path: str) -> None:
        repository = f"{bucket}/restic"
        self.restic(repository, "init")
        self.restic(repository, "backup", path)
        self.restic(repository, "restore", "latest", "--target", self.file("restored"), "--verify")
        self.restic(repository, "check", "--read-data")
        self.restic(repository, "forget", "--prune", "--keep-last", "1", "latest")
        if Path(self.file("restored") + path).read_bytes() != Path(path).read_bytes():
            raise AssertionError("another file was restored")


CLIENTS: dict[str, type[Client]] = {
    "aws-cli": AwsCli,
    "aws-cli-2": AwsCli,
    "s3cmd": S3cmd,
    "s3cmd-v2": S3cmdV2,
    "rclone": Rclone,
    "rclone-v2": RcloneV2,
    "mc": Mc,
    "minio-go": MinioGo,
    "minio-go-trailers": MinioGoTrailers,
    "aws-go": AwsGo,
    "aws-go-v1": AwsGo1,
    "aws-rust": AwsRust,
    "aws-ruby": AwsRuby,
    "minio-js": MinioJs,
    "aws-js": AwsJs,
    "aws-java": AwsJava,
    "aws-java-netty": AwsJavaNetty,
    "aws-java-multipart": AwsJavaMultipart,
    "aws-java-crt": AwsJavaCrt,
    "hadoop-s3a": HadoopS3a,
    "aws-java-v1": AwsJava1,
    "aws-java-v1-v2": AwsJava1V2,
    "curl": Curl,
    "curl-unsigned": CurlUnsigned,
    "restic": Restic,
}
