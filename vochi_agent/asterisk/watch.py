"""One PBX under watch: its AMI events become facts, facts become call updates, updates go to the call log.

The call machine runs inside the reader's callback: it is pure and takes microseconds, so events keep their order and
nothing queues between the socket and the machine.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallUpdate
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import AsteriskConfig
from vochi_agent.errors import ActionFailed, VochiError
from vochi_agent.metrics import Metrics
from vochi_agent.protocols.ami import Message

from .ami import AmiClient, AmiConnection, AmiPeer
from .ari import Ari
from .clock import epoch_of
from .translate_ami import ONLY, WANTED, snapshot, translate

__all__ = ["PbxWatch"]

TICK_S: Final = 1.0
# What taking stock waits for its second witness; the first one does not depend on him.
WITNESS_S: Final = 1.0

log = logging.getLogger(__name__)


class PbxWatch:
    """Follows the calls of one enterprise's PBX.

    Attributes:
        ami: The connection, for actions and for its state.
        tracker: The call machine, for what goes on now.
        connected: Everything alive is known, and what changes is heard.
    """

    def __init__(
        self,
        layout: Layout,
        config: AsteriskConfig,
        *,
        ari: Ari | None = None,
        tell: Callable[[CallUpdate], None],
        connected: Callable[[float], None],
        interrupted: Callable[[], None],
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        """Connect nothing yet.

        Args:
            ari: Says after a reconnect how long people have been talking, which AMI does not; None: nobody does.
            tell: Takes every update, in order.
            connected: Told the moment (PBX, epoch seconds) from which on nothing is missed.
            interrupted: Told that from here on something may be.
            clock: Seconds since the epoch; the PBX's own clock is learned from its answers.
        """
        self.tracker = Tracker(layout)
        self.connected = False
        self._ari = ari
        self._tell = tell
        self._told_connected = connected
        self._told_interrupted = interrupted
        self._clock = clock
        number = layout.enterprise_number
        self._events, self._connects = metrics.ami_events.labels(number), metrics.ami_connects.labels(number)
        self._lag = metrics.event_lag_seconds.labels(number)
        self._up, self._live = metrics.ami_up.labels(number), metrics.calls_live.labels(number)
        self.ami = AmiClient(
            AmiPeer(
                host=config.ami.host,
                port=config.ami.port,
                username=config.ami_username,
                secret=config.ami_secret.get_secret_value(),
            ),
            on_event=self._on_event,
            on_connected=self._take_stock,
            on_disconnected=self._on_disconnected,
            wanted=WANTED,
            only=ONLY,
            clock=clock,
        )

    async def run(self) -> None:
        """Watch for ever, whatever the PBX does."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ami.run(), name="ami")
            tasks.create_task(self._tick(), name="call machine's clock")

    def unanswered(self, uniqueid: str) -> list[tuple[str, str]]:
        """See `Tracker.unanswered`."""
        return self.tracker.unanswered(uniqueid)

    async def set_variable(self, uniqueid: str, name: str, value: str, within_s: float) -> None:
        """Set a variable or function of a channel. Raises NotReachable, ActionFailed."""
        fields = {"Channel": uniqueid, "Variable": name, "Value": value}
        await self.ami.action("Setvar", fields, within_s)

    def pbx_time(self) -> float:
        """Now, by the PBX's clock, as far as it is known: in an outage, as it was known last."""
        return self.ami.pbx_time() or self._clock() + (self.ami.state.clock_offset or 0.0)

    def _on_disconnected(self) -> None:
        self._up.set(0)
        self.connected = False
        self.tracker.interrupted(self.pbx_time())
        self._told_interrupted()

    def _on_event(self, message: Message) -> None:
        self._events.inc()
        now = self.pbx_time()
        if (sent := epoch_of(message.get("Timestamp", ""))) is not None:
            # The PBX's clock is known to about half of a Ping's round: what looks early came at once.
            self._lag.observe(max(0.0, now - sent))
        event = translate(message, now)
        if event is not None:
            self._tell_all(self.tracker.receive(event))

    async def _take_stock(self, connection: AmiConnection) -> None:
        """List what lives: what happened while nobody listened is the difference to what was believed.

        The Ping comes first: its answer carries the PBX's own time, by which everything else is measured.
        """
        self._up.set(1)
        self._connects.inc()
        made = await self._bridges_made()
        pong = await connection.action("Ping")
        told = epoch_of(pong.get("Timestamp"))
        at = self.pbx_time() if told is None else told
        try:
            channels = await connection.list_action("CoreShowChannels")
            bridges = await connection.list_action("BridgeList")
        except ActionFailed:
            # Without the right to list, the calls that live are missed, and none that begins.
            self._begin(at)
            raise
        self._tell_all(self.tracker.receive(snapshot(at, channels, bridges, made)))
        self._begin(at)

    def _begin(self, at: float) -> None:
        self.connected = True
        self._told_connected(at)

    async def _bridges_made(self) -> Mapping[str, float]:
        """When each bridge that lives was made, as far as somebody says so; asked first, so that it delays no list."""
        if self._ari is None:
            return {}
        try:
            async with asyncio.timeout(WITNESS_S):
                bridges = await self._ari.bridges()
        except (VochiError, TimeoutError) as exc:
            reason = str(exc) or f"ARI does not answer within {WITNESS_S:g} s"
            log.info("No second witness of the calls that go on: %s", reason, extra={"action": "ari_silent"})
            return {}
        return {bridge.id: bridge.created for bridge in bridges if bridge.created is not None}

    def _tell_all(self, updates: Iterable[CallUpdate]) -> None:
        for update in updates:
            self._tell(update)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tell_all(self.tracker.expire(self.pbx_time()))
            self._live.set(len(self.tracker.live_linkedids))
