"""
Pages of a listing whose names s3proxy filters: the request to the backend, the page that the client gets, and where the
next page begins.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from s3proxy.mending.pages import Page
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import LIST_OBJECT_VERSIONS, LIST_OBJECTS
from s3proxy.s3.query import query_items

Entry = str | tuple[str, str]
"""
A key, a key with its version, or a common prefix, which ends with ``/``.
"""


def page_of(query: str, *, hides_unversioned: bool = False) -> Page:
    """
    A page as a client requests it.
    """
    head = RequestHead(b"GET", f"/b?{query}".encode(), b"HTTP/1.1", [], {})
    operation = LIST_OBJECT_VERSIONS if query.startswith("versions") else LIST_OBJECTS
    return Page(operation, head, head, hides_unversioned=hides_unversioned)


def listed(*entries: Entry, truncated: bool = False, **own: str) -> bytes:
    """
    A page as a storage system writes it, with elements of its own. It lists versions if an entry has one.
    """
    are_versions = any(isinstance(entry, tuple) for entry in entries)
    content = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
    content += "".join(f"<{name}>{escape_text(text)}</{name}>" for name, text in own.items())
    for entry in entries:
        if isinstance(entry, tuple):
            content += f"<Version><Key>{entry[0]}</Key><VersionId>{entry[1]}</VersionId></Version>"
        else:
            content += f"<Contents><Key>{entry}</Key></Contents>"
    root = "ListVersionsResult" if are_versions else "ListBucketResult"
    return f"<{root}>{content}</{root}>".encode()


def folded(document: bytes, *prefixes: str) -> bytes:
    """
    The same page with common prefixes, which Walrus may write in one element.
    """
    content = "".join(f"<Prefix>{prefix}</Prefix>" for prefix in prefixes)
    root = document[1 : document.index(b">")]
    return document.replace(b"</%s>" % root, b"<CommonPrefixes>%s</CommonPrefixes></%s>" % (content.encode(), root))


def names_of(document: bytes, path: str) -> list[str]:
    """
    The texts of some elements.
    """
    return [element.text or "" for element in ElementTree.fromstring(document).iterfind(path)]


def asked(page: Page) -> dict[str, str]:
    """
    The query of the next request to the backend, if the page is not complete.
    """
    head = page.following or page.head
    return {name.decode(): value.decode() for name, value in query_items(head.raw_query or b"")}


@pytest.mark.parametrize(
    ("query", "count"), [("", "1000"), ("&max-keys=2", "1000"), ("&max-keys=2147483647", "1000"), ("&max-keys=0", "0")]
)
def test_folders_below_a_wildcard_are_made_of_whole_pages(query: str, count: str) -> None:
    """
    A thousand keys may be one folder. For a page of no names, none is requested.
    """
    page = page_of("prefix=log_1/&delimiter=/" + query)

    assert asked(page) == {"prefix": "log_1/", "max-keys": count}


def check(query: str, document: bytes, expected: list[str], following: str | None) -> None:
    """
    Check which names of a page a client gets, and where the next page begins.
    """
    page = page_of(query)
    edited = page.edit(document)

    assert page.following is None
    assert sorted(names_of(edited, "Contents/Key") + names_of(edited, "CommonPrefixes/Prefix")) == expected
    assert names_of(edited, "IsTruncated") == ["false" if following is None else "true"]
    assert names_of(edited, "NextMarker") == ([] if following is None else [following])
    assert not names_of(edited, "NextVersionIdMarker")


@pytest.mark.parametrize(
    ("query", "document", "expected", "following"),
    [
        ("max-keys=2", listed("a_1", "a_2"), ["a_1", "a_2"], None),
        ("max-keys=2", listed("a_1", "aX", "a_2"), ["a_1", "a_2"], None),
        ("max-keys=2", listed("a_1", "a_2", "a_3", NextMarker="a_3"), ["a_1", "a_2"], "a_2"),
        ("max-keys=2", listed("a_3", "a_2", "a_1"), ["a_1", "a_2"], "a_2"),
        ("max-keys=1", listed("a_/1", "a_/2"), ["a_/1"], "a_/1"),
        ("max-keys=1", listed("a_1", "aX", truncated=True), ["a_1"], "a_1"),
        # After an empty page there is no place for the next one to begin.
        ("max-keys=0", listed("a_1", truncated=True), [], None),
        ("max-keys=0", listed(truncated=True), [], None),
    ],
)
def test_a_page_has_no_more_than_is_wanted(
    query: str, document: bytes, expected: list[str], following: str | None
) -> None:
    """
    The next page begins after the last name: otherwise names would be on no page, or on two.
    """
    check(f"prefix=a_&{query}", document, expected, following)


@pytest.mark.parametrize(
    ("query", "document", "expected", "following"),
    [
        # A folder is one name, however many keys it has.
        ("&max-keys=2", listed("a_/1", "a_/2", "a_1"), ["a_/", "a_1"], None),
        ("&max-keys=1", listed("a_/1", "a_/2", "a_1"), ["a_/"], "a_/"),
        ("&max-keys=2", listed("a_/1", "a_/2", truncated=True), ["a_/"], "a_/"),
        # The client did not get this name.
        ("", listed("a_1", truncated=True, NextMarker="a_2/x"), ["a_1"], "a_2/x"),
        ("", listed("a_1", truncated=True, NextMarker="ab/x/y"), ["a_1"], "ab/x/y"),
        # After a folder all its keys are done; after one of its keys they are not.
        ("&marker=a_/", listed("a_/1", "a_1"), ["a_1"], None),
        ("&marker=a_/0", listed("a_/1", "a_1"), ["a_/", "a_1"], None),
    ],
)
def test_a_page_of_folders(query: str, document: bytes, expected: list[str], following: str | None) -> None:
    """
    No folder is listed twice, and none is left out.
    """
    check(f"prefix=a_&delimiter=/{query}", document, expected, following)


@pytest.mark.parametrize(
    ("query", "document", "expected", "following"),
    [
        ("prefix=a_", listed("a_1", "ab1", truncated=True), ["a_1"], "ab1"),
        ("prefix=a_", listed("a_1", "ab1", truncated=True, NextMarker="ab2"), ["a_1"], "ab2"),
        ("prefix=a_&delimiter=%20-%20", listed("a_1 - x", "a_2-"), ["a_1 - ", "a_2-"], None),
    ],
)
def test_a_page_goes_on_where_the_storage_does(
    query: str, document: bytes, expected: list[str], following: str | None
) -> None:
    """
    The next page also begins after names that the client does not get.
    """
    check(query, document, expected, following)


@pytest.mark.parametrize(
    ("query", "told", "expected"),
    [
        ("delimiter=/&prefix=a_", {}, ["/"]),
        ("delimiter=/&prefix=a_", {"Delimiter": ""}, ["/"]),
        ("delimiter=/&prefix=a", {"Delimiter": "/"}, ["/"]),
        ("prefix=a_", {}, []),
    ],
)
def test_a_delimiter_is_told_once(query: str, told: dict[str, str], expected: list[str]) -> None:
    """
    As S3 sends it, although the request to the backend had none.
    """
    assert names_of(page_of(query).edit(listed("a_1", "a_2/3", **told)), "Delimiter") == expected


@pytest.mark.parametrize(
    ("keys", "prefixes", "expected"),
    [
        (["/"], [], ["/"]),
        (["/a/"], ["/"], ["/"]),
        (["a/", "k"], ["a/"], ["a/"]),
        (["a/", "k"], ["a/", "b/"], ["a/", "b/"]),
        (["c/", "k"], ["a/", "b/"], ["a/", "b/", "c/"]),
    ],
)
def test_a_folder_is_told_once(keys: list[str], prefixes: list[str], expected: list[str]) -> None:
    """
    This holds whether the storage system lists it as a key, as a common prefix, or among several in one element.
    """
    edited = page_of("delimiter=/").edit(folded(listed(*keys), *prefixes))

    assert sorted(names_of(edited, "CommonPrefixes/Prefix")) == expected
    assert names_of(edited, "Contents/Key") == [key for key in keys if "/" not in key]


def test_what_follows_a_page_of_others() -> None:
    """
    The next request begins where the backend's page ended, and its own page says where the client's next one begins.
    """
    page = page_of("prefix=a_")
    page.edit(listed("aX", truncated=True))
    assert asked(page) == {"prefix": "a_", "marker": "aX", "max-keys": "1000"}
    edited = page.edit(listed("a_1", "a_2", truncated=True))

    assert page.following is None
    assert names_of(edited, "Contents/Key") == ["a_1", "a_2"]
    assert names_of(edited, "NextMarker") == ["a_2"]


# Versions


@pytest.mark.parametrize(
    ("own", "following"),
    [
        ({"KeyMarker": "a", "NextKeyMarker": "a_1", "NextVersionIdMarker": "v2"}, ("a_1", "v2")),
        # After a common prefix there is no version at which the next page could begin.
        ({"NextKeyMarker": "ab/"}, ("ab/", "")),
        # The newest version of a key comes first, whatever the versions' names are.
        ({}, ("ab", "w1")),
    ],
)
def test_a_page_of_versions(own: dict[str, str], following: tuple[str, str]) -> None:
    """
    The next page begins after one version of a key, whether the client or s3proxy requests it.
    """
    query = "versions&prefix=a_&key-marker=a"
    others = [("ab", "w3"), ("ab", "w2"), ("ab", "w1")]
    edited = page_of(query).edit(listed(("a_1", "v1"), ("a_1", "v2"), *others, truncated=True, **own))
    page = page_of(query)
    page.edit(listed(*others, truncated=True, **own))

    assert names_of(edited, "Version/VersionId") == ["v1", "v2"]
    assert names_of(edited, "NextKeyMarker") == [following[0]]
    assert names_of(edited, "NextVersionIdMarker") == ([following[1]] if following[1] else [])
    assert asked(page) == {
        "versions": "",
        "prefix": "a_",
        "key-marker": following[0],
        "version-id-marker": following[1],
    }


@pytest.mark.parametrize("prefix", ["", "&prefix=k", "&prefix=k&delimiter=/"])
def test_the_rest_of_a_key_s_versions_is_on_the_next_page(prefix: str) -> None:
    """
    A client that deletes all versions of a bucket would leave them.

    Source:
        "ListObjectVersions": version-id-marker; eucalyptus/eucalyptus 3.4.2, ``WalrusManager.listVersions``.
    """
    page = page_of(f"versions&key-marker=k&version-id-marker=v2{prefix}")

    edited = page.edit(listed(("k", "v1"), ("k2", "w")))

    assert names_of(edited, "Version/Key") == ["k", "k2"]


@pytest.mark.parametrize(("key", "markers"), [("a//", (["a/"], [])), ("a/", (["a/"], [])), ("k", (["k"], ["v"]))])
def test_a_folder_of_versions_is_listed_once(key: str, markers: tuple[list[str], list[str]]) -> None:
    """
    Walrus lists ``a/`` and ``a//`` as keys, each with its versions. A listing that begins after the folder has none of
    them.
    """
    own = {"NextKeyMarker": key, "NextVersionIdMarker": "v"}
    edited = page_of("versions&delimiter=/&max-keys=2").edit(listed(("a/", "w"), (key, "v"), truncated=True, **own))
    following = page_of("versions&delimiter=/&key-marker=a/").edit(listed((key, "u"), ("z", "v")))

    assert names_of(edited, "CommonPrefixes/Prefix") == ["a/"]
    assert (names_of(edited, "NextKeyMarker"), names_of(edited, "NextVersionIdMarker")) == markers
    assert not names_of(following, "CommonPrefixes/Prefix")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("versions", {}),
        ("versions&prefix=p&max-keys=7", {"prefix": "p", "max-keys": "7"}),
        ("versions&key-marker=k%26&version-id-marker=null", {"marker": "k&"}),
    ],
)
def test_objects_are_asked_for_in_the_place_of_versions(query: str, expected: dict[str, str]) -> None:
    """
    They begin at the same place, and each is listed as its only version.
    """
    page = page_of(query, hides_unversioned=True)
    page.edit(b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
    assert asked(page) == expected
    edited = page.edit(listed("p1", "p2"))

    assert page.following is None
    assert names_of(edited, "Version/Key") == ["p1", "p2"]
    assert names_of(edited, "Version/VersionId") == ["null", "null"]
    assert names_of(edited, "Version/IsLatest") == ["true", "true"]
    assert [child.tag for child in ElementTree.fromstring(edited)] == ["IsTruncated", "Version", "Version"]
