"""The agent: one task per concern, levels everywhere, nothing deleted on silence.

`orders on the store or on the disk -> verified -> screened by the owner's policy -> runtime -> reports`. It starts
from its own disk before it looks for any network, so that a reboot with no uplink brings all its work back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from hanse.core.errors import BusError, HanseError
from hanse.core.fabric import Node, Resources
from hanse.core.ids import InstanceId, WorkloadId
from hanse.core.ports import BusMessage, InvokePolicy, NodePorts
from hanse.core.snapshot import Phase
from hanse.core.time import WallTime
from hanse.core.verdict import Verdict
from hanse.core.work import Workload
from hanse.node.accounting import Accounts
from hanse.node.attesting import AttestationKeeper
from hanse.node.config import NodeConfig
from hanse.node.disk import NodeDisk
from hanse.node.jobs import JobKeeper
from hanse.node.judge import Held, Rejected, judge
from hanse.node.outbox import Outbox
from hanse.node.routes import routes_from
from hanse.node.secrets import Outcome, SecretKeeper
from hanse.node.svid import SvidKeeper
from hanse.node.tells import answer
from hanse.node.traffic import TrafficTeller
from hanse.node.witness import NodeWitness
from hanse.node.work import Work, wanted_here
from hanse.node.workload_svids import WorkloadSvids
from hanse.policy import PackSet, PolicyError, in_force, invoke_policy_of, parse_packs, screen_order
from hanse.wire import envelope
from hanse.wire.messages import Heartbeat, Order, Presence, Report, RouteRecord
from hanse.wire.subjects import ORDERS, PRESENCE, REVOCATIONS, ROUTES, TRUST, heartbeat, tell
from hanse.wire.trust_messages import Revocations

log = structlog.get_logger("node")


def build_node(ports: NodePorts, config: NodeConfig) -> NodeAgent:
    """Build an agent; `run` starts it. The same for the app and the twin."""
    return NodeAgent(ports, config, parse_packs(config.packs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What the owner's policy said to one order, and from when to when (wall time) that stands."""

    held: Held
    from_us: int
    until_us: int
    outcome: Outcome | None


class NodeAgent:
    """Holds verified orders and makes them so."""

    def __init__(self, ports: NodePorts, config: NodeConfig, packs: PackSet) -> None:
        self._ports = ports
        self._config = config
        self._packs = packs
        self._me = config.node.id
        self._disk = NodeDisk(ports.disk)
        self._work = Work(ports.runtime, ports.cache, ports.blobs, self._invoke_policy)
        self._jobs = JobKeeper(ports.jobs, self._work.fetch, self._wake_up)
        self._outbox = Outbox(ports, self._disk, me=self._me)
        self._svid = SvidKeeper(ports, config)
        self.workload_svids = WorkloadSvids(ports, config, lambda: self._held)
        """SVIDs of the programs behind this node's services."""
        self._secrets = SecretKeeper(ports, config, self._svid)
        self._witness = NodeWitness(ports.disk, ports.entropy, ports.clock, domain=config.domain, me=config.node.id)
        self._attestation = AttestationKeeper(ports, config, self._svid)
        self._held: dict[InstanceId, Held] = {}
        self._answers: dict[InstanceId, _Answer] = {}
        self._routes: dict[WorkloadId, RouteRecord] = {}
        self._revocations: Revocations | None = None
        self._busy: dict[WorkloadId, asyncio.Task[None]] = {}
        self._retry_us: dict[WorkloadId, int] = {}
        self._wake = asyncio.Event()
        self._incarnation = 0
        self._untried: set[WorkloadId] = set()
        self._ready = asyncio.Event()

    @property
    def held(self) -> Mapping[InstanceId, Held]:
        """Verified orders, whether or not they are carried out yet."""
        return self._held

    async def wait_ready(self) -> None:
        """Wait until what was held at the start is loaded, or was tried."""
        await self._ready.wait()

    @property
    def bundle_pem(self) -> bytes:
        """The domain's trust bundle as this node had it last; no bytes before its first SVID is loaded."""
        return self._svid.bundle_pem

    async def run(self) -> None:
        """Run until cancelled. Raises only what no retry can mend (the node's own disk gone)."""
        self._incarnation = await self._disk.next_incarnation()
        await self._start_from_disk()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._converge_forever(tasks), name="converge")
            tasks.create_task(self._heartbeats(), name="heartbeats")
            tasks.create_task(self._watch_orders(), name="orders")
            tasks.create_task(self._watch_routes(), name="routes")
            tasks.create_task(self._watch_revocations(), name="revocations")
            tasks.create_task(self.workload_svids.watch_federated(), name="federated")
            tasks.create_task(self._announce(), name="presence")
            tasks.create_task(self._outbox.run(), name="reports")
            tasks.create_task(Accounts(self._ports, self._config).run(self._incarnation), name="accounts")
            tasks.create_task(TrafficTeller(self._ports, self._config).run(self._incarnation), name="traffic")
            tasks.create_task(self._svid.run(), name="svid")
            tasks.create_task(self._answer_tells(tasks), name="tells")
            tasks.create_task(self._keep_secrets(), name="secrets")
            tasks.create_task(self._attestation.run(), name="attestation")

    async def _start_from_disk(self) -> None:
        self._held = await self._disk.load_orders(
            me=self._me, trusted=self._config.controller_keys, now=self._ports.clock.wall()
        )
        self._routes = await self._disk.load_routes(self._config.controller_keys)
        await self._outbox.load()
        self._revocations = await self._disk.load_revocations(self._config.controller_keys)
        await self._refuse_revoked()
        await self._svid.load()
        await self._push_routes()
        self._untried = set(self._astray())
        if not self._untried:
            self._ready.set()
        log.info("node.started", incarnation=self._incarnation, orders=len(self._held), routes=len(self._routes))

    # --- what is wanted ---

    async def _watch_orders(self) -> None:
        async for entry in self._ports.store.watch(ORDERS, self._me):
            if entry is None or entry.value is None:
                # A vanished order says nothing: only a signed order with a later generation stops work.
                continue
            verdict = judge(
                entry.value,
                key=entry.key,
                me=self._me,
                held=self._held,
                trusted=self._config.controller_keys,
                now=self._ports.clock.wall(),
            )
            match verdict:
                case Held():
                    await self._disk.keep_order(verdict)
                    self._held[verdict.order.instance] = verdict
                    self._wake.set()
                case Rejected():
                    await self._refuse(entry.key, verdict)
                case None:
                    pass

    async def _refuse(self, key: str, rejected: Rejected) -> None:
        """Report a refusal, unless the instance runs under an order that does stand: that report must not be hidden."""
        log.warning("order.refused", key=key, code=rejected.code, reason=rejected.reason)
        instance = InstanceId(key.partition(".")[2])
        if instance in self._held or rejected.order is None:
            return
        await self._outbox.put(
            Report(
                node=self._me,
                instance=instance,
                workload=rejected.order.workload.id,
                generation=rejected.order.generation,
                order_digest="",
                phase=Phase.REFUSED,
                since_us=self._ports.clock.wall(),
                code=rejected.code,
                reason=rejected.reason,
            )
        )

    # --- making it so ---

    async def _converge_forever(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            for workload in self._astray():
                if workload not in self._busy:
                    task = tasks.create_task(self._converge(workload, tasks), name=f"work:{workload}")
                    self._busy[workload] = task
            await _wait(self._wake, self._config.tick_us)

    def _astray(self) -> tuple[WorkloadId, ...]:
        """Workloads for which something is held or loaded, in id order: each is looked at, most need nothing."""
        held = {held.order.workload.id for held in self._held.values()}
        concerned = held.union(self._work.loaded(), self._jobs.workloads())
        return tuple(sorted(concerned))

    def _wake_up(self) -> None:
        self._wake.set()

    async def _converge(self, workload: WorkloadId, tasks: asyncio.TaskGroup) -> None:
        """Bring one workload to what is held for it, then report; wake the loop if there is more to do."""
        try:
            has_failed = await self._converge_once(workload, tasks)
        finally:
            del self._busy[workload]
        self._untried.discard(workload)
        if not self._untried:
            self._ready.set()
        if not has_failed:
            self._retry_us.pop(workload, None)
            return
        wait_us = self._retry_us.get(workload, self._config.settle_us)
        self._retry_us[workload] = min(wait_us * 2, self._config.retry_us_max)
        asyncio.get_running_loop().call_later(wait_us / 1e6, self._wake.set)

    async def _converge_once(self, workload: WorkloadId, tasks: asyncio.TaskGroup) -> bool:
        now = self._ports.clock.wall()
        mine = {i: h for i, h in self._held.items() if h.order.workload.id == workload}
        target = None if self._is_revoked() else wanted_here(mine, now=now).get(workload)
        outcome = Outcome(phase=Phase.STOPPED)
        if target is not None:
            outcome = self._screen(target, now) or await self._carry_out(target, tasks)
        handed_on = {instance: self._jobs.checkpoint(instance) for instance in mine}
        if target is None or outcome.phase is Phase.REFUSED:
            await self._work.stop(workload)
            await self._jobs.stop(workload)
            self._secrets.forget(workload)
        for instance in sorted(mine):
            await self._settle(mine[instance], target, outcome, handed_on[instance])
        if any(self._held.get(i) is not h for i, h in mine.items()) or self._has_news(workload, mine):
            self._wake.set()
        is_job = target is not None and target.order.workload.job is not None
        return outcome.phase in (Phase.FAILED, Phase.PENDING) and not is_job

    async def _carry_out(self, held: Held, tasks: asyncio.TaskGroup) -> Outcome:
        """Have it serve, or run it to its end."""
        if held.order.workload.job is None:
            return await self._run(held.order.workload)
        return await self._jobs.run(held, self._outbox.said(held.order.instance), tasks)

    async def _run(self, workload: Workload) -> Outcome:
        """Run it with its secrets; without them it does not run, and what they were leased for longer than stops."""
        if not workload.secrets:
            return await self._work.run(workload)
        told = await self._secrets.of(workload)
        if isinstance(told, Outcome):
            await self._work.stop(workload.id)
            return told
        return await self._work.run(workload, told)

    async def _keep_secrets(self) -> None:
        """Renew leases before they end; whatever changed is what the next look at the work takes up."""
        while True:
            await self._secrets.until_due()
            if await self._secrets.renew():
                self._wake.set()

    def _has_news(self, workload: WorkloadId, seen: Mapping[InstanceId, Held]) -> bool:
        current = {i: h for i, h in self._held.items() if h.order.workload.id == workload}
        return any(seen.get(i) is not h for i, h in current.items())

    def _screen(self, held: Held, now: WallTime) -> Outcome | None:
        """Ask the owner's policy again, here: None if it agrees. An answer stands until a fact it read may change."""
        last = self._answers.get(held.order.instance)
        if last is not None and last.held is held and last.from_us <= now < last.until_us:
            return last.outcome
        order = held.order
        try:
            verdict = self._verdict(order, now)
        except PolicyError as error:
            # A policy that this version of the rules cannot read may forbid just this: what is not understood is a no.
            return Outcome(phase=Phase.REFUSED, code=error.code, reason=error.message)
        outcome = None
        if not verdict.is_allowed:
            reason = verdict.reasons[0]
            text = f"{reason.message} ({reason.cite})"
            outcome = Outcome(phase=Phase.REFUSED, code=f"policy.{reason.rule}", reason=text)
        until_us = order.expires_us if verdict.valid_until_us is None else verdict.valid_until_us
        self._answers[order.instance] = _Answer(held=held, from_us=now, until_us=until_us, outcome=outcome)
        return outcome

    def _verdict(self, order: Order, now: WallTime) -> Verdict:
        """Ask the packs shipped here, the domain's policies that came with the order, and the owner's rules."""
        packs, bound = in_force(self._packs, order.policies, self._config.guardrails)
        return screen_order(
            order.workload,
            _as_decided(self._config.node, order),
            order.site,
            order.operators[0],
            packs,
            self._config.owner_policy or None,
            now,
            operators={operator.id: operator for operator in order.operators},
            guardrails=bound,
        )

    def _invoke_policy(self, workload: Workload) -> InvokePolicy:
        """Who may call it, by its own rules and this node's packs. Raises PolicyError: then it does not run here."""
        return invoke_policy_of(workload, self._packs, self._config.guardrails, self._ports.clock.wall())

    async def _settle(self, held: Held, target: Held | None, outcome: Outcome, checkpoint: bytes) -> None:
        """Report what became of one instance; forget it once its stop is carried out."""
        order = held.order
        is_live = order.wanted and target is not None
        phase = outcome.phase if is_live else Phase.STOPPED
        code, reason = (outcome.code, outcome.reason) if is_live else ("", order.reason)
        if order.wanted and target is None:
            code, reason = "order.expired", "the order's grant has expired and no newer one was heard"
            if self._is_revoked():
                code, reason = "node.revoked", "this node's identity was revoked: its orders grant nothing"
        said = self._outbox.said(order.instance)
        if said is not None and said.phase is Phase.SUCCEEDED:
            # An end that the controller may not have heard of yet must not be hidden by a stop.
            phase = Phase.SUCCEEDED
        await self._outbox.put(
            Report(
                checkpoint=checkpoint or (b"" if said is None else said.checkpoint),
                node=self._me,
                instance=order.instance,
                workload=order.workload.id,
                generation=order.generation,
                order_digest=held.digest,
                phase=phase,
                since_us=self._ports.clock.wall(),
                code=code,
                reason=reason,
                artifact=order.workload.artifact,
            )
        )
        if not order.wanted and self._held.get(order.instance) is held:
            self._outbox.forget_when_delivered(order.instance, self._forget)

    async def _forget(self, instance: InstanceId) -> None:
        held = self._held.get(instance)
        if held is not None and not held.order.wanted:
            await self._disk.drop_order(instance)
            del self._held[instance]
            self._answers.pop(instance, None)

    # --- routes ---

    async def _watch_routes(self) -> None:
        async for entry in self._ports.store.watch(ROUTES):
            if entry is None:
                await self._drop_gone_routes()
                continue
            workload = WorkloadId(entry.key)
            if entry.value is None:
                await self._drop_routes([workload])
                continue
            try:
                record = envelope.open_sealed(entry.value, RouteRecord, self._config.controller_keys).message
            except HanseError as error:
                log.warning("route.refused", workload=workload, code=error.code, reason=error.message)
                continue
            standing = self._routes.get(workload)
            if standing is None or record.generation > standing.generation:
                self._routes[workload] = record
                await self._disk.keep_route(workload, entry.value)
                await self._push_routes()

    async def _drop_gone_routes(self) -> None:
        """After a lost link the watch says what is there, not what was taken away meanwhile: ask once."""
        try:
            live = {entry.key for entry in await self._ports.store.entries(ROUTES)}
        except HanseError as error:
            log.info("routes.not_compared", code=error.code)
            return  # the link broke again: the watch will start anew
        await self._drop_routes(sorted(self._routes.keys() - live))

    async def _drop_routes(self, gone: Sequence[WorkloadId]) -> None:
        held = [workload for workload in gone if self._routes.pop(workload, None) is not None]
        for workload in held:
            await self._disk.drop_route(workload)
        if held:
            await self._push_routes()

    async def _push_routes(self) -> None:
        routes = routes_from(self._routes, me=self._me, place=self._config.site.place)
        await self._ports.runtime.set_routes(routes)

    # --- whom to refuse ---

    async def _watch_revocations(self) -> None:
        async for entry in self._ports.store.watch(TRUST):
            if entry is None or entry.value is None or entry.key != REVOCATIONS:
                # A list that vanished forgives nobody: only a signed one with a later generation changes it.
                continue
            try:
                listed = envelope.open_sealed(entry.value, Revocations, self._config.controller_keys).message
            except HanseError as error:
                log.warning("revocations.refused", code=error.code, reason=error.message)
                continue
            if self._revocations is not None and listed.generation <= self._revocations.generation:
                continue
            self._revocations = listed
            if self._is_revoked():
                self._secrets.forget_all()
            await self._refuse_revoked()
            await self._disk.keep_revocations(entry.value)
            self._wake.set()
            log.info("revocations.taken", generation=listed.generation, nodes=[one.node for one in listed.nodes])

    async def _refuse_revoked(self) -> None:
        listed = () if self._revocations is None else self._revocations.nodes
        await self._svid.refuse([one.spiffe_id for one in listed])

    def _is_revoked(self) -> bool:
        """Whether a signed list names this very node: an honest one then stops, however cut off it is."""
        return self._revocations is not None and any(one.node == self._me for one in self._revocations.nodes)

    # --- being heard ---

    async def _heartbeats(self) -> None:
        sequence = 0
        while True:
            sequence += 1
            beat = self._beat(sequence)
            try:
                await self._ports.bus.publish(heartbeat(self._me), envelope.seal(beat, self._ports.signer))
            except BusError:
                log.debug("heartbeat.lost", sequence=sequence)
            await asyncio.sleep(self._config.heartbeat_us / 1e6)

    def _beat(self, sequence: int) -> Heartbeat:
        node = self._config.node
        reading = self._ports.meter.read(node.power, node.capacity)
        used = Resources()
        for workload in (*self._work.loaded().values(), *self._jobs.running()):
            used = used.plus(workload.resources)
        return Heartbeat(
            node=self._me,
            incarnation=self._incarnation,
            sequence=sequence,
            at_us=self._ports.clock.wall(),
            used=used,
            power_mw=reading.power_mw,
            is_power_modelled=reading.is_modelled,
            rss_bytes=reading.rss_bytes,
            front=self._config.addresses.front,
            mesh=self._config.addresses.mesh,
        )

    async def _announce(self) -> None:
        """Write this start into the store once the link allows it."""
        presence = Presence(
            node=self._me,
            incarnation=self._incarnation,
            front=self._config.addresses.front,
            mesh=self._config.addresses.mesh,
            version=self._config.version,
            started_us=self._ports.clock.wall(),
            capacity=self._config.node.capacity,
            gpus=self._config.node.gpus,
            overhead=self._config.node.overhead,
        )
        sealed = envelope.seal(presence, self._ports.signer)
        await self._outbox.deliver(PRESENCE, self._me, sealed)

    async def _answer_tells(self, tasks: asyncio.TaskGroup) -> None:
        measuring: dict[str, asyncio.Task[None]] = {}
        async for message in self._ports.bus.subscribe(tell(self._me, "*")):
            what = message.subject.rpartition(".")[2]
            if what not in ("survey", "dial"):
                await self._answer_tell(message)
            elif what not in measuring or measuring[what].done():
                # It waits for others; whoever asks this node meanwhile does not. One at a time, the rest ask again.
                measuring[what] = tasks.create_task(self._answer_tell(message), name=what)

    async def _answer_tell(self, message: BusMessage) -> None:
        reply = await answer(
            message,
            self._ports,
            trusted=self._config.controller_keys,
            me=self._me,
            on_secrets=self._secrets.ask_again,
            witness=self._witness,
        )
        if reply is not None and message.reply:
            try:
                await self._ports.bus.publish(message.reply, reply)
            except BusError:
                log.debug("tell.unanswered", subject=message.subject)


def _as_decided(node: Node, order: Order) -> Node:
    """This node with what was attested and measured of it when the order was given.

    The order's grant bounds how long that counts here: a node that is cut off cannot attest again, and when evidence
    ends or drifts it is the controller that decides anew.
    """
    shown, found = order.attested, order.measured
    if shown is not None:
        node = replace(node, attested=replace(shown, until_us=max(shown.until_us, order.expires_us)))
    if found is not None:
        node = replace(node, measured=replace(found, until_us=max(found.until_us, order.expires_us)))
    return node


async def _wait(event: asyncio.Event, at_most_us: int) -> None:
    try:
        async with asyncio.timeout(at_most_us / 1e6):
            await event.wait()
    except TimeoutError:
        return
