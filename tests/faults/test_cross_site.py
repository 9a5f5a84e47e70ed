"""Pages of other sites in a browser of the lab: nothing they ask for is done."""

import re
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

SOCKET = "/ui/_nicegui_ws/socket.io/"
# Of the internet, of a sandboxed frame or a file, and of other ports and names of this computer.
ORIGINS = (
    "http://evil.example", "https://evil.example:8000", "null", "http://localhost:1",
    "http://127.0.0.1", "http://127.0.0.1.evil.example", "file://", "",
)  # fmt: skip
REBOUND = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An open one, which has no key to protect it."""
    folder = tmp_path_factory.mktemp("cross") / "data"
    with Server(folder, free_port(), environment={"BENCHWIRE_UI": "true"}) as running:
        until(lambda: httpx.get(f"{running.url}/ui/", timeout=60).status_code == 200, seconds=60)
        yield running


@pytest.fixture(scope="module")
def operations(server: Server) -> list[tuple[str, str]]:
    document = httpx.get(f"{server.url}/openapi.json", timeout=30).json()
    found = [
        (method.upper(), re.sub(r"\{[^}]+\}", "7", path))
        for path, item in document["paths"].items()
        for method in item
    ]
    assert len(found) > 200
    return found


def test_no_operation_is_done_for_another_site(
    server: Server, operations: list[tuple[str, str]]
) -> None:
    unsafe = [(method, path) for method, path in operations if method != "GET"]
    unsafe += [("POST", "/login"), ("POST", "/logout"), ("POST", SOCKET)]
    done = []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for number, (method, path) in enumerate(unsafe):
            # What a form may send without asking first; the origins take turns over all paths.
            for origin in ORIGINS if path == "/jobs" else (ORIGINS[number % len(ORIGINS)],):
                headers = {"Origin": origin, "Content-Type": "text/plain"}
                answer = client.request(method, path, headers=headers, content=b"{}")
                if answer.status_code != 403 or "set-cookie" in answer.headers:
                    done.append((method, path, origin, answer.status_code))
    assert done == []


def test_the_dashboards_socket_is_closed_to_other_sites(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}{SOCKET}?EIO=4&transport=websocket"
    for origin in ORIGINS:
        polling = httpx.get(
            f"{server.url}{SOCKET}",
            params={"EIO": "4", "transport": "polling"},
            headers={"Origin": origin},
            timeout=30,
        )
        assert polling.status_code == 403, origin
        assert "set-cookie" not in polling.headers
        if origin:
            with pytest.raises(InvalidStatus) as refused:
                connect(address, origin=origin, proxy=None, open_timeout=30)
            assert refused.value.response.status_code == 403
    with connect(address, origin=server.url, proxy=None, open_timeout=30) as own:
        assert own.recv(30)


@pytest.mark.parametrize("host", REBOUND)
def test_a_name_led_here_by_its_own_name_server_gets_nothing(
    server: Server, operations: list[tuple[str, str]], host: str
) -> None:
    """To the browser it is then one site with its page, so reading is refused too."""
    given = []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for method, path in [*operations, ("GET", "/ui/"), ("GET", "/"), ("GET", SOCKET)]:
            headers = {"Host": host, "Origin": f"http://{host}", "Content-Type": "text/plain"}
            answer = client.request(method, path, headers=headers, content=b"{}")
            if answer.status_code != 403 or "set-cookie" in answer.headers:
                given.append((method, path, answer.status_code))
    assert given == []
    address = f"ws://127.0.0.1:{server.port}{SOCKET}?EIO=4&transport=websocket"
    with pytest.raises(InvalidStatus):
        connect(
            address, origin=f"http://{host}", additional_headers={"Host": host}, proxy=None,
            open_timeout=30,
        )  # fmt: skip
