"""Bodies in the three forms clients send, and everything that is none of them."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.testclient import TestClient

from benchwire.foundation.web import error_handlers
from benchwire.foundation.web.bodies import BodyUnreadable, nested, opened_body, uploaded

LIMIT = 200_000


async def read(request: Request) -> Any:
    async with opened_body(request, limit=LIMIT) as body:
        yield body


def make_client() -> TestClient:
    app = FastAPI()
    error_handlers.install(app, error_handlers.render_detail)

    @app.post("/")
    def echo(body: Annotated[dict[str, Any], Depends(read)]) -> Any:
        return {
            key: file.file.read().decode() if (file := uploaded(value)) else value
            for key, value in body.items()
        }

    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def client() -> TestClient:
    return make_client()


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("a", "1")], {"a": "1"}),
        ([("a[b]", "1"), ("a[c]", "2")], {"a": {"b": "1", "c": "2"}}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[0][b]", "1"), ("a[1][b]", "2")], {"a": [{"b": "1"}, {"b": "2"}]}),
        ([("a[][b]", "1"), ("a[][c]", "2"), ("a[][b]", "3")],
         {"a": [{"b": "1", "c": "2"}, {"b": "3"}]}),
        ([("a[x][][b][c]", "1"), ("a[x][][b][d]", "2"), ("a[x][][b][c]", "3")],
         {"a": {"x": [{"b": {"c": "1", "d": "2"}}, {"b": {"c": "3"}}]}}),
        ([("a[][b][]", "1"), ("a[][b][]", "2")], {"a": [{"b": ["1", "2"]}]}),
        ([("a[", "1"), ("]", "2")], {"a[": "1", "]": "2"}),
        ([("a[b]c", "1")], {"a[b]c": "1"}),
    ],
)  # fmt: skip
def test_bracketed_names_become_objects(items: list[tuple[str, str]], expected: Any) -> None:
    assert nested(items) == expected


def test_names_with_two_meanings_or_too_deep_are_refused() -> None:
    with pytest.raises(BodyUnreadable):
        nested([("a", "1"), ("a[b]", "2")])
    with pytest.raises(BodyUnreadable):
        nested([("a" + "[b]" * 9, "1")])


def test_all_forms_say_the_same(client: TestClient) -> None:
    expected = {"a": {"b": "1"}}
    assert client.post("/", json=expected).json() == expected
    assert client.post("/", data={"a[b]": "1"}).json() == expected
    assert client.post("/", files={"a[b]": (None, "1")}).json() == expected
    assert client.post("/", content=b'{"a":{"b":"1"}}').json() == expected
    forgotten = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/", content=b'{"a":{"b":"1"}}', headers=forgotten).json() == expected


@pytest.mark.parametrize("content", [b"", b"null", b"  "])
def test_nothing_is_an_empty_object(client: TestClient, content: bytes) -> None:
    assert client.post("/", content=content).json() == {}


def test_files_are_files(client: TestClient) -> None:
    assert client.post("/", files={"f": ("x.txt", b"inside")}).json() == {"f": "inside"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"), (b"[1]", "application/json"), (b"\xff\xfe", "application/json"),
        (b"[" * 90_000, "application/json"), (b"[" * 150_000, "application/json"),
        (b"x", "multipart/form-data"), (b"x", "multipart/form-data; boundary=y"),
        (b"a=\xff", "application/x-www-form-urlencoded"),
        (b"&".join(b"a=1" for _ in range(6000)), "application/x-www-form-urlencoded"),
    ],
)  # fmt: skip
def test_what_is_no_body_is_refused(client: TestClient, content: bytes, kind: str) -> None:
    answer = client.post("/", content=content, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=y"])
def test_too_much_is_refused_by_its_length_and_without_one(client: TestClient, kind: str) -> None:
    def pieces() -> Any:
        yield b'--y\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        for _ in range(300):
            yield b"x" * 1000

    headers = {"content-type": kind}
    for content in (b"x" * 300_000, pieces()):
        answer = client.post("/", content=content, headers=headers)
        assert answer.status_code == 413, answer.text
