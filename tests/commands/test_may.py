"""
``s3proxy check --may``: whether a key may do something, and why.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from s3proxy.commands.cli import main

KEYS = """
[[key]]
access_key_id = "REPORTS"
secret_access_key = "the-secret-of-reports"
allow = ["read:reports/*", "list:reports", "write:reports/in/*"]
deny = ["*:reports/in/locked/*"]
networks = ["10.0.0.0/8"]

[[key]]
access_key_id = "READER"
secret_access_key = "the-secret-of-reader"
read_only = true

[[key]]
access_key_id = "GONE"
secret_access_key = "the-secret-of-gone"
disabled = true
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """
    Write a configuration with three keys.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text('[[backend]]\nname = "b"\nurl = "http://127.0.0.1:1"\nsignature = "none"\n')
    (tmp_path / "keys.toml").write_text(KEYS)
    return path


NETWORK = "; only from 10.0.0.0/8"


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ("REPORTS s3:GetObject reports/a", 0, f"allowed: rule 'read:reports/*' of allow{NETWORK}"),
        ("REPORTS GetObject reports/a", 0, f"allowed: rule 'read:reports/*' of allow{NETWORK}"),
        ("REPORTS s3:GetObjectVersion reports/a", 0, f"allowed: rule 'read:reports/*' of allow{NETWORK}"),
        ("REPORTS s3:PutObject reports/in/a", 0, f"allowed: rule 'write:reports/in/*' of allow{NETWORK}"),
        ("REPORTS s3:PutObject reports/in/locked/a", 1, "refused: rule '*:reports/in/locked/*' of deny"),
        ("REPORTS s3:PutObject reports/a", 1, "refused: no rule of allow matches"),
        ("REPORTS s3:PutObject reports/in/../a", 1, "refused: a backend could read this name as another one"),
        ("REPORTS s3:DeleteObject reports/in/a", 1, "refused: no rule of allow matches"),
        ("REPORTS s3:ListBucket reports", 1, "refused: rule '*:reports/in/locked/*' of deny"),
        ("REPORTS s3:ListBucket reports/out/", 0, f"allowed: rule 'list:reports' of allow{NETWORK}"),
        ("REPORTS s3:GetBucketLocation reports", 0, f"allowed: rule 'read:reports/*' of allow{NETWORK}"),
        ("REPORTS s3:ListAllMyBuckets reports", 0, f"allowed: the list of buckets shows this one{NETWORK}"),
        ("REPORTS s3:ListAllMyBuckets other", 1, "refused: the list of buckets leaves out this one"),
        ("REPORTS s3:PutBucketPolicy reports", 1, "refused: no rule of allow matches"),
        ("READER s3:GetObject any/key", 0, "allowed: no rule denies it"),
        ("READER s3:ListBucket any", 0, "allowed: no rule denies it"),
        ("READER s3:PutObject any/key", 1, "refused: the key is read_only"),
        ("READER s3:DeleteObjectVersion any/key", 1, "refused: the key is read_only"),
        ("READER s3:BypassGovernanceRetention any/key", 1, "refused: the key is read_only"),
        ("GONE s3:GetObject any/key", 1, "refused: the key is disabled"),
    ],
)
def test_who_may_do_what(
    configuration: Path, capsys: pytest.CaptureFixture[str], asked: str, status: int, told: str
) -> None:
    assert main(["check", str(configuration), "--may", *asked.split()]) == status
    output = capsys.readouterr()
    assert output.out.startswith(told)
    assert "secret" not in output.out + output.err


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("REPORT s3:GetObject b/k", 'there is no key "REPORT" (did you mean "REPORTS"?)'),
        ("REPORTS s3:GetObjekt b/k", 'there is no action "s3:GetObjekt" (did you mean "s3:GetObject"?)'),
        ("REPORTS read b/k", 'there is no action "s3:read"'),
    ],
)
def test_what_does_not_exist(configuration: Path, capsys: pytest.CaptureFixture[str], asked: str, told: str) -> None:
    assert main(["check", str(configuration), "--may", *asked.split()]) == 1
    assert capsys.readouterr().err.startswith(told)


def test_a_rule_that_is_wrong_is_found(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (configuration.parent / "keys.toml").write_text(KEYS.replace('"list:reports"', '"list:reports", "reed:x"'))
    assert main(["check", str(configuration)]) == 1
    assert "REPORTS" in (told := capsys.readouterr().err)
    assert 'there is no action "reed"' in told
