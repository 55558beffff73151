"""SIP telephones, the provider's far end and callers around one Asterisk, all played by sipp.

Who does what is decided by the number: see `sipp_scenarios/far_end.xml`. Every message is kept in sipp's own log, so
a test reads what a handset would really have shown.
"""

import asyncio
import itertools
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.asterisk import Ports
from tests.support.fetch import Tool
from tests.support.polling import until
from tests.support.ports import free_udp_range
from tests.support.sip_trace import Invite, SipMessage, Update, invites, read_trace, updates
from tests.support.templates import fill

__all__ = ["RING_S", "CallResult", "Sipp"]

SCENARIOS = Path(__file__).parent / "sipp_scenarios"
# Ports of one sipp: its own, its sound, its picture two above; sipp ends when one is taken.
PIECE, SOUND_OFFSET = 8, 2
MAX_PLAYERS, MAX_CALLERS = 2, 100
# Final answers that a caller's sipp must be told about one by one, and those that the far end gives.
EXPECTED_REFUSALS = (403, 404, 408, 410, 480, 484, 486, 487, 488, 500, 501, 502, 503, 504, 600, 603)
# How long a telephone rings before it answers.
RING_S = 0.4
# A second of silence, in a-law; endlessly. Not to be heard and to send nothing are two things to a PBX.
VOICE = b"\xd5" * 8000
VOICE_ACTION = '<nop><action><exec rtp_stream="@FILE@,-1,8"/></action></nop>'
GIVEN_REFUSALS = (404, 486, 487, 503, 603)
START_TIMEOUT_S = 5.0
BIND_ATTEMPTS = 20
# What a call may take beyond ringing and talking: answers on the way, retransmissions.
SLACK_S = 15.0
INVITE_OK = 200


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call looked to the caller.

    Attributes:
        started_at: When he sent his INVITE; the other times are seconds from there.
        ended: "hung_up" by him after talking, "far_end" hung up, "refused" by `code`, "gave_up" while it rang.
        code: The final answer to the INVITE: 200, 486, 487...
        ringing_s: First 180 or 183, None when there was none.
        answered_s: The 200, None when there was none.
        ended_s: The last message of the call.
    """

    started_at: datetime
    ended: str
    code: int
    ringing_s: float | None
    answered_s: float | None
    ended_s: float


class Sipp:
    """The players of one laboratory; enter it before or after Asterisk, on the same ports."""

    def __init__(self, tool: Tool, ports: Ports) -> None:
        self.ports = ports
        self._program = str(tool.program("sipp"))
        self._stack = AsyncExitStack()
        self._numbers = itertools.count(1)
        self._forgotten = datetime.min.replace(tzinfo=UTC)
        # Cut into pieces, so that callers who start together do not pick the same port; the players keep theirs.
        first, last = free_udp_range(PIECE * (MAX_PLAYERS + MAX_CALLERS))
        callers = first + PIECE * MAX_PLAYERS
        self._players = iter(range(first, callers, PIECE))
        # In no order: a neighbour with the same idea of free ports takes them one after the other, and we move on.
        pieces = list(range(callers, last, PIECE))
        self._callers = itertools.cycle(random.sample(pieces, len(pieces)))

    async def __aenter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="sipp-"))
        self._stack.callback(shutil.rmtree, self.folder)
        block = (SCENARIOS / "refusal.xml").read_text()
        refusals = "\n".join(fill(block, {"STATUS": str(code)}) for code in GIVEN_REFUSALS)
        values = {"REFUSALS": refusals, "RING_S": str(RING_S), "RING_MS": str(round(RING_S * 1000))}
        scenario = fill((SCENARIOS / "far_end.xml").read_text(), values)
        (self.folder / "far_end.xml").write_text(scenario)
        (self.folder / "voice.alaw").write_bytes(VOICE)
        try:
            for name, port in (("phones", self.ports.phones), ("provider", self.ports.provider)):
                await self._play(name, port)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def call(
        self,
        did: str,
        caller: str,
        hold_s: float = 2.0,
        patience_s: float = 30.0,
        *,
        trunk: str = "gsm1",
        name: str = "",
        speaks: bool = False,
    ) -> CallResult:
        """An inbound call: `caller` dials `did`, which arrives through `trunk`.

        Args:
            caller: As the provider writes it; "anonymous" hides it.
            hold_s: He hangs up so long after the answer.
            patience_s: He gives up so long after the last news (180) when nobody answers.
            name: His name as the provider gives it.
            speaks: He sends sound. Without it Asterisk optimises no Local channel away.
        """
        sender = '"Anonymous" <sip:anonymous@anonymous.invalid>'
        if caller != "anonymous":
            sender = f'"{name}" <sip:{caller}@127.0.0.1>' if name else f"<sip:{caller}@127.0.0.1>"
        return await self._call(did, sender, f"X-Trunk: {trunk}", hold_s, patience_s, speaks=speaks)

    async def call_from(self, sender: bytes, did: str, hold_s: float = 2.0, patience_s: float = 30.0) -> CallResult:
        """An inbound call with these very bytes as its From."""
        return await self._call(did, sender.decode("utf-8", "surrogateescape"), "X-Trunk: gsm1", hold_s, patience_s)

    async def dial(self, extension: str, number: str, hold_s: float = 2.0, patience_s: float = 30.0) -> CallResult:
        """A call from one of the telephones, to a colleague or to the outside."""
        return await self._call(number, f"<sip:{extension}@127.0.0.1>", "X-Phone: yes", hold_s, patience_s)

    def forget(self) -> None:
        """For players that serve several tests: what came so far is not told any more."""
        self._forgotten = max((invite.at for invite in self.invites()), default=self._forgotten)

    def invites(self, number: str = "") -> list[Invite]:
        """The calls that reached a telephone or the provider, oldest first; of one number or of all."""
        messages = [message for name in ("phones", "provider") for message in read_trace(self._trace(name))]
        found = [each for each in invites(messages) if each.at > self._forgotten and number in ("", each.number)]
        return sorted(found, key=lambda invite: invite.at)

    def updates(self, number: str) -> list[Update]:
        """The changes of an identity that reached a telephone, oldest first."""
        told = updates(read_trace(self._trace("phones")), number)
        return [update for update in told if update.at > self._forgotten]

    async def wait_for_update(self, number: str, *, within: float = 5.0) -> Update:
        """The first change of an identity that reaches this telephone."""

        async def arrived() -> bool:
            return bool(self.updates(number))

        await until(arrived, within=within)
        return self.updates(number)[0]

    async def wait_for_invite(self, number: str, *, within: float = 5.0) -> Invite:
        """The first call that reaches this telephone or provider's number."""

        async def arrived() -> bool:
            return bool(self.invites(number))

        await until(arrived, within=within)
        return self.invites(number)[0]

    async def _call(
        self, number: str, sender: str, header: str, hold_s: float, patience_s: float, *, speaks: bool = False
    ) -> CallResult:
        """A caller; one whose port a neighbour took in the meantime moves on before he has said a word."""
        for _ in range(BIND_ATTEMPTS):
            messages = await self._call_once(number, sender, header, hold_s, patience_s, speaks=speaks)
            if messages:
                return _result(messages)
        raise RuntimeError(f"no free port for the call to {number}")

    async def _call_once(
        self, number: str, sender: str, header: str, hold_s: float, patience_s: float, *, speaks: bool
    ) -> list[SipMessage]:
        label = f"caller-{next(self._numbers)}"
        scenario = self.folder / f"{label}.xml"
        values = {
            "FROM": sender,
            "HEADERS": header,
            "HOLD_MS": str(round(hold_s * 1000)),
            "PATIENCE_MS": str(round(patience_s * 1000)),
            "VOICE": fill(VOICE_ACTION, {"FILE": str(self.folder / "voice.alaw")}) if speaks else "",
            "REFUSALS": "\n".join(f'<recv response="{c}" optional="true" next="refused"/>' for c in EXPECTED_REFUSALS),
        }
        text = fill((SCENARIOS / "caller.xml").read_text(), values)
        scenario.write_text(text, errors="surrogateescape")
        target = f"127.0.0.1:{self.ports.sip}"
        piece = next(self._callers)
        # What arrives while he is just about to send (a 180 as his patience ends) must not end him half-way.
        patient = ("-default_behaviors", "all,-abortunexp")
        process = await self._start(label, scenario, piece, piece, *patient, "-m", "1", "-s", number, target)
        try:
            async with asyncio.timeout(hold_s + patience_s + SLACK_S):
                await process.wait()
        finally:
            await _end(process)
        messages = read_trace(self._trace(label)) if self._trace(label).exists() else []
        if process.returncode and not messages and "Unable to bind" in self._complaints(label):
            return []
        if process.returncode:
            raise RuntimeError(f"sipp gave up on the call to {number}:\n{self._complaints(label)}\n{_sketch(messages)}")
        return messages

    async def _play(self, name: str, port: int) -> None:
        process = await self._start(name, self.folder / "far_end.xml", port, next(self._players), "-rtp_echo")
        self._stack.push_async_callback(_end, process)

        async def listens() -> bool:
            if process.returncode is not None:
                raise RuntimeError(f"sipp did not start:\n{self._complaints(name)}")
            return _is_bound(port)

        await until(listens, within=START_TIMEOUT_S)

    async def _start(
        self, label: str, scenario: Path, port: int, piece: int, *arguments: str
    ) -> asyncio.subprocess.Process:
        """One sipp that speaks SIP on `port`, with its sound in `piece`."""
        output = (self.folder / f"{label}.out").open("wb")
        # -ci: the control socket listens on every address without it.
        fixed = ("-sf", str(scenario), "-i", "127.0.0.1", "-ci", "127.0.0.1", "-p", str(port), "-nostdin", "-l", "1000")
        traces = ("-trace_msg", "-message_file", str(self._trace(label)), "-trace_err", "-error_file")
        media = ("-mp", str(piece + SOUND_OFFSET))
        with output:
            return await asyncio.create_subprocess_exec(
                *(self._program, *fixed, *traces, str(self.folder / f"{label}.err"), *media, *arguments),
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"TERM": "dumb", "PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )

    def _trace(self, label: str) -> Path:
        return self.folder / f"{label}.msg"

    def _complaints(self, label: str) -> str:
        files = [self.folder / f"{label}.{kind}" for kind in ("err", "out")]
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in files if path.exists())


def _result(messages: list[SipMessage]) -> CallResult:
    started = messages[0].at

    def first(wanted: Callable[[SipMessage], bool]) -> SipMessage | None:
        return next((message for message in messages if wanted(message)), None)

    def after(message: SipMessage | None) -> float | None:
        return None if message is None else (message.at - started).total_seconds()

    def final(message: SipMessage) -> bool:
        return not message.sent and message.method == "INVITE" and message.code >= INVITE_OK

    answer = first(final)
    code = answer.code if answer else 0
    answered = answer if code == INVITE_OK else None
    ringing = first(lambda message: not message.sent and message.code in (180, 183))
    ended = "refused"
    if answered:
        ended = "hung_up" if first(lambda message: message.sent and message.start.startswith("BYE")) else "far_end"
    elif first(lambda message: message.sent and message.start.startswith("CANCEL")):
        ended = "gave_up"
    return CallResult(
        started, ended, code, after(ringing), after(answered), (messages[-1].at - started).total_seconds()
    )


def _sketch(messages: list[SipMessage]) -> str:
    return "\n".join(f"{message.at:%T.%f} {'->' if message.sent else '<-'} {message.start}" for message in messages)


def _is_bound(port: int) -> bool:
    """Whether a UDP socket of 127.0.0.1 has this port."""
    wanted = f"0100007F:{port:04X}"
    return any(line.split()[1] == wanted for line in Path("/proc/net/udp").read_text().splitlines()[1:])


async def _end(process: asyncio.subprocess.Process) -> None:
    """Without ceremony: on SIGTERM sipp would wait for its calls."""
    if process.returncode is None:
        process.kill()
    await process.wait()
