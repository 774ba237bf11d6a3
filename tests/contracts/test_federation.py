"""Two domains over real TLS: a bundle endpoint of each profile, and what is believed of the other one, until when."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import domain_kit
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from ledger_kit import DictStore

from hanse.adapters.domain_files import Domain, init_domain, issue_server
from hanse.adapters.entropy import SystemEntropy
from hanse.app.federating import fetch_bundle, refresh
from hanse.control.federation import BUNDLE_LIFE_US, Federation
from hanse.control.service import FabricService
from hanse.core.errors import HanseError
from hanse.core.ids import ControllerId
from hanse.core.ports import Entry
from hanse.core.time import DAY_US, WallTime
from hanse.identity import IdentityError, controller_id, make_root
from hanse.identity.bundle import encode_bundle
from hanse.wire.messages import FederatedBundle
from hanse.wire.subjects import FEDERATION

NOW = WallTime(time.time_ns() // 1_000)
ID = str(controller_id("south.example", ControllerId("c1")))


@pytest.fixture(scope="module")
def south(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return init_domain(tmp_path_factory.mktemp("south"), "south.example", NOW, SystemEntropy())


@contextmanager
def endpoint(domain: Domain, folder: Path, answers: dict[str, bytes], name: str = "c1") -> Iterator[str]:
    """A bundle endpoint that shows an SVID of `domain`."""
    chain, key = issue_server(
        domain, name, now=NOW, entropy=SystemEntropy(), spiffe_id=controller_id(domain.name, ControllerId(name))
    )
    (folder / "server.pem").write_bytes(chain + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}/spiffe/bundle"
        finally:
            server.shutdown()
            thread.join()


def record(domain: Domain, url: str, **more: Any) -> FederatedBundle:
    return msgspec.structs.replace(
        FederatedBundle(
            domain=domain.name, url=url, profile="https_spiffe", endpoint_id=ID, authorities_pem=domain.bundle_pem,
            sequence=0, refresh_hint_s=300, fetched_us=NOW, until_us=WallTime(NOW + DAY_US),
        ),
        **more,
    )  # fmt: skip


def test_a_bundle_is_fetched_from_who_shows_the_agreed_name_and_from_nobody_else(south: Domain, tmp_path: Path) -> None:
    other = init_domain(tmp_path / "other", "south.example", NOW, SystemEntropy())
    served = {"/spiffe/bundle": encode_bundle(south.bundle_pem)}
    with endpoint(south, tmp_path, served) as url:
        assert fetch_bundle(record(south, url), NOW).authorities_pem == south.bundle_pem
        with pytest.raises(IdentityError, match=r"shows spiffe://south\.example/controller/c1, not"):
            fetch_bundle(record(south, url, endpoint_id=ID + "9"), NOW)
        # Same name, another authority: what is known already decides.
        with pytest.raises(ssl.SSLCertVerificationError):
            fetch_bundle(record(other, url), NOW)
        with pytest.raises(ssl.SSLCertVerificationError):
            fetch_bundle(record(south, url, profile="https_web"), NOW)
        with pytest.raises(IdentityError, match="answers 404"):
            fetch_bundle(record(south, url + "x"), NOW)


class North:
    """The domain that believes the other one, with a controller in memory."""

    def __init__(self) -> None:
        self.store = DictStore()
        made = domain_kit.domain(5, "north.example", store=self.store)
        self.clock = made.ports.clock
        self.controller = made.controller
        self.ports = replace(made.ports, clock=self)
        service = FabricService(made.controller, self.ports)
        service.note = self.note  # type: ignore[method-assign]
        self.federation = Federation(made.controller, service, self.ports)
        self.at = NOW
        self.noted: list[str] = []

    def wall(self) -> WallTime:
        return self.at

    def monotonic(self) -> Any:
        return self.clock.monotonic()

    async def note(self, action: str, target: str, *, user: str) -> None:
        self.noted.append(f"{user}: {action} {target}")

    async def catch_up(self) -> None:
        """What the watch does."""
        live = {entry.key: entry for entry in await self.store.entries(FEDERATION)}
        self.controller.state.keep_only(FEDERATION, set(live))
        for entry in live.values():
            self.controller.state.apply(Entry(**{name: getattr(entry, name) for name in Entry.__dataclass_fields__}))

    async def add(self, url: str, bundle: bytes, **more: str) -> None:
        given = {"profile": "https_spiffe", "endpoint_id": ID, **more}
        await self.federation.add("south.example", url=url, bundle=bundle, user="admin", **given)
        await self.catch_up()

    async def refresh(self) -> None:
        await refresh(self.federation)
        await self.catch_up()


def test_a_bundle_follows_a_new_root_and_ends_when_it_cannot_be_fetched(south: Domain, tmp_path: Path) -> None:
    assert south.authority.root_cert is not None
    renewed = make_root(_key_of(south), "south.example", WallTime(NOW + 60_000_000), 77)
    new_pem = renewed.public_bytes(serialization.Encoding.PEM)
    served = {"/spiffe/bundle": encode_bundle(south.bundle_pem)}

    async def scenario() -> None:
        north = North()
        with endpoint(south, tmp_path, served) as url:
            await north.add(url, encode_bundle(south.bundle_pem))
            assert north.noted == ["admin: trust domain/south.example"]
            (view,) = north.federation.views()
            assert (view.authorities, view.has_ended, view.problem) == (1, False, "")
            await north.refresh()
            assert north.federation.views()[0].fetched_us == NOW
            served["/spiffe/bundle"] = encode_bundle(south.bundle_pem + new_pem)
            north.at = WallTime(NOW + 300_000_000)
            await north.refresh()
            (view,) = north.federation.views()
            assert (view.authorities, view.fetched_us) == (2, north.at)
            # An older bundle is somebody's replay: what is known stays.
            served["/spiffe/bundle"] = encode_bundle(south.bundle_pem)
            north.at = WallTime(NOW + 600_000_000)
            await north.refresh()
            (view,) = north.federation.views()
            assert view.authorities == 2
            assert "is older than" in view.problem
            # All withdrawn: nothing is believed any more, and the domain stays known.
            empty = msgspec.json.decode(encode_bundle(new_pem))
            served["/spiffe/bundle"] = msgspec.json.encode({**empty, "keys": []})
            await north.refresh()
            assert north.federation.views()[0].authorities == 0
        north.at = WallTime(north.at + BUNDLE_LIFE_US)
        await north.refresh()
        (view,) = north.federation.views()
        assert view.has_ended
        assert view.problem
        await north.federation.remove("south.example", user="admin")
        await north.catch_up()
        assert north.federation.views() == ()
        assert north.noted[-1] == "admin: withdraw domain/south.example"

    asyncio.run(scenario())


def _key_of(domain: Domain) -> Any:
    return serialization.load_pem_private_key((domain.folder / "root.key").read_bytes(), None)


@pytest.mark.parametrize(
    "given",
    [
        {"domain": "north.example"},
        {"profile": "https_other"},
        {"url": "http://south.example/"},
        {"endpoint_id": "spiffe://west.example/controller/c1"},
        {"endpoint_id": ""},
        {"domain": "west.example"},
        {"domain": "West"},
    ],
)
def test_what_cannot_be_believed_as_given_is_refused_and_leaves_no_trace(south: Domain, given: dict[str, str]) -> None:
    async def scenario() -> None:
        north = North()
        wanted = {"domain": "south.example", "url": "https://h/", "profile": "https_spiffe", "endpoint_id": ID, **given}
        domain = wanted.pop("domain")
        with pytest.raises(HanseError):
            await north.federation.add(domain, bundle=encode_bundle(south.bundle_pem), user="admin", **wanted)
        assert await north.store.entries(FEDERATION) == []
        assert north.noted == []

    asyncio.run(scenario())


def test_the_own_bundle_is_served_to_everybody(south: Domain) -> None:
    async def scenario() -> None:
        made = domain_kit.domain(5, "north.example")
        answer = await made.api.get("/spiffe/bundle", headers={"authorization": ""})
        assert answer.status_code == 200
        (certificate,) = x509.load_pem_x509_certificates(made.controller.enrolment.bundle_pem)
        assert answer.json()["keys"][0]["x5c"]
        assert answer.json()["spiffe_sequence"] == int(certificate.not_valid_before_utc.timestamp())
        assert (await made.api.get("/api/v1/trust", headers={"authorization": ""})).status_code == 401
        await made.api.aclose()

    asyncio.run(scenario())
    assert south.name == "south.example"
