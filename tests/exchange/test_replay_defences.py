"""
Signatures that were seen: each passes once, and they are remembered within limits of time and number.
"""

from __future__ import annotations

from s3proxy.exchange.replay import ReplayWindow


def test_a_signature_passes_once() -> None:
    """
    Until its time is over, or if its request was not carried out.
    """
    window = ReplayWindow(10, 100)

    assert [window.admit(b"a", 0), window.admit(b"a", 9.9), window.admit(b"b", 9.9)] == [True, False, True]
    assert window.admit(b"a", 10)
    window.forget(b"a")
    assert window.admit(b"a", 10)


def test_signatures_are_remembered_up_to_a_bound() -> None:
    """
    Above the limit the oldest is forgotten.
    """
    window = ReplayWindow(10, 2)
    for name in (b"a", b"b", b"c"):
        assert window.admit(name, 0)

    assert len(window) == 2
    assert [window.admit(name, 0) for name in (b"c", b"b", b"a")] == [False, False, True]
