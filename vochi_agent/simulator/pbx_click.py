"""Click-to-call in the simulated PBX: the first leg of an AMI Originate, which has no caller of its own."""

import re
from dataclasses import dataclass

from vochi_agent.protocols.ami import Message

from .pbx_calls import Call, Dialled, Far
from .pbx_channels import UNKNOWN, CallerId, Channel
from .pbx_switch import DOWN, RINGING, UP, Switch

__all__ = ["ClickToCall"]

CALLER_ID = re.compile(r'\s*"?(?P<name>.*?)"?\s*<(?P<number>[^<>]*)>\s*')
# What Originate waits for an answer when it is not told (main/manager.c).
DEFAULT_TIMEOUT_MS = "30000"
# AST_CONTROL_* of OriginateResponse.
REASON_NO_ANSWER, REASON_ANSWERED = "3", "4"


@dataclass(slots=True, kw_only=True)
class ClickToCall:
    """How people behave when the daemon originates a call.

    Attributes:
        agent_answers_after_s: Seconds until the agent lifts his phone, None never.
        far: How the client's end behaves.
        client_answers_after_s: Seconds the client's phone rings, None for ever.
        talk_s: Seconds of conversation; the agent ends it.
        timeout_s: Seconds the client's phone rings at most.
        trunk: The endpoint to the client.
        shown: The number the dialplan presents, "" leaves it alone.
    """

    agent_answers_after_s: float | None = 1.0
    far: Far = Far.RINGS
    client_answers_after_s: float | None = 1.0
    talk_s: float = 1.5
    timeout_s: float = 40.0
    trunk: str = ""
    shown: str = ""

    def begin(self, switch: Switch, endpoint: str, identity: CallerId, message: Message) -> Channel:
        """Make the agent's leg: his own at first, then the caller id the action asks for, on both ends."""
        leg = switch.new_channel(endpoint, state=DOWN, caller=identity, context=message.get("Context"), exten="s")
        wanted = _caller_id(message)
        switch.set_caller(leg, wanted)
        switch.set_connected(leg, wanted)
        switch.dial_begin(None, leg, identity.number)
        return leg

    async def ring(self, switch: Switch, call: Call, leg: Channel, message: Message) -> Dialled:
        """Let the agent's phone ring; there is no DialEnd when it is not answered."""
        switch.set_state(leg, RINGING)
        switch.dial_ringing(None, leg)
        call.displayed(leg)
        timeout_s = int(message.get("Timeout", DEFAULT_TIMEOUT_MS)) / 1000
        answers = self.agent_answers_after_s is not None and self.agent_answers_after_s < timeout_s
        left = await call.pause(self.agent_answers_after_s if answers and self.agent_answers_after_s else timeout_s)
        if left or not answers:
            leg.tech_cause = 480
            return Dialled("NOANSWER")
        switch.set_state(leg, UP)
        switch.dial_end(None, leg, "ANSWER")
        leg.exten = message.get("Exten")
        return Dialled("ANSWER", leg)

    def report(self, switch: Switch, leg: Channel, message: Message, outcome: Dialled) -> None:
        """Say how it went, to whoever asked."""
        wanted = _caller_id(message)
        success = outcome.leg is not None
        fields = [
            ("Channel", leg.name if success else leg.endpoint),
            ("Context", message.get("Context")),
            ("Exten", message.get("Exten")),
            ("Reason", REASON_ANSWERED if success else REASON_NO_ANSWER),
            ("Uniqueid", leg.uniqueid if success else UNKNOWN),
            ("CallerIDNum", wanted.number or UNKNOWN),
            ("CallerIDName", wanted.name or UNKNOWN),
        ]
        switch.originated(message.action_id, fields, success=success)


def _caller_id(message: Message) -> CallerId:
    """`"Имя" <number>`, or a bare number."""
    text = message.get("CallerID")
    match = CALLER_ID.fullmatch(text)
    return CallerId(match["number"], match["name"]) if match else CallerId(text)
