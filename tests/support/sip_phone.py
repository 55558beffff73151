"""A secretary's telephone: it answers, and hands callers over as the test has planned.

Written here because sipp cannot drive two dialogs that refer to each other (REFER with Replaces, RFC 3891).
"""

import asyncio
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.support.sipp import RING_S

__all__ = ["Handover", "SecretaryPhone"]

HOST = "127.0.0.1"
ANSWER_S = 10.0
OK, MOVED = 200, 302
REASONS = {180: "Ringing", OK: "OK", MOVED: "Moved Temporarily"}
SDP = "application/sdp"
# features.conf of the laboratory.
BLIND_CODE, ATTENDED_CODE, TAKE_BACK_CODE = "##", "*2", "*1"
# Asterisk says "transfer" first; digits that come too early belong to nobody.
PROMPT_S = 0.8
DIGIT_S = 0.12


@dataclass(frozen=True, slots=True)
class Handover:
    """What is done with one caller.

    Attributes:
        target: Who gets the call; as dialled.
        how: "blind" (REFER), "attended" (the target is asked, then REFER with Replaces), "kept" (he is asked, and the
            caller taken back), "in vain" (he does not answer, and the caller is taken back), "forwarded" (the telephone
            does not even ring: 302 says where else to try).
        by_code: By the feature codes of Asterisk, as INFO (RFC 6086), instead of SIP's own means.
        talk_s: From the answer to the first step.
        ask_s: How long the target is asked, or rings in vain.
    """

    target: str
    how: str
    talk_s: float
    ask_s: float = 0.0
    by_code: bool = False


@dataclass(slots=True)
class _Message:
    start: str
    headers: list[tuple[str, str]]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        lines = data.decode(errors="replace").partition("\r\n\r\n")[0].split("\r\n")
        pairs = (line.partition(":") for line in lines[1:])
        return cls(lines[0], [(name.strip().lower(), value.strip()) for name, _, value in pairs])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    @property
    def contact(self) -> str:
        return self.get("Contact").partition("<")[2].partition(">")[0]


@dataclass(slots=True)
class _Dialog:
    call_id: str
    local: str
    remote: str
    target: str
    number_shown: str = ""
    number: int = 0
    answers: dict[int, asyncio.Future[_Message]] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SecretaryPhone(asyncio.DatagramProtocol):
    """The telephone; enter it to be reachable.

    Attributes:
        plans: What to do with a caller, by the number the telephone is shown.
        apart_s: For how long she left a caller alone to ask somebody by feature code, by his number; seconds.
        problems: What did not go as planned.
    """

    def __init__(self, extension: str, port: int, pbx_port: int) -> None:
        self.plans: dict[str, Handover] = {}
        self.apart_s: dict[str, float] = {}
        self.problems: list[str] = []
        self._extension, self._port, self._pbx_port = extension, port, pbx_port
        self._dialogs: dict[str, _Dialog] = {}
        self._serials = itertools.count(1)
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, self._port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A request or an answer of the PBX."""
        message = _Message.parse(data)
        dialog = self._dialogs.get(message.get("Call-ID"))
        if message.start.startswith("SIP/2.0 "):
            if dialog is not None:
                self._answered(dialog, message)
            return
        method = message.start.partition(" ")[0]
        if method == "INVITE" and dialog is None:
            self._rung(message)
        elif method != "ACK":
            self._reply(message, OK, sdp=_sdp("sendrecv") if method == "INVITE" else "")
            if method == "BYE" and dialog is not None:
                dialog.ended.set()

    # ------------------------------------------------------------ what the secretary does

    async def call_out(self, number: str, plan: Handover) -> None:
        """Call somebody and hand him over as planned; returns when that was asked for, or he is back."""
        called = self._new_dialog(number)
        answer = await self._request(called, "INVITE", body=_sdp("sendrecv"))
        if not answer.start.startswith("SIP/2.0 2"):
            self.problems.append(f"{number}: {answer.start}")
            return
        await asyncio.sleep(plan.talk_s)
        await self._hand_over(called, plan)

    def _new_dialog(self, number: str) -> _Dialog:
        serial = next(self._serials)
        dialog = _Dialog(
            f"ask{serial}-{self._port}",
            f"<sip:{self._extension}@{HOST}>;tag=ask{serial}",
            f"<sip:{number}@{HOST}>",
            f"sip:{number}@{HOST}:{self._pbx_port}",
        )
        self._dialogs[dialog.call_id] = dialog
        return dialog

    def _rung(self, invite: _Message) -> None:
        tag = f"sec{next(self._serials)}"
        caller = re.search(r"sip:([^@>;]+)", invite.get("From"))
        shown = caller[1] if caller else ""
        plan = self.plans.get(shown)
        dialog = _Dialog(
            invite.get("Call-ID"), f"{invite.get('To')};tag={tag}", invite.get("From"), invite.contact, shown
        )
        self._dialogs[dialog.call_id] = dialog
        if plan is not None and plan.how == "forwarded":
            self._reply(invite, MOVED, tag=tag, contact=plan.target)
            return
        self._tasks.create_task(self._serve(invite, dialog, tag, plan), name="a caller of the secretary")

    async def _serve(self, invite: _Message, caller: _Dialog, tag: str, plan: Handover | None) -> None:
        self._reply(invite, 180, tag=tag)
        await asyncio.sleep(RING_S)
        self._reply(invite, OK, tag=tag, sdp=_sdp("sendrecv"))
        if plan is None:
            self.problems.append(f"nobody planned the call of {invite.get('From')}")
            return
        await asyncio.sleep(plan.talk_s)
        try:
            async with asyncio.timeout(ANSWER_S + plan.ask_s):
                await (self._hand_over_by_code if plan.by_code else self._hand_over)(caller, plan)
        except TimeoutError:
            self.problems.append(f"no answer while handing over to {plan.target}")

    async def _hand_over(self, caller: _Dialog, plan: Handover) -> None:
        if plan.how == "blind":
            await self._refer(caller, f"<sip:{plan.target}@{HOST}>")
            return
        await self._request(caller, "INVITE", body=_sdp("sendonly"))
        asked = self._new_dialog(plan.target)
        answer = self._send_request(asked, "INVITE", body=_sdp("sendrecv"))
        if plan.how == "in vain":
            await asyncio.sleep(plan.ask_s)
            self._send_request(asked, "CANCEL")
            await answer
        else:
            await answer
            await asyncio.sleep(plan.ask_s)
            if plan.how == "attended":
                await self._refer(caller, self._replacing(asked, plan.target))
                return
            await self._request(asked, "BYE")
        await self._request(caller, "INVITE", body=_sdp("sendrecv"))

    async def _hand_over_by_code(self, caller: _Dialog, plan: Handover) -> None:
        await self._press(caller, BLIND_CODE if plan.how == "blind" else ATTENDED_CODE)
        await asyncio.sleep(PROMPT_S)
        await self._press(caller, plan.target)
        if plan.how == "blind":
            return  # the PBX hangs up
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(RING_S + plan.ask_s)
        if plan.how == "attended":
            await self._request(caller, "BYE")
        else:
            await self._press(caller, TAKE_BACK_CODE)
        self.apart_s[caller.number_shown] = asyncio.get_running_loop().time() - began

    async def _press(self, dialog: _Dialog, keys: str) -> None:
        for key in keys:
            digit = f"Signal={key}\r\nDuration=100\r\n"
            answer = await self._request(dialog, "INFO", body=digit, kind="application/dtmf-relay")
            if not answer.start.startswith("SIP/2.0 2"):
                self.problems.append(f"INFO {key}: {answer.start}")
            await asyncio.sleep(DIGIT_S)

    def _replacing(self, asked: _Dialog, target: str) -> str:
        tags = [re.search(r";tag=([^;>]+)", side) for side in (asked.remote, asked.local)]
        to_tag, from_tag = (tag[1] if tag else "" for tag in tags)
        replaces = quote(f"{asked.call_id};to-tag={to_tag};from-tag={from_tag}", safe="")
        return f"<sip:{target}@{HOST}:{self._pbx_port}?Replaces={replaces}>"

    async def _refer(self, dialog: _Dialog, to: str) -> None:
        referred_by = f"Referred-By: <sip:{self._extension}@{HOST}>"
        answer = await self._request(dialog, "REFER", headers=(f"Refer-To: {to}", referred_by))
        if not answer.start.startswith("SIP/2.0 2"):
            self.problems.append(f"REFER to {to}: {answer.start}")

    # ------------------------------------------------------------ SIP

    async def _request(
        self, dialog: _Dialog, method: str, *, headers: Sequence[str] = (), body: str = "", kind: str = SDP
    ) -> _Message:
        return await self._send_request(dialog, method, headers=headers, body=body, kind=kind)

    def _send_request(
        self, dialog: _Dialog, method: str, *, headers: Sequence[str] = (), body: str = "", kind: str = SDP
    ) -> asyncio.Future[_Message]:
        """The future is the final answer. A CANCEL carries the number and branch of the INVITE it means."""
        if method not in ("CANCEL", "ACK"):
            dialog.number += 1
        branch = f"z9hG4bK{dialog.call_id}{dialog.number}".replace("@", "")
        if method == "ACK" and "tag=" in dialog.remote:
            branch += "ack"  # of a 2xx a transaction of its own (RFC 3261 §13.2.2.4)
        lines = [
            f"{method} {dialog.target} SIP/2.0",
            f"Via: SIP/2.0/UDP {HOST}:{self._port};branch={branch}",
            f"From: {dialog.local}",
            f"To: {dialog.remote}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {dialog.number} {method}",
            f"Contact: <sip:{self._extension}@{HOST}:{self._port}>",
            "Max-Forwards: 70",
            *headers,
        ]
        self._send(lines, body, kind)
        future: asyncio.Future[_Message] = asyncio.get_running_loop().create_future()
        if method in ("CANCEL", "ACK"):
            return future
        dialog.answers[dialog.number] = future
        return future

    def _answered(self, dialog: _Dialog, message: _Message) -> None:
        number, _, method = message.get("CSeq").partition(" ")
        if message.start.startswith("SIP/2.0 1") or method == "CANCEL":
            return
        if method == "INVITE":
            if message.start.startswith("SIP/2.0 2"):
                dialog.remote = message.get("To")
                dialog.target = message.contact or dialog.target
            self._send_request(dialog, "ACK")
        waiting = dialog.answers.pop(int(number), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _reply(self, message: _Message, code: int, *, tag: str = "", sdp: str = "", contact: str = "") -> None:
        to = message.get("To")
        lines = [
            f"SIP/2.0 {code} {REASONS[code]}",
            *(f"Via: {via}" for via in message.all("Via")),
            f"From: {message.get('From')}",
            f"To: {to};tag={tag}" if tag and ";tag=" not in to else f"To: {to}",
            f"Call-ID: {message.get('Call-ID')}",
            f"CSeq: {message.get('CSeq')}",
            f"Contact: <sip:{contact or self._extension}@{HOST}:{self._port}>",
            *(f"Record-Route: {route}" for route in message.all("Record-Route")),
        ]
        self._send(lines, sdp)

    def _send(self, lines: list[str], body: str, kind: str = SDP) -> None:
        described = [f"Content-Type: {kind}"] if body else []
        text = "\r\n".join([*lines, *described, f"Content-Length: {len(body)}", "", body])
        self._transport.sendto(text.encode(), (HOST, self._pbx_port))


_versions = itertools.count(1)


def _sdp(mode: str) -> str:
    """Held back by `sendonly`; the version grows, or the PBX would take it for a repetition."""
    origin = f"o=secretary 1 {next(_versions)} IN IP4 {HOST}"
    lines = ("v=0", origin, "s=-", f"c=IN IP4 {HOST}", "t=0 0", "m=audio 9 RTP/AVP 8")
    return "\r\n".join([*lines, "a=rtpmap:8 PCMA/8000", f"a={mode}", ""])
