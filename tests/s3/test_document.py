"""
Documents of clients: what all readers read alike is read, everything else is refused before any of it is expanded.
"""

from __future__ import annotations

from time import process_time
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.s3 import document as module
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.errors import MalformedXML
from s3proxy.s3.limits import KIB, MAX_READ_ATTRIBUTES, MAX_READ_DEPTH, MAX_READ_ELEMENTS, MIB

BODY = "<Delete><Object><Key>k\u00e9</Key></Object></Delete>"
ASCII = "<Delete><Object><Key>k</Key></Object></Delete>"
NAME_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
LAUGHS = "".join(
    f'<!ENTITY {name} "{f"&{former};" * 10}">' for former, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def is_read(document: bytes) -> bool:
    """
    Return True if a document is read.
    """
    try:
        parse_document(document)
    except MalformedXML:
        return False
    return True


def outline(document: bytes) -> list[tuple[str, str]]:
    """
    Names and texts of a document's elements.
    """
    return [(local_name(element), element.text or "") for element in parse_document(document).iter()]


def with_attributes(count: int) -> str:
    """
    One element with this many attributes.
    """
    attributes = "".join(f" a{number}=''" for number in range(count))
    return f"<a{attributes}/>"


READ = [("Delete", ""), ("Object", ""), ("Key", "k\u00e9")]


@pytest.mark.parametrize(
    "document",
    [
        BODY.encode(),
        b"\xef\xbb\xbf" + BODY.encode(),
        f'<?xml version="1.0" encoding="UTF-8"?>\n{BODY}\n'.encode(),
        f"<?xml version='1.0' encoding='utf-8' standalone='yes'?>{BODY}".encode(),
        f'<?xml version="1.0" encoding="utf8"?>{BODY}'.encode(),
        f'<?xml version="1.0"?>{BODY}'.encode(),
        '\ufeff<?xml version="1.0" encoding="utf-8"?>'.encode() + BODY.encode(),
        f'<Delete xmlns="{NAME_SPACE}"><Object><Key>k\u00e9</Key></Object></Delete>'.encode(),
        f'<s:Delete xmlns:s="{NAME_SPACE}"><s:Object><s:Key>k\u00e9</s:Key></s:Object></s:Delete>'.encode(),
        "<Delete><Object><Key><![CDATA[k\u00e9]]></Key></Object></Delete>".encode(),
        b"<Delete><Object><Key>k&#xe9;</Key></Object></Delete>",
        "<Delete><!-- <!DOCTYPE a> --><Object><Key>k<!-- no -->\u00e9</Key></Object></Delete>".encode(),
        f"<?a b?>{BODY}<!-- a --><?a b?>".encode(),
        b'<?xml version="1.0" encoding="US-ASCII"?><Delete><Object><Key>k&#233;</Key></Object></Delete>',
    ],
)
def test_what_clients_send(document: bytes) -> None:
    """
    UTF-8 with and without a byte order mark, declared and not; namespaces; everything that XML allows.
    """
    assert outline(document) == READ


@pytest.mark.parametrize("text", ["<!DOCTYPE a>", "<!ENTITY a 'b'>", "a]]&gt;b", "&amp;&lt;&gt;&quot;&apos;"])
def test_text_is_no_markup(text: str) -> None:
    """
    A key may look like a document type, if it is text.
    """
    if not text.startswith("<"):
        wanted = text.replace("&gt;", ">").replace("&lt;", "<").replace("&quot;", '"').replace("&apos;", "'")
        assert outline(f"<Key>{text}</Key>".encode()) == [("Key", wanted.replace("&amp;", "&"))]
        return

    assert outline(f"<Key><![CDATA[{text}]]></Key>".encode()) == [("Key", text)]
    escaped = text.replace("<", "&lt;").replace(">", "&gt;")
    assert outline(f"<Key>{escaped}</Key>".encode()) == [("Key", text)]


CODINGS = [
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
    "utf-7",
    "cp037",
    "cp500",
    "cp1140",
    "iso-8859-1",
    "windows-1252",
    "iso-2022-jp",
    "shift_jis",
    "gb18030",
    "big5",
    "euc-kr",
    "koi8-r",
]


@pytest.mark.parametrize("coding", CODINGS)
def test_another_coding(coding: str) -> None:
    """
    A declared or real encoding, or both: a backend could read another key, and a document type that s3proxy did not
    see.
    """
    declared = f'<?xml version="1.0" encoding="{coding}"?>{ASCII}'

    assert not is_read(declared.encode(coding)), "declared and real"
    assert not is_read(declared.encode()), "declared only"
    assert not is_read(b"\xef\xbb\xbf" + declared.encode()), "against the mark"
    if ASCII.encode(coding) != ASCII.encode():
        assert not is_read(ASCII.encode(coding)), "real only"
    hidden = f'<?xml version="1.0" encoding="{coding}"?><!DOCTYPE Delete [<!ENTITY a "b">]>{ASCII}'
    assert not is_read(hidden.encode(coding))


@pytest.mark.parametrize(
    "mark", [b"\xfe\xff", b"\xff\xfe", b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"+/v8-", b"\xdd\x73\x66\x73"]
)
def test_a_mark_of_another_coding(mark: bytes) -> None:
    """
    Also before text that is otherwise UTF-8.
    """
    assert not is_read(mark + ASCII.encode())


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be"])
def test_a_parser_which_guesses_by_zero_bytes(coding: str) -> None:
    """
    Without a byte order mark and without a declaration, the parser would read it, whatever encoding it was given.
    """
    assert not is_read(f"<!-- {ASCII} --><Delete/>".encode(coding))
    assert not is_read(ASCII.encode() + "<!-- -->".encode(coding))


@pytest.mark.parametrize(
    "key",
    [
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xe9",
        b"\xc3",
        b"\xef\xbf\xbf",
        b"\0",
        b"\x01",
        b"\x1b$B",
        b"&#0;",
        b"&#1;",
        b"&#xd800;",
        b"&#x110000;",
        b"&b;",
        b"&nbsp;",
        b"]]>",
    ],
)
def test_bytes_which_are_no_text(key: bytes) -> None:
    """
    What is not UTF-8, and what XML 1.0 allows nowhere.
    """
    assert not is_read(b"<Delete><Object><Key>%b</Key></Object></Delete>" % key)


def test_bytes_above_what_is_declared() -> None:
    """
    US-ASCII has no such bytes: each reader may read them differently.
    """
    assert is_read(f'<?xml version="1.0" encoding="us-ascii"?>{ASCII}'.encode())
    assert not is_read(f'<?xml version="1.0" encoding="us-ascii"?>{BODY}'.encode())


@pytest.mark.parametrize("version", ["1.1", "1.2", "2.0", "1", ""])
def test_another_version(version: str) -> None:
    """
    XML 1.1 has other characters and other line ends.
    """
    assert not is_read(f'<?xml version="{version}" encoding="UTF-8"?>{ASCII}'.encode())


@pytest.mark.parametrize(
    "document_type",
    [
        "<!DOCTYPE Delete>",
        "<!DOCTYPE\nDelete SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE Delete PUBLIC 'a' 'http://127.0.0.1/'>",
        '<!DOCTYPE Delete [<!ENTITY a "b">]>',
        '<!DOCTYPE Delete [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE Delete [<!ENTITY % a SYSTEM "http://127.0.0.1/"> %a;]>',
        f'<!DOCTYPE Delete [<!ENTITY a "ha">{LAUGHS}]>',
        "<!DOCTYPE Delete [<!ATTLIST Delete a CDATA 'b'>]>",
        "<!-- a --><?a b?>\n<!DOCTYPE Delete>",
    ],
)
@pytest.mark.parametrize("before", ["", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>'])
@pytest.mark.parametrize("reference", ["", "&i;"])
def test_a_document_type(document_type: str, before: str, reference: str) -> None:
    """
    Of any kind, after anything: it is refused when it begins.
    """
    document = f"{before}{document_type}<Delete>{reference}</Delete>".encode()
    began = process_time()

    assert not is_read(document)
    assert process_time() - began < 0.1


def test_nothing_is_declared_before_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The parser stops at the document type: it never sees an entity of it.
    """
    declared: list[str] = []
    create = module.ParserCreate

    def watched(*arguments: str) -> object:
        parser = create(*arguments)
        parser.EntityDeclHandler = lambda name, *rest: declared.append(name)
        return parser

    monkeypatch.setattr(module, "ParserCreate", watched)

    assert not is_read(f'<!DOCTYPE a [<!ENTITY a "ha">{LAUGHS}]><a>&i;</a>'.encode())
    assert declared == []


@pytest.mark.parametrize(
    ("document", "passes"),
    [
        ("<a>" * MAX_READ_DEPTH + "</a>" * MAX_READ_DEPTH, True),
        ("<a>" * (MAX_READ_DEPTH + 1) + "</a>" * (MAX_READ_DEPTH + 1), False),
        (f"<a>{'<b/>' * (MAX_READ_ELEMENTS - 1)}</a>", True),
        (f"<a>{'<b/>' * MAX_READ_ELEMENTS}</a>", False),
        (with_attributes(MAX_READ_ATTRIBUTES), True),
        (with_attributes(MAX_READ_ATTRIBUTES + 1), False),
        (f"<a xmlns='{'u' * 256}'/>", True),
        (f"<a xmlns='{'u' * 257}'/>", False),
        (f"<a xmlns:b='{'u' * 257}'/>", False),
        (f"<a b='{'x' * 15 * KIB}'/>", True),
        (f"<a b='{'x' * 33 * KIB}'/>", False),
        (f"<a b='{'x' * 4 * MIB}'/>", False),
        (f"<a><!--{'x' * 15 * KIB}--></a>", True),
        (f"<a><!--{'x' * 33 * KIB}--></a>", False),
        (f"<{'a' * 33 * KIB}/>", False),
        (with_attributes(380_000), False),
        (f"<a>{'<b/>' * 1_000_000}</a>", False),
        ("<a>" * 1_000_000, False),
    ],
)
def test_limits(document: str, passes: bool) -> None:
    """
    For elements, levels, attributes, namespaces, and the size of what the parser reads as one piece.
    """
    assert is_read(document.encode()) is passes


@pytest.mark.parametrize(
    "text", ["x" * 4_000_000, "\n" * 1_000_000, "&amp;" * 500_000, "\u00e9" * 1_000_000, "] " * 1_000_000]
)
@pytest.mark.parametrize("is_cdata", [False, True])
def test_text_has_no_limit(text: str, is_cdata: bool) -> None:
    """
    For the text of a document: the parser does not wait for its end, as it does for a tag's.
    """
    document = f"<a><b><![CDATA[{text}]]></b></a>" if is_cdata else f"<a><b>{text}</b></a>"
    wanted = text if is_cdata else text.replace("&amp;", "&")

    assert outline(document.encode()) == [("a", ""), ("b", wanted)]


def test_the_parser_is_not_fed_what_it_keeps() -> None:
    """
    An element with 380,000 attributes costs as much as its first 32 KiB.
    """
    small, large = (with_attributes(count).encode() for count in (10_000, 380_000))

    def cost(document: bytes) -> float:
        spent = []
        for _ in range(5):
            began = process_time()
            assert not is_read(document)
            spent.append(process_time() - began)
        return min(spent)

    # Both documents are searched for zero bytes.
    assert cost(large) < 3 * cost(small) + 0.003


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" ",
        b"a",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a/>b",
        b"<a b/>",
        b"<a b='1' b='2'/>",
        b"<x:a/>",
        b"<a x:b='1'/>",
        b"<a>\r<",
    ],
)
def test_what_is_no_document(document: bytes) -> None:
    """
    It is refused as S3 does.
    """
    assert not is_read(document)


NAMES = st.sampled_from(["a", "b", "Key", "\u00e9"])
TREES = st.recursive(
    st.builds(
        lambda name, text: (name, text, []), NAMES, st.text(st.characters(codec="utf-8", exclude_categories=["C"]))
    ),
    lambda children: st.builds(
        lambda name, text, inner: (name, text, inner), NAMES, st.just(""), st.lists(children, max_size=4)
    ),
    max_leaves=20,
)


@given(tree=TREES)
def test_what_was_written_is_read(tree: tuple[str, str, list[object]]) -> None:
    """
    Any document that was written is read as another reader reads it.
    """

    def build(node: tuple[str, str, list[object]]) -> ElementTree.Element:
        element = ElementTree.Element(node[0])
        element.text = node[1]
        element.extend([build(each) for each in node[2]])  # type: ignore[arg-type]
        return element

    text = ElementTree.tostring(build(tree), encoding="unicode").encode()

    assert outline(text) == [(each.tag, each.text or "") for each in ElementTree.fromstring(text).iter()]


@given(document=st.binary(max_size=200), start=st.sampled_from([b"", b"<a>", b"<?xml ", b"\xef\xbb\xbf", b"<!DOCTYPE"]))
def test_anything_is_read_or_refused(document: bytes, start: bytes) -> None:
    """
    Any input is read, or raises MalformedXML and nothing else.
    """
    is_read(start + document)


def test_depth_is_counted_down_as_it_was_counted_up() -> None:
    """
    An element that is too deep is refused, however many elements come before it.
    """
    siblings = "<a></a>" * 100

    assert is_read(f"<r>{siblings}{'<b>' * 31}{'</b>' * 31}</r>".encode())
    assert not is_read(f"<r>{siblings}{'<b>' * 32}{'</b>' * 32}</r>".encode())
