"""Who a phone number belongs to, as a CRM says it and as we keep it. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["Company", "Customer", "History", "Names", "Profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The four name columns of `customers`; an empty string means unknown."""

    last_name: str = ""
    first_name: str = ""
    middle_name: str = ""
    enterprise_name: str = ""

    @property
    def person(self) -> str:
        """«Фамилия Имя», the short form for handsets and cards."""
        return " ".join(part for part in (self.last_name, self.first_name) if part)

    @property
    def display(self) -> str:
        """Company first, else the person: what a handset shows."""
        return self.enterprise_name or self.person

    def __bool__(self) -> bool:
        return bool(self.enterprise_name or self.last_name or self.first_name or self.middle_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one CRM says about one phone number right now.

    Attributes:
        source: `retailcrm`, `uon`, `phonebook`…: the name of the source (contract §2).
        external_id: The person's id in that CRM, as text.
        company_id: The corporate client's id when the person is a contact of one, else "".
        phones: Further E.164 numbers of the same person, as the CRM lists them.
        phones_complete: These and the number asked about are all that the CRM lists: others of the person are let go.
        responsible: Extension of the responsible manager, "" when unknown.
        url: The customer's page in the CRM, "" when unknown.
    """

    source: str
    external_id: str
    names: Names
    company_id: str = ""
    phones: tuple[str, ...] = ()
    phones_complete: bool = False
    responsible: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A corporate client's contacts, as one CRM lists them right now.

    Attributes:
        contacts: The profile of each contact by each of his E.164 numbers.
        complete: No contact and no number is missing: other numbers of the company are let go.
    """

    source: str
    company_id: str
    contacts: Mapping[str, Profile]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A customer's counters as they stood before the call in hand."""

    calls_total_in: int = 0
    calls_total_out: int = 0
    calls_answered_in: int = 0
    calls_answered_out: int = 0
    calls_missed_in: int = 0
    calls_missed_out: int = 0
    last_call_at: datetime | None = None
    last_call_direction: str | None = None
    last_call_status: str | None = None
    last_success_at: datetime | None = None
    last_agent_internal: str | None = None
    last_line: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One row of `customers`: one number of one person.

    Attributes:
        called_at: When we called the number last, within the last 30 days; None also where nobody asked for it.
    """

    enterprise_number: str
    phone_e164: str
    names: Names
    history: History
    black_list: bool = False
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    fields: tuple[str, str, str, str] = ("", "", "", "")
    meta: Mapping[str, object] = field(default_factory=dict)
    called_at: datetime | None = None
