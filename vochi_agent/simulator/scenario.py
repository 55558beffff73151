"""A scenario: a TOML file that says what calls a simulated PBX makes, and what goes wrong meanwhile.

Every mistake is reported at once, as in the configuration: file, key, what was found, what is allowed.
"""

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from vochi_agent.config import values as v
from vochi_agent.config.problems import did_you_mean, shown
from vochi_agent.errors import ConfigError

from .crm_server import Fault
from .pbx_calls import Far

__all__ = ["HIDDEN", "NOBODY", "CallPlan", "Person", "Queue", "Scenario", "Trouble", "load_scenario", "shipped"]

HIDDEN: Final = "hidden"
NOBODY: Final = "nobody"
CRM_TROUBLES: Final = tuple(fault.value for fault in Fault)
PBX_TROUBLES: Final = ("cut", "frozen")
MAX_BYTES: Final = 1 << 20
MOST_DIGITS: Final = 5  # of an extension

Seconds = Annotated[StrictFloat, Field(ge=0, le=86_400), v.Allowed("seconds, from 0 to 86400")]
Period = Annotated[StrictFloat, Field(ge=0.001, le=86_400), v.Allowed("seconds, from 0.001 to 86400")]
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000), v.Allowed("a whole number from 1 to 1000000")]
Speed = Annotated[StrictFloat, Field(ge=0.1, le=1000), v.Allowed("how many times faster than life, from 0.1 to 1000")]
Caller = Annotated[
    StrictStr,
    Field(pattern=r"^(hidden|\+[1-9][0-9]{6,14})$"),
    v.Allowed('a number with + and country code, such as "+375290000011", or "hidden"'),
]
Dialled = Annotated[
    StrictStr,
    Field(pattern=r"^(\+?[0-9]{2,15})$"),
    v.Allowed('a number as it is dialled, such as "+375290000011" or "151"'),
]
Answerer = Annotated[
    StrictStr,
    Field(pattern=r"^([0-9]{2,5}|nobody)?$"),
    v.Allowed('an extension in quotes, "nobody", or empty for those who ring in turn'),
]
FarEnd = Annotated[
    Literal["rings", "busy", "declines", "congested", "wrong number", "unreachable", "offline"],
    v.Allowed(", ".join(far.value for far in Far)),
]
QueueName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$"), v.Allowed("letters, digits, - and _")]
OptionalQueueName = Annotated[
    StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{0,40}$"), v.Allowed("the name of one of [[queues]], empty for none")
]
OptionalLine = Annotated[
    StrictStr,
    Field(pattern=r"^[!-~]{0,64}$"),
    v.Allowed("the id of a line of the configuration, empty for all in turn"),
]
Kind = Annotated[Literal["in", "out", "internal"], v.Allowed("in, out, internal")]
Part = Annotated[Literal["crm", "pbx"], v.Allowed("crm, pbx")]
How = Annotated[StrictStr, v.Allowed("a word in quotes")]


class _Table(BaseModel):
    """A TOML table: frozen, and a key that it does not have is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Queue(_Table):
    """`[[queues]]`: everybody in it rings at once. Without `agents` the configuration's agents share the queues."""

    name: QueueName
    agents: tuple[v.Extension, ...] = ()


class CallPlan(_Table):
    """`[[calls]]`: calls of one kind, one after the other. Times are seconds of the scenario, before `speed`.

    Attributes:
        start_s: When the first one comes.
        every_s: Between the beginnings of two.
        line: By which line; "" for all in turn.
        callers: Who calls in, in turn; empty: strangers that nobody knows.
        to: Whom an agent calls, in turn; empty for `out`: the strangers. For `internal`: extensions.
        by: Who places `out` and `internal`, in turn; empty: every agent.
        queue: Where an inbound call waits; "" rings `ring`.
        ring: The phones that ring together; empty: every agent's.
        answer: Who picks up.
        far: How the far end of `out` and `internal`, or every phone of `in`, behaves.
        after_s: Seconds it rings before it is answered.
        talk_s: Seconds of conversation.
        transfer_to: Whom an inbound call is handed over to in the middle of the conversation.
        gives_up_s: Seconds after which the caller leaves, whatever goes on; 0: he never does.
        greeting_s: Seconds the PBX answers and plays before any phone is dialled.
        ring_s: Seconds the phones ring at most.
    """

    kind: Kind = "in"
    count: Count = 1
    start_s: Seconds = 0.0
    every_s: Period = 1.0
    line: OptionalLine = ""
    callers: tuple[Caller, ...] = ()
    to: tuple[Dialled, ...] = ()
    by: tuple[v.Extension, ...] = ()
    queue: OptionalQueueName = ""
    ring: tuple[v.Extension, ...] = ()
    answer: Answerer = ""
    far: FarEnd = "rings"
    after_s: Seconds = 3.0
    talk_s: Seconds = 20.0
    transfer_to: v.OptionalExtension = ""
    gives_up_s: Seconds = 0.0
    greeting_s: Seconds = 0.0
    ring_s: Period = 30.0


class Person(_Table):
    """`[[customers]]`: who stands in the played CRM, with his company if he has one."""

    phone: Annotated[
        StrictStr,
        Field(pattern=r"^\+[1-9][0-9]{6,14}$"),
        v.Allowed('a number with + and country code, such as "+375290000011"'),
    ]
    first_name: v.Text = ""
    last_name: v.Text = ""
    company: v.Text = ""


class Trouble(_Table):
    """`[[troubles]]`: what is wrong from one second of the scenario to another."""

    part: Part
    how: How
    from_s: Seconds
    to_s: Seconds


class Scenario(_Table):
    """The whole file.

    Attributes:
        title: What is played, for the audience.
        speed: How many times faster than life.
        strangers: How many different numbers nobody knows.
    """

    title: v.Text = ""
    speed: Speed = 1.0
    strangers: Count = 50
    queues: tuple[Queue, ...] = ()
    calls: tuple[CallPlan, ...] = ()
    customers: tuple[Person, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def shipped() -> list[str]:
    """The names of the scenarios that are installed with the program."""
    files = resources.files("vochi_agent.simulator").joinpath("scenarios").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """A file, or one of `shipped` by its name.

    Raises:
        ConfigError: with one sentence for every mistake found.
    """
    tables = _tables(name)
    problems: list[str] = []
    try:
        scenario = Scenario.model_validate(tables)
    except ValidationError as error:
        problems = [_sentence(tables, details) for details in error.errors(include_url=False, include_context=False)]
    else:
        problems = list(_disagreements(scenario))
        if not problems:
            return scenario
    raise ConfigError([f"{name}: {problem}" for problem in problems])


def _tables(name: str) -> Mapping[str, Any]:
    path = Path(name)
    own = resources.files("vochi_agent.simulator").joinpath("scenarios", f"{name}.toml")
    try:
        if not path.exists() and name in shipped():
            data = own.read_bytes()
        else:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([f"{name}: longer than a scenario may be; allowed: {MAX_BYTES >> 20} MiB"])
        return tomllib.loads(data.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError([f"{name}: there is no such file; shipped: {', '.join(shipped())}"]) from None
    except OSError as exc:
        raise ConfigError([f"{name}: the file cannot be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{name}: the file is not UTF-8 text (byte {exc.start})"]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError([f"{name}: not valid TOML: {exc}"]) from exc
    except RecursionError:
        raise ConfigError([f"{name}: not valid TOML: nested too deeply"]) from None


def _disagreements(scenario: Scenario) -> Iterator[str]:
    """What keys say of one another."""
    if not scenario.calls:
        yield "calls is an empty list; needed: at least one table [[calls]]"
    queues = [queue.name for queue in scenario.queues]
    for index, queue in enumerate(queues):
        if queue in queues[:index]:
            yield f'queues[#{index + 1}].name is "{queue}" a second time; allowed: a name of its own'
    for index, call in enumerate(scenario.calls):
        yield from (f"calls[#{index + 1}].{problem}" for problem in _of_call(call, scenario))
    for index, trouble in enumerate(scenario.troubles):
        here = f"troubles[#{index + 1}]"
        allowed = CRM_TROUBLES if trouble.part == "crm" else PBX_TROUBLES
        if trouble.how not in allowed:
            yield f'{here}.how is {shown(trouble.how)}; allowed for part "{trouble.part}": {", ".join(allowed)}'
        if trouble.to_s <= trouble.from_s:
            yield f"{here}.to_s is {trouble.to_s:g}; allowed: more than from_s, {trouble.from_s:g}"


def _of_call(call: CallPlan, scenario: Scenario) -> Iterator[str]:
    queue = next((queue for queue in scenario.queues if queue.name == call.queue), None)
    if call.queue and queue is None:
        known = ", ".join(queue.name for queue in scenario.queues) or "no [[queues]] are there"
        yield f'queue is "{call.queue}"; allowed: {known}'
    for key in ("queue", "ring", "callers", "transfer_to", "greeting_s"):
        if call.kind != "in" and getattr(call, key):
            yield f'{key} is only for calls of kind "in", this is "{call.kind}"'
    for key in ("to", "by"):
        if call.kind == "in" and getattr(call, key):
            yield f'{key} is only for calls of kind "out" and "internal", this is "in"'
    if call.queue and call.ring:
        yield f'ring does not go with queue = "{call.queue}"; allowed: one of the two'
    members = queue.agents if queue else call.ring
    if call.kind == "in" and members and call.answer not in ("", NOBODY, *members):
        yield f'answer is "{call.answer}"; allowed: one who rings: {", ".join(members)}'
    if call.transfer_to and call.answer == NOBODY:
        yield 'transfer_to does not go with answer = "nobody"; allowed: somebody who answers'
    if call.kind == "internal":
        wrong = [number for number in call.to if not number.isdecimal() or len(number) > MOST_DIGITS]
        yield from (f"to holds {shown(number)}; allowed for internal calls: 2 to 5 digits" for number in wrong)


def _sentence(tables: Mapping[str, Any], details: ErrorDetails) -> str:
    path = details["loc"]
    name, kind = _name(path), details["type"]
    if kind == "missing":
        return f"{name} is missing; needed: {_needed(path)}"
    if kind == "extra_forbidden":
        return f"{name} is not a known key{did_you_mean(str(path[-1]), _keys(path[:-1]))}"
    found = shown(_value(tables, path))
    if kind == v.NOT_ALLOWED:
        return f"{name} is {found}; allowed: {details['msg']}"
    lists = kind == "tuple_type"
    return f"{name} is {found}; allowed: {'a list in [ ] or [[tables]]' if lists else 'a table'}"


def _name(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[#{key + 1}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".") if all(sign.isprintable() for sign in text) else shown(text)


def _value(tables: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
    value: Any = tables
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            break
    return value


def _table(path: tuple[str | int, ...]) -> type[_Table]:
    table: type[_Table] = Scenario
    for key in path:
        if isinstance(key, str):
            kinds = get_args(table.model_fields[key].annotation)
            table = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, _Table))
    return table


def _keys(path: tuple[str | int, ...]) -> list[str]:
    return list(_table(path).model_fields)


def _needed(path: tuple[str | int, ...]) -> str:
    field = _table(path[:-1]).model_fields[str(path[-1])]
    return next((item.text for item in field.metadata if isinstance(item, v.Allowed)), "a value")
