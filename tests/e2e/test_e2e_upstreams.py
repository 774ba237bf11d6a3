"""`hanse up --allow-upstream https://...=FILE`: a program that proves its name, and one that does not."""

from __future__ import annotations

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
from certificate_kit import Authority
from cryptography import x509
from fabric_kit import ANSWER_S, NODES, PATIENCE_S, short_folder, write_fabric

from hanse.app.cli.exits import Exit

pytestmark = pytest.mark.fabric
SERVICE = """\
apiVersion: hanse.dev/v1
kind: Service
metadata: {name: %s, namespace: test}
spec: {upstream: "%s", route: {path: /%s}, replicas: 1}
"""


def secured(authority: Authority, name: str, folder: Path) -> ssl.SSLContext:
    """What a server shows that was issued a certificate for `name`."""
    files = (folder / f"{name}.pem", folder / f"{name}.key")
    for file, pem in zip(files, authority.issue(x509.DNSName(name)), strict=True):
        file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


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
        authority, believed = Authority(), folder / "authority.pem"
        believed.write_bytes(authority.bundle)
        named = stack.enter_context(serving(secured(authority, "localhost", folder)))
        misnamed = stack.enter_context(serving(secured(authority, "archive.example", folder)))
        state = folder / "state"
        allowed = [f"--allow-upstream={one.upstream}={believed}" for one in (named, misnamed)]
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
