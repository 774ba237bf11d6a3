"""Trust bundles of other domains: `records in the store <-> verbs of users and of the fetcher`.

Each domain is kept apart under its own name, and ends by itself: a bundle that could not be fetched anew for a day is
believed no longer. Fetching is in `hanse.app.federating`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from hanse.control.controller import Controller
from hanse.control.service import FabricService, NotFound
from hanse.core.errors import HanseError
from hanse.core.ports import ControlPorts
from hanse.core.time import DAY_US, US_PER_S, WallTime
from hanse.identity.bundle import TrustBundle, parse_bundle
from hanse.identity.spiffe import domain_id, parse
from hanse.wire import envelope
from hanse.wire.messages import FederatedBundle
from hanse.wire.subjects import FEDERATION

BUNDLE_LIFE_US = DAY_US
"""How long a bundle is believed after it was last fetched."""
PROFILES = ("https_spiffe", "https_web")


class FederationRefused(HanseError):
    """Raised when another domain cannot be believed as given."""

    code = "federation.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustView:
    """Another domain as it is believed now."""

    domain: str
    url: str
    profile: str
    endpoint_id: str
    sequence: int
    authorities: int
    fetched_us: WallTime
    until_us: WallTime
    has_ended: bool
    problem: str
    """Why the last attempt failed; empty if it did not."""


class Federation:
    """The verbs."""

    def __init__(self, controller: Controller, service: FabricService, ports: ControlPorts) -> None:
        self._controller = controller
        self._service = service
        self._ports = ports

    def known(self) -> tuple[FederatedBundle, ...]:
        """Records of all other domains, by name."""
        found = self._controller.state.messages(FEDERATION, FederatedBundle)
        return tuple(found[domain] for domain in sorted(found))

    def views(self) -> tuple[TrustView, ...]:
        """All other domains, for people."""
        return tuple(self._view(one) for one in self.known())

    async def add(
        self, domain: str, *, url: str, profile: str, endpoint_id: str, bundle: bytes, user: str
    ) -> TrustView:
        """Believe another domain from now on, by the bundle that somebody looked at.

        Raises FederationRefused, IdentityError.
        """
        if domain == self._controller.config.domain:
            raise FederationRefused("that is this domain", hint="its own bundle is made and served by itself")
        domain_id(domain)
        if profile not in PROFILES or (url and not url.startswith("https://")):
            raise FederationRefused("a bundle is fetched by https, as https_spiffe or https_web")
        if url and profile == "https_spiffe" and parse(endpoint_id).domain != domain:
            raise FederationRefused(
                f"{endpoint_id} is not of {domain}", hint="give the SPIFFE ID of that domain's bundle endpoint"
            )
        now = self._ports.clock.wall()
        read = parse_bundle(bundle, domain, now)
        record = FederatedBundle(
            domain=domain, url=url, profile=profile, endpoint_id=endpoint_id, authorities_pem=read.authorities_pem,
            sequence=read.sequence, refresh_hint_s=read.refresh_hint_s, fetched_us=now,
            until_us=_until(now, is_fetched=bool(url)),
        )  # fmt: skip
        await self._service.note("trust", f"domain/{domain}", user=user)
        await self._keep(record)
        return self._view(record)

    async def remove(self, domain: str, *, user: str) -> None:
        """Believe another domain no longer. Raises NotFound."""
        if domain not in self._controller.state.messages(FEDERATION, FederatedBundle):
            raise NotFound(f"{domain} is not believed", hint="see `hanse trust list`")
        await self._service.note("withdraw", f"domain/{domain}", user=user)
        await self._ports.store.delete(FEDERATION, domain)

    async def take(self, record: FederatedBundle, bundle: TrustBundle) -> None:
        """Keep what was fetched. An older sequence than the one that is known is not taken: somebody replays it."""
        now = self._ports.clock.wall()
        if bundle.sequence < record.sequence:
            await self.failed(record, f"sequence {bundle.sequence} is older than {record.sequence}")
            return
        await self._keep(
            msgspec.structs.replace(
                record, authorities_pem=bundle.authorities_pem, sequence=bundle.sequence, problem="",
                refresh_hint_s=bundle.refresh_hint_s, fetched_us=now, until_us=_until(now, is_fetched=True),
            )
        )  # fmt: skip

    async def failed(self, record: FederatedBundle, problem: str) -> None:
        """Note why a bundle could not be fetched: it counts until it ends."""
        if record.problem != problem:
            await self._keep(msgspec.structs.replace(record, problem=problem[:500]))

    def is_due(self, record: FederatedBundle) -> bool:
        """Tell whether a bundle should be fetched now."""
        return bool(record.url) and self._ports.clock.wall() - record.fetched_us >= record.refresh_hint_s * US_PER_S

    def own_bundle_pem(self) -> bytes:
        """This domain's trust bundle, for others."""
        return self._controller.enrolment.bundle_pem

    def now(self) -> WallTime:
        """The controller's wall clock."""
        return self._ports.clock.wall()

    async def _keep(self, record: FederatedBundle) -> None:
        await self._ports.store.put(FEDERATION, record.domain, envelope.seal(record, self._ports.signer))

    def _view(self, record: FederatedBundle) -> TrustView:
        return TrustView(
            domain=record.domain, url=record.url, profile=record.profile, endpoint_id=record.endpoint_id,
            sequence=record.sequence, authorities=record.authorities_pem.count(b"BEGIN CERTIFICATE"),
            fetched_us=record.fetched_us, until_us=record.until_us,
            has_ended=record.until_us <= self._ports.clock.wall(), problem=record.problem,
        )  # fmt: skip


def _until(now: WallTime, *, is_fetched: bool) -> WallTime:
    """A bundle that nobody fetches stands for a month: its owner brings the next one by hand."""
    return WallTime(now + (BUNDLE_LIFE_US if is_fetched else 30 * DAY_US))
