"""What leaves by itself, alarms and MQTT, against peers that lead it astray or listen in."""

import contextlib
import datetime
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchwire.domains.battery.mqtt import Broker, MqttSubscriber
from benchwire.domains.battery.subscriptions import Subscription
from benchwire.domains.powermeter import webhook
from benchwire.domains.powermeter.mqtt import MqttPublisher
from benchwire.domains.powermeter.settings import PowerMeterSettings
from benchwire.foundation.clock import SystemClock
from tests.support.server import Server
from tests.support.waiting import until

# The MQTT library leaves the socket of a failed handshake to the collector, whenever that comes.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
SECRET = "a-secret-of-the-lab"


class Peer:
    """A web server that answers as it is told and notes whatever arrives."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        arrived: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                arrived.append(f"{self.path} {self.headers} {body!r}")
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the library's own name

            def log_message(self, *_: Any) -> None:
                pass

        self.arrived = arrived
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Wire:
    """A port that notes every byte of whoever connects, after TLS where it has a certificate."""

    def __init__(self, host: str, certificate: Path | None = None) -> None:
        self.bytes, self.tries = b"", 0
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._over = False
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._over:
            connection, _ = self._listener.accept()
            with contextlib.suppress(OSError), connection:
                if self._over:
                    return
                connection.settimeout(2)
                self.tries += 1
                if self._context is None:
                    self.bytes += connection.recv(65536)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        self.bytes += secure.recv(65536)

    def __enter__(self) -> "Wire":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for 127.0.0.1 that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextlib.contextmanager
def posting(url: str) -> Iterator[None]:
    """Have one alarm on its way to an address."""
    sender = webhook.Webhook(url)
    sender.start()
    sender._put({"meter": "meter1", "kind": "voltage_high", "value": 31.0})
    try:
        yield
    finally:
        sender.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_of_a_webhook_is_followed(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.01,))
    with (
        Peer() as stranger,
        Peer(status, {"Location": f"{stranger.url}/take"}) as peer,
        posting(f"{peer.url}/hook/{SECRET}?token={SECRET}"),
    ):
        until(lambda: "was not posted" in caplog.text)
        assert len(peer.arrived) == 2
        assert stranger.arrived == []
    assert SECRET not in caplog.text


def test_a_webhook_goes_to_no_server_whose_certificate_is_unknown(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(webhook, "PAUSES", (0.01,))
    with Wire("127.0.0.1", certificate) as wire:
        with posting(f"https://127.0.0.1:{wire.port}/{SECRET}"):
            until(lambda: "was not posted" in caplog.text)
        assert wire.tries == 2
        assert wire.bytes == b""


def test_mqtt_gives_its_password_to_no_broker_whose_certificate_is_unknown(
    certificate: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Wire("127.0.0.1", certificate) as wire:
        chosen = {
            "mqtt_host": "127.0.0.1", "mqtt_port": wire.port, "mqtt_tls": True,
            "mqtt_username": "lab", "mqtt_password": SECRET,
        }  # fmt: skip
        publisher = MqttPublisher(PowerMeterSettings.load(tmp_path, chosen))
        publisher.start(tuple)
        until(lambda: wire.tries >= 1)
        publisher.close()
        tries = wire.tries
        broker = Broker("127.0.0.1", wire.port, tls=True, username="lab", password=SECRET)
        subscription = Subscription(topic="a/b", device_id="S", field="soc")
        subscriber = MqttSubscriber(
            [subscription], lambda *_: None, broker=broker, clock=SystemClock()
        )
        subscriber.start()
        until(lambda: wire.tries > tries)
        subscriber.close()
        assert wire.bytes == b""
    assert SECRET not in caplog.text


@pytest.fixture
def own_address() -> str:
    """An address of this computer that others can reach it by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this computer has no address but its own loopback")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("allowed", [False, True])
def test_nothing_secret_goes_to_another_computer_in_clear_unless_it_is_allowed(
    tmp_path: Path, free_port: int, own_address: str, allowed: bool
) -> None:
    mapping = tmp_path / "topics.toml"
    mapping.write_text('[[subscriptions]]\ntopic = "a"\ndevice_id = "S"\nfield = "soc"\n')
    with Wire(own_address) as telemetry, Wire(own_address) as publishing:
        mqtt = {"MQTT_HOST": own_address, "MQTT_USERNAME": "lab", "MQTT_PASSWORD": SECRET}
        environment = {
            f"BENCHWIRE_{domain}_{name}": value
            for domain, port in (("BATTERY", telemetry.port), ("POWERMETER", publishing.port))
            for name, value in {
                **mqtt, "MQTT_PORT": str(port), "SEND_IN_CLEAR": str(allowed).lower(),
            }.items()
        } | {
            "BENCHWIRE_BATTERY_MQTT_MAP": str(mapping),
            "BENCHWIRE_POWERMETER_WEBHOOK_URL": f"http://{own_address}/{SECRET}",
            "BENCHWIRE_DEBUG": "true",
        }  # fmt: skip
        with Server(tmp_path / "data", free_port, environment=environment) as server:
            notices = httpx.get(f"{server.url}/notices", timeout=30).json()["notices"]
            told = [notice["text"] for notice in notices if "send_in_clear" in notice["text"]]
            if allowed:
                until(lambda: telemetry.tries and publishing.tries, seconds=30)
            else:
                httpx.get(f"{server.url}/bess/sources", timeout=30)
        assert SECRET not in server.log_path.read_text()
        assert len(told) == (0 if allowed else 3), notices
        for wire in (telemetry, publishing):
            assert (SECRET.encode() in wire.bytes) == allowed
            assert (wire.tries > 0) == allowed


@pytest.mark.parametrize(
    ("url", "tells"),
    [
        ("http://192.168.1.5/x", True), ("http://localhost.evil.example/x", True),
        ("http://user:word@10.0.0.1/", True), ("http://127.0.0.1.evil.example/", True),
        ("https://10.0.0.1/x", False), ("http://localhost:80/x", False),
        ("http://127.0.0.1/x", False), ("http://[::1]:1/x", False), (None, False),
    ],
)  # fmt: skip
def test_what_the_network_could_read(tmp_path: Path, url: str | None, tells: bool) -> None:
    settings = PowerMeterSettings.load(tmp_path, {"webhook_url": url})
    assert settings.webhook_tells_all == tells
