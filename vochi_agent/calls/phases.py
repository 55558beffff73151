"""What others may be told of a call that goes on: its phase, and the agents of that phase. Pure."""

from vochi_agent.calls.events import Origin
from vochi_agent.calls.layout import dialled_digits
from vochi_agent.calls.legs import Leg
from vochi_agent.calls.live import LiveCall, Told
from vochi_agent.calls.model import CallProgress, Direction, Phase
from vochi_agent.calls.parts import Part, serves_customer
from vochi_agent.calls.talk import connected

__all__ = ["TRANSITIONS", "progress", "ringing_agents", "talking_agents"]

# From the phase others were told last to those they may be told next; None: they know nothing yet. `dial` and `bridge`
# repeat when the agents change. A blind transfer rings new phones while the call stays in `bridge`: it never goes back.
TRANSITIONS: dict[Phase | None, frozenset[Phase]] = {
    None: frozenset({Phase.START, Phase.DIAL, Phase.BRIDGE, Phase.HANGUP}),
    Phase.START: frozenset({Phase.DIAL, Phase.BRIDGE, Phase.HANGUP}),
    Phase.DIAL: frozenset({Phase.DIAL, Phase.BRIDGE, Phase.HANGUP}),
    Phase.BRIDGE: frozenset({Phase.BRIDGE, Phase.HANGUP}),
    Phase.HANGUP: frozenset(),
}


def ringing_agents(call: LiveCall, part: Part) -> tuple[str, ...]:
    """Extensions whose phones ring now for the one a part of the call is about, in order of first ring."""
    main = part.main
    if part.direction is Direction.OUT or (main.origin is Origin.CREATED and main.up is None):
        return ()  # what rings is the customer's phone, or that of the agent who asked for the call
    twins = call.locals_by_name()
    ringing = [
        leg
        for leg in call.legs.values()
        if leg.agent
        and leg.ringing
        and leg is not main
        and leg.origin is not Origin.ENTERED
        and serves_customer(leg, main, call.legs, twins)
    ]
    ringing.sort(key=lambda leg: leg.rang or 0.0)
    return tuple(dict.fromkeys(leg.agent for leg in ringing))


def talking_agents(call: LiveCall, part: Part, told: Told | None) -> tuple[str, ...]:
    """The path so far, when somebody talks with the customer now; internally the caller stands first."""
    members: dict[str, set[Leg]] = {}
    for leg in call.legs.values():
        if leg.ended is None and leg.bridge:
            members.setdefault(leg.bridge, set()).add(leg)
    twins = {leg.channel: leg for legs in members.values() for leg in legs if leg.twin_name()}
    customers = [leg for leg in part.customers or (part.main,) if leg.ended is None]
    heard = {leg for customer in customers for leg in connected(customer, members, twins)}.difference(customers)
    agents = sorted((leg for leg in heard if leg.agent), key=lambda leg: leg.bridges[-1].entered)
    if not agents:
        return ()
    path = list(told.agents) if told is not None and told.phase is Phase.BRIDGE else []
    if part.direction is Direction.INTERNAL and not path:
        path.append(part.main.agent)
    return tuple(dict.fromkeys([*path, *(leg.agent for leg in agents)]))


def progress(call: LiveCall, part: Part, told: Told, at: float) -> CallProgress:
    """A part of the call as others see it at this moment."""
    layout, direction, main = call.layout, part.direction, part.main
    phone, raw, line = None, "", None
    if direction is Direction.IN:
        raw = main.number
        line = layout.inbound_line(main.endpoint.name, main.exten)
        phone = layout.caller(raw, line)
    elif direction is Direction.OUT:
        trunk = part.customers[-1]
        raw = dialled_digits(trunk.dial_string) or trunk.number
        shown = main.number if main is not trunk else ""
        line = layout.outbound_line(trunk.endpoint.name, marked=call.marked_line, digits=raw, shown=shown)
        phone = layout.callee(raw, line)
    return CallProgress(
        phase=told.phase,
        at=at,
        enterprise_number=layout.enterprise_number,
        linkedid=part.linkedid,
        direction=direction,
        phone=phone,
        raw_number=raw,
        line=line.id if line else None,
        started_at=part.started,
        agents=told.agents,
    )
