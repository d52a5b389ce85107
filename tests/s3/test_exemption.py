"""
The words for exemptions, which configurations and dashboards contain.
"""

from __future__ import annotations

from s3proxy.s3.exemption import Exemption


def test_words_of_exemptions() -> None:
    """
    They stay, and a word is as good as its member: an embedding application may make credentials from words.
    """
    assert list(Exemption) == ["region", "clock-skew", "unsigned-headers", "chunk-size"]
    assert "clock-skew" in frozenset({Exemption.CLOCK_SKEW})
    assert Exemption.CLOCK_SKEW in frozenset({"clock-skew"})
