"""One controller: watches everything, answers the API, and acts while it holds the lease.

All controllers keep the caches current, so that a standby that takes the lease over has nothing to catch up on. Only
the leader plans, orders and writes the ledger.
"""

from __future__ import annotations

import asyncio

import structlog

from hanse.control.accounts import Accounts
from hanse.control.attesting import Attesting
from hanse.control.config import ControlConfig
from hanse.control.cosigning import Cosigning
from hanse.control.demands import Demands, count_forever
from hanse.control.distances import Distances, measure_forever
from hanse.control.enrolment import Enrolment
from hanse.control.improving import Think, think_at_once
from hanse.control.journal import Journal
from hanse.control.lease import LeaseKeeper
from hanse.control.liveness import Liveness
from hanse.control.mirror import Mirror
from hanse.control.mirroring import Mirroring
from hanse.control.node_witnesses import NodeWitnesses
from hanse.control.pipeline import TIME_PASSES, Pipeline
from hanse.control.releasing import Releasing
from hanse.control.state import WATCHED, FabricState
from hanse.control.state_anchor import StateAnchor
from hanse.control.surveying import Surveying, survey_forever
from hanse.control.witness import Witness
from hanse.core.errors import BusError, HanseError
from hanse.core.ids import NodeId
from hanse.core.ports import ControlPorts
from hanse.core.snapshot import Reach
from hanse.identity.enrol import Authority
from hanse.policy import parse_packs
from hanse.wire import envelope
from hanse.wire.messages import Heartbeat
from hanse.wire.subjects import ACTIONS, ASKS, HEARTBEATS, PRESENCE, REPORTS

log = structlog.get_logger("control")

TRIGGERS_MAX = 5
"""How many causes a plan names; what else came in the same moment is in the ledger anyway."""
LIVENESS_LOOK_US = 100_000
"""How often silence is measured: a tenth of a second against three of detection."""


def build_control(
    ports: ControlPorts, config: ControlConfig, authority: Authority, *, think: Think = think_at_once
) -> Controller:
    """Build a controller; `run` starts it. The same for the app and the twin; `think` is where long thoughts go."""
    return Controller(ports, config, authority, think)


class Controller:
    """Tasks around the pipeline."""

    def __init__(self, ports: ControlPorts, config: ControlConfig, authority: Authority, think: Think) -> None:
        self._ports = ports
        self._think = think
        self.config = config
        self.state = FabricState(trusted={ports.signer.key_id: ports.signer.public_key})
        self.liveness = Liveness(
            suspect_after_us=config.suspect_after_us,
            unreachable_after_us=config.unreachable_after_us,
            return_grace_us=config.return_grace_us,
        )
        self.attesting = Attesting(ports, config, self.state)
        self.surveying = Surveying(ports, config, self.state)
        self.distances = Distances(ports, config, self.state, self.liveness)
        self.demands = Demands(ports, config, self.state)
        self.enrolment = Enrolment(ports, config, self.state, authority, self.attesting)
        self.lease = LeaseKeeper(
            ports.store, ports.clock, ports.signer, me=config.id, api=config.api_url, term_us=config.lease_term_us
        )
        self.pipeline = Pipeline(
            ports, config, self.state, self.liveness, parse_packs(config.packs), may_act=self.lease.is_leader
        )
        self.journal = Journal(ports, config)
        self.accounts = Accounts(ports, self.state, self.journal)
        self.cosigning = Cosigning(ports, self.journal)
        self.node_witnesses = NodeWitnesses(ports, self.state, self.cosigning, self.journal)
        self.witness = Witness(ports, config.domain)
        self.mirror = Mirror(ports, config.domain)
        self.mirroring = Mirroring(ports, self.journal, self.cosigning)
        self.releasing = Releasing(ports, self.state, self.pipeline, self.journal, authority)
        self.authority = authority
        self.anchor = StateAnchor(ports, self.journal)
        self._anchored_us: int | None = None
        self.changed = asyncio.Condition()
        """Notified after every change of the caches: the API's watchers wait on it."""
        self._wake = asyncio.Event()
        self._triggers: list[str] = ["the controller starts"]
        self._unread = set(WATCHED)
        self._caught_up = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled; gives the lease up on the way out."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for bucket in WATCHED:
                    tasks.create_task(self._watch(bucket), name=f"watch:{bucket}")
                tasks.create_task(self._listen(), name="heartbeats")
                tasks.create_task(self._look_at_silence(), name="liveness")
                tasks.create_task(self._answer_asks(), name="asks")
                tasks.create_task(self._lead_forever(), name="lead")
                tasks.create_task(self._survey_forever(), name="survey")
                tasks.create_task(self._measure_forever(), name="distances")
                tasks.create_task(self._count_forever(), name="demand")
                if self.config.optimise_every_us:
                    tasks.create_task(self._improve_forever(), name="improve")
        finally:
            await self._resign()

    @property
    def is_caught_up(self) -> bool:
        """Whether every watch has delivered what stood when it began."""
        return self._caught_up.is_set()

    async def wait_caught_up(self) -> None:
        """Wait until the caches hold what the store held at the start."""
        await self._caught_up.wait()

    @property
    def is_connected(self) -> bool:
        """Whether the link to the substrate is up."""
        return self._ports.bus.is_connected()

    def silence_us(self, node: NodeId) -> int | None:
        """Microseconds since a node's last heartbeat."""
        return self.liveness.silence_us(node, self._ports.clock.monotonic())

    def poke(self, trigger: str) -> None:
        """Ask for a reconciliation soon, and say why."""
        if len(self._triggers) < TRIGGERS_MAX and trigger not in self._triggers:
            self._triggers.append(trigger)
        self._wake.set()

    # --- reading ---

    async def _watch(self, bucket: str) -> None:
        async for entry in self._ports.store.watch(bucket):
            if entry is None:
                await self._drop_gone(bucket)
                self._unread.discard(bucket)
                if not self._unread:
                    self._caught_up.set()
                continue
            if self.state.apply(entry):
                await self._notify()
                if bucket not in (PRESENCE, REPORTS) or self.lease.is_leader():
                    self.poke(f"{bucket}/{entry.key} changed")

    async def _drop_gone(self, bucket: str) -> None:
        """After a lost link the watch says what is there, not what went meanwhile: ask once."""
        try:
            live = {entry.key for entry in await self._ports.store.entries(bucket)}
        except HanseError as error:
            log.info("watch.not_compared", bucket=bucket, code=error.code)
            return  # the link broke again: the watch will start anew
        if self.state.keep_only(bucket, live):
            await self._notify()
            self.poke(f"{bucket} changed while the link was down")

    async def _listen(self) -> None:
        async for message in self._ports.bus.subscribe(HEARTBEATS):
            node = NodeId(message.subject.rpartition(".")[2])
            try:
                beat = envelope.open_sealed(message.data, Heartbeat, self.state.node_key(node)).message
            except HanseError as error:
                log.debug("heartbeat.refused", node=node, code=error.code)
                continue
            if beat.node == node and self.liveness.heard(beat, self._ports.clock.monotonic()):
                await self._notify()
                self.poke(f"node {node} is heard")

    async def _look_at_silence(self) -> None:
        last: dict[NodeId, Reach] = {}
        while True:
            now = self._ports.clock.monotonic()
            self.liveness.listening(self._ports.bus.is_connected(), now)
            reach = {node: self.liveness.reach(node, now) for node in self.state.nodes()}
            turned = [node for node in sorted(reach) if last.get(node) is not reach[node]]
            if turned:
                last = reach
                for node in turned:
                    log.info("node.reach", node=node, reach=reach[node].value)
                await self._notify()
                self.poke("node " + ", ".join(f"{node} is {reach[node].value}" for node in turned))
            await asyncio.sleep(LIVENESS_LOOK_US / 1e6)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    # --- leading ---

    async def _lead_forever(self) -> None:
        await self._caught_up.wait()
        while True:
            try:
                is_leader = await self.lease.step()
            except HanseError as error:
                log.warning("lease.unreachable", code=error.code, reason=error.message)
                is_leader = False
            if is_leader:
                await self._lead_until_due()
            else:
                await self.journal.close()
                self._anchored_us = None
                await asyncio.sleep(self.config.lease_renew_us / 1e6)

    async def _lead_until_due(self) -> None:
        """Reconcile on every wake until the lease is due for renewal."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.config.lease_renew_us / 1e6
        await self._round()
        while (left := due - loop.time()) > 0:
            if not await self._woken(left):
                return
            await asyncio.sleep(self.config.debounce_us / 1e6)
            await self._round()

    async def _survey_forever(self) -> None:
        await self._caught_up.wait()
        await survey_forever(self.surveying, self.config, is_leader=self.lease.is_leader)

    async def _measure_forever(self) -> None:
        await self._caught_up.wait()
        await measure_forever(self.distances, self.config, is_leader=self.lease.is_leader)

    async def _count_forever(self) -> None:
        await self._caught_up.wait()
        await count_forever(self.demands, self.config, is_leader=self.lease.is_leader)

    async def _improve_forever(self) -> None:
        """Have the global solver look at the fabric at intervals, while this controller leads."""
        await self._caught_up.wait()
        while True:
            await asyncio.sleep(self.config.optimise_every_us / 1e6)
            if not self.lease.is_leader():
                continue
            try:
                if await self.pipeline.improve(self._think):
                    self.poke("the global solver found a better plan")
            except HanseError as error:
                log.warning("optimise.failed", code=error.code, reason=error.message)

    async def _round(self) -> None:
        self._wake.clear()
        trigger = "; ".join(self._triggers) or TIME_PASSES
        self._triggers = []
        if not self.lease.is_leader():
            return
        try:
            await self.journal.open()
            await self.journal.record_policies(self.pipeline.packs, self.state.layer_ids())
            await self.journal.record(self.state)
            await self.pipeline.run_once(trigger)
            await self.journal.record(self.state)
            await self._forget_stated_actions()
            await self._anchor_when_due()
        except HanseError as error:
            level = log.info if error.retry else log.error
            level("round.failed", trigger=trigger, code=error.code, reason=error.message, hint=error.hint)

    async def _forget_stated_actions(self) -> None:
        """What the ledger says need not be remembered elsewhere."""
        for key in self.journal.stated(ACTIONS, self.state):
            await self._ports.store.delete(ACTIONS, key)

    async def _anchor_when_due(self) -> None:
        now = self._ports.clock.monotonic()
        if self._anchored_us is None or now - self._anchored_us >= self.config.anchor_us:
            self._anchored_us = now
            try:
                await self.anchor.anchor()
            except HanseError as error:
                log.warning("state.not_anchored", code=error.code, reason=error.message)

    async def _woken(self, at_most_s: float) -> bool:
        try:
            async with asyncio.timeout(at_most_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _resign(self) -> None:
        try:
            await self.lease.resign()
        except HanseError as error:
            log.info("lease.not_resigned", code=error.code)
        await self.journal.close()

    # --- answering nodes ---

    async def _answer_asks(self) -> None:
        async for message in self._ports.bus.subscribe(ASKS):
            if not self.lease.is_leader():
                continue
            what = message.subject.rpartition(".")[2]
            if what == "traffic":
                self.demands.take(message)
            if not message.reply:
                continue
            match what:
                case "renew":
                    answer = await self.enrolment.renew(message)
                case "account":
                    answer = await self.accounts.answer(message)
                case "workload-svid":
                    answer = await self.enrolment.workload_svid(message)
                case "challenge" | "attest":
                    answer = await self.attesting.answer(message)
                case "secrets":
                    answer = await self.releasing.answer(message)
                case _:
                    answer = None
            if answer is None:
                continue
            try:
                await self._ports.bus.publish(message.reply, answer)
            except BusError as error:
                log.info("ask.unanswered", subject=message.subject, code=error.code)
