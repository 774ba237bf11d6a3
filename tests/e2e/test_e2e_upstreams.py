"""`hanse up --allow-upstream https://...=FILE`: a program that proves its name, and one that does not."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_kit import ANSWER_S, NODES, PATIENCE_S, short_folder, write_fabric

from hanse.app.cli.exits import Exit

pytestmark = pytest.mark.fabric
SERVICE = """\
apiVersion: hanse.dev/v1
kind: Service
metadata: {name: %s, namespace: test}
spec: {upstream: "%s", route: {path: /%s}, replicas: 1}
"""


class Authority:
    """One of the owner's own: no public list knows it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "archive authority")])
        self.file = self._write("authority.pem", self._sign(self._name, self._key.public_key(), is_ca=True))

    def context(self, name: str) -> ssl.SSLContext:
        """What a server shows that was issued a certificate for `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(x509.Name([]), key.public_key(), name)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._write(f"{name}.pem", certificate), self._write(f"{name}.key", private))
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, name: str | None = None, *, is_ca: bool = False
    ) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if name is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, pem: bytes) -> Path:
        file = self._folder / name
        file.write_bytes(pem)
        return file


class Archive(ThreadingHTTPServer):
    """A program that answers over TLS alone and knows by how many connections it was asked for what."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        # The handshake is for the thread of the connection: a client that ends it must not end the server.
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.connections = 0
        self.asked: list[str] = []

    @property
    def upstream(self) -> str:
        return f"https://localhost:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go: one that does not believe the certificate has to."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Archive

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        tls = self.connection.version() if isinstance(self.connection, ssl.SSLSocket) else None
        said = f"{self.path} over {tls}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@contextmanager
def serving(tls: ssl.SSLContext) -> Iterator[Archive]:
    with Archive(tls) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A fabric that `hanse up` runs, and two programs; only one has a certificate for the name it is called by."""

    state: Path
    fronts: dict[str, str]
    named: Archive
    misnamed: Archive

    def cli(self, *arguments: str, code: int = 0) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "hanse", *arguments, "--state", str(self.state), "--output", "json"],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        return ran.stdout

    def invoke(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        called: dict[str, Any] = json.loads(self.cli("invoke", *arguments, code=code))
        return called

    def until_logged(self, name: str, *words: str) -> None:
        """Wait until the owner can read that in the workload's logs; each look is a process of its own."""
        end = time.monotonic() + PATIENCE_S
        while not all(word in (told := self.cli("logs", name)) for word in words):
            assert time.monotonic() < end, told

    def deploy(self, name: str, upstream: str) -> None:
        """Deploy a service and wait until it runs."""
        file = self.state.parent / f"{name}.yaml"
        file.write_text(SERVICE % (name, upstream, name))
        self.cli("deploy", str(file))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = short_folder()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        authority = Authority(folder)
        named = stack.enter_context(serving(authority.context("localhost")))
        misnamed = stack.enter_context(serving(authority.context("archive.example")))
        state = folder / "state"
        allowed = [f"--allow-upstream={one.upstream}={authority.file}" for one in (named, misnamed)]
        command = [sys.executable, "-m", "hanse", "up", "--state", str(state), *allowed]
        told = stack.enter_context((folder / "up.log").open("w+"))
        running = stack.enter_context(
            subprocess.Popen(
                [*command, "--fabric", str(write_fabric(folder / "fabric.yaml"))],
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )
        )
        stack.callback(running.send_signal, signal.SIGINT)
        assert running.stdout is not None
        # What it prints when all of it is ready; nothing more where it fails.
        lines: list[list[str]] = []
        for line in running.stdout:
            lines.append(line.split())
            if line.startswith("Ctrl-C"):
                break
        fronts = {words[2]: words[1] for words in lines if words[0] == "front"}
        assert set(fronts) == set(NODES), (folder / "up.log").read_text()
        yield World(state=state, fronts=fronts, named=named, misnamed=misnamed)


def test_a_program_that_proves_its_name_answers_over_kept_connections(world: World) -> None:
    world.deploy("archive", world.named.upstream)
    for node, front in world.fronts.items():
        called = world.invoke("test.archive", f"/{node}", "--node", node)
        assert (called["status"], called["body"]) == (200, f"/archive/{node} over TLSv1.3")
        for _ in range(5):
            answer = httpx.get(f"{front}/archive/by-hand", timeout=ANSWER_S, trust_env=False)
            assert (answer.status_code, answer.text) == (200, "/archive/by-hand over TLSv1.3")
    assert len(world.named.asked) == 6 * len(NODES)
    assert world.named.connections < len(world.named.asked)


def test_a_program_with_a_certificate_for_another_name_is_asked_nothing(world: World) -> None:
    world.deploy("board", world.misnamed.upstream)
    for node in world.fronts:
        called = world.invoke("test.board", "--node", node, code=Exit.UNAVAILABLE)
        assert (called["status"], called["headers"]["hanse-error"]) == (502, "service.untrusted")
    assert world.misnamed.asked == []
    world.until_logged("test.board", "service.untrusted", "not valid for name")
