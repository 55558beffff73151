"""The configuration as frozen tables: one class a TOML table, one attribute a key, the contract's defaults.

Invariant: a table is data. It knows no file, no environment and no other table; what tables must agree on is in
`checks`, how they are read in `reading`.
"""

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, SecretStr
from pydantic_core import core_schema

from vochi_agent.config import values as v

__all__ = [
    "CRM_TABLES",
    "Agent",
    "AmoCrmConfig",
    "AsteriskConfig",
    "Bitrix24Config",
    "Chat",
    "Config",
    "CrmConfig",
    "DaemonConfig",
    "DatabaseConfig",
    "Department",
    "Enterprise",
    "FastAgiConfig",
    "HttpConfig",
    "Line",
    "LogConfig",
    "MoySkladConfig",
    "RetailCrmConfig",
    "RetentionConfig",
    "Table",
    "TelegramConfig",
    "UonConfig",
]

NO_SECRET = SecretStr("")


class Table(BaseModel):
    """A TOML table: frozen, and a key that it does not have is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True)


class DaemonConfig(Table):
    """`[daemon]`.

    Attributes:
        timezone: For texts; everything is stored in UTC.
        state_dir: Where the embedded database and the spool live.
        instance: Differs when several daemons serve one PBX; part of the name of the heartbeat's global variable.
        spool_mb: What finished calls may take on disk while the database is away, in MiB.
    """

    timezone: v.Timezone = "UTC"
    state_dir: v.AbsolutePath = Path("/var/lib/vochi-agent")
    instance: v.Instance = "a"
    spool_mb: v.SpoolSize = 64


class LogConfig(Table):
    """`[log]`: one record a line on stdout.

    Attributes:
        level: From which on records are written.
        format: For programs, or for people.
        mask_phones: Hide phone numbers, except at level debug.
    """

    level: v.LogLevel = "info"
    format: v.LogFormat = "json"
    mask_phones: v.Flag = True


class DatabaseConfig(Table):
    """`[database]`: where calls, customers and cards are kept.

    Attributes:
        url: `embedded`, a real PostgreSQL of our own under `state_dir`, or the URL of one (it may hold a password:
            never print it).
        pool_size: Connections that are kept to it.
        migrate: Bring it to the schema of this version at start; false: only `vochi-agent migrate` does.
    """

    url: v.DatabaseUrl = Field(default="embedded", repr=False)
    pool_size: v.PoolSize = 10
    migrate: v.Flag = True


class RetentionConfig(Table):
    """`[retention]`: after how many days what leaves; 0 keeps it.

    Attributes:
        calls_days: Calls; what they counted stays with their customers.
        evidence_days: What each channel of a call did, sooner than the call.
        cards_days: What we know of messages in chats; the messages stay.
        outbox_days: What CRMs have been told, and what waits for somebody who will not come.
    """

    calls_days: v.Days = 0
    evidence_days: v.Days = 0
    cards_days: v.DaysAfterNews = 90
    outbox_days: v.DaysAfterNews = 90


class FastAgiConfig(Table):
    """`[fastagi]`: where the dialplan asks who is calling.

    Attributes:
        listen: A literal address; not port 4573, where FreePBX's own server sits.
        allow: Who may connect: FastAGI has no password.
        deadline_s: Bounds the whole answer, whatever happens; the dialplan leaves a mute server after 2.
    """

    listen: v.ListenAddress = v.Address("127.0.0.1", 4577)
    allow: tuple[v.Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    deadline_s: v.AgiDeadline = 1.5


class HttpConfig(Table):
    """`[http]`: health, metrics, webhooks, recordings.

    Attributes:
        listen: A literal address.
        public_url: How people and CRMs reach it from outside, for links and webhooks; "" when they do not.
    """

    listen: v.ListenAddress = v.Address("127.0.0.1", 8070)
    public_url: v.OptionalHttpUrl = ""


class TelegramConfig(Table):
    """`[telegram]`; without a token (here or in an enterprise) no card is sent.

    Attributes:
        token: The bot's, as BotFather gives it.
        api_url: Another server for tests, or a local Bot API server.
        proxy: The way to it.
        card: `auto`: an answered call edits its silent live card, a missed one is a new message with sound; `edit`
            always edits, `resend` always sends anew.
        updates: How the bot learns what people write to it: it asks, Telegram brings it to `http.public_url`, or `off`:
            it only speaks.
    """

    token: v.BotToken = NO_SECRET
    api_url: v.HttpUrl = "https://api.telegram.org"
    proxy: v.ProxyUrl = Field(default="", repr=False)
    card: v.CardMode = "auto"
    updates: v.UpdatesMode = "polling"


class AsteriskConfig(Table):
    """`[enterprises.asterisk]`: the one PBX of an enterprise.

    Attributes:
        ami: Asterisk's manager interface.
        ami_username: Our user of manager.conf.
        ami_secret: Its secret.
        ari: Asterisk's REST interface, for click to call and listening; "": done without.
        ari_username: Our user of ari.conf.
        ari_password: Its password.
        cel: Where CEL is written, from which gaps are closed: a file of cel_custom or a database.
        cdr: Where CDR is written, the same kinds; second best.
        recordings: Folder of recordings; with `http.public_url` cards and CRMs link to them.
    """

    ami: v.HostAndPort
    ami_username: v.Name
    ami_secret: v.RequiredSecret
    ari: v.OptionalHttpUrl = ""
    ari_username: v.Text = ""
    ari_password: v.Secret = NO_SECRET
    cel: v.RecordPlace = Field(default="", repr=False)
    cdr: v.RecordPlace = Field(default="", repr=False)
    recordings: v.PathText = ""


class Line(Table):
    """`[[enterprises.lines]]`: a trunk, or one number of a trunk.

    Attributes:
        id: Stored in `customers.last_line` and `calls.line`.
        endpoint: Channels of this trunk; several lines may share one.
        dids: Dialled numbers that enter here; by default the id.
        number: Its own number in E.164, "" when unknown.
        dial_prefix: Digits put before the number when dialling out through it; never part of the phone.
        label: What people call it; stands on cards, and on handsets where `caller_name` has `line`.
        shop: Which shop it belongs to; on handsets where `caller_name` has `shop`.
        number_rule: How the trunk's caller ids become full numbers: a prefix, and how many last digits follow it; of
            several the first match wins.
        caller_name: Parts of the name on the handset, in order; empty: the name is never touched.
        route: Whom to ring first, tried in order.
        ring_s: For how many seconds.
    """

    id: v.LineId
    endpoint: v.Endpoint
    dids: tuple[v.Did, ...] = Field(default_factory=lambda line: (line["id"],) if "id" in line else ())
    number: v.PhoneNumber = ""
    dial_prefix: v.DialPrefix = ""
    label: v.Text = ""
    shop: v.Text = ""
    number_rule: v.NumberRules = ()
    caller_name: tuple[v.NamePart, ...] = ("customer",)
    route: tuple[v.RouteStep, ...] = ()
    ring_s: v.RingSeconds = 30


class Agent(Table):
    """`[[enterprises.agents]]`: facts about an extension; extensions exist without being listed.

    Attributes:
        extension: His internal number.
        name: As cards show him.
        endpoint: Where the extension is when that is not TECH/extension; "" for the default.
        mobile: E.164; a trunk leg dialled to it is this agent.
        follow_me: The extension of his follow-me.
        charset: What the handset can show: everything, transliterated with accents, transliterated to ASCII.
        name_width: How many characters of a name the handset can show.
    """

    extension: v.Extension
    name: v.Text = ""
    endpoint: v.OptionalEndpoint = ""
    mobile: v.PhoneNumber = ""
    follow_me: v.OptionalExtension = ""
    charset: v.Charset = "utf-8"
    name_width: v.NameWidth = 60


class Department(Table):
    """`[[enterprises.departments]]`: an internal number that is no person.

    Attributes:
        number: The number of the queue or group.
        label: As cards show it.
    """

    number: v.Extension
    label: v.Text = ""


class CrmConfig(Table):
    """`[enterprises.crm.<name>]`: what every CRM needs.

    Attributes:
        url: Where its API is.
        api_key: What proves to it who we are.
        webhook_secret: The last part of the address that its webhooks are sent to: a long random word of letters and
            digits. Empty: there is no such address.
        timeout_s: For one request.
        rps: At most so many of ours; enterprises that share an account share them, the first in the file says how many.
        agents: The CRM's user id -> extension.
        log_calls: Every finished call goes into the CRM's own list of calls.
        popups: A card on the users' screens while their phones ring.
        unknown_in: What becomes of a caller whom the CRM does not know.
        unknown_out: The same of a number that was called.
        missed_task: Minutes after a missed call at which a user has the task to call back; 0: nobody has.
    """

    url: v.HttpUrl
    api_key: v.Secret = NO_SECRET
    webhook_secret: v.Secret = NO_SECRET
    timeout_s: v.CrmTimeout = 1.2
    rps: v.RequestRate = 10.0
    agents: v.CrmAgents = Field(default_factory=lambda: MappingProxyType({}))
    log_calls: v.Flag = True
    popups: v.Flag = True
    unknown_in: v.ContactOrLeadRule = "nothing"
    unknown_out: v.ContactOrLeadRule = "nothing"
    missed_task: v.TaskMinutes = 0


class RetailCrmConfig(CrmConfig):
    """`[enterprises.crm.retailcrm]`: every request needs the key.

    Attributes:
        history_s: Seconds between two looks at the history of changes; 0: changes come by webhook only.
        timezone: Of the account, whose times carry none; `load` fills in the enterprise's.
        module: The code of the telephony module that `crm register retailcrm` makes, "" without one.
        site: Code of the shop that new contacts belong to, "" for a key of one shop.
    """

    api_key: v.RequiredSecret
    history_s: v.HistoryPeriod = 60.0
    timezone: v.AccountTimezone = ""
    module: v.ModuleCode = ""
    site: v.ModuleCode = ""
    unknown_in: v.ContactRule = "nothing"  # its API knows no leads
    unknown_out: v.ContactRule = "nothing"


class UonConfig(CrmConfig):
    """`[enterprises.crm.uon]`: the key is part of every address.

    Attributes:
        account_id: The account's id (`uon_id`); webhooks of another one are refused. "" accepts any.
        subdomain: The account's name before `.u-on.ru`; the same, and links to a client's page need it.
        timezone: Of the account, whose times carry none; `load` fills in the enterprise's.
    """

    url: v.HttpUrl = "https://api.u-on.ru"
    api_key: v.RequiredSecret
    account_id: v.AccountId = ""
    subdomain: v.Subdomain = ""
    timezone: v.AccountTimezone = ""


class MoySkladConfig(CrmConfig):
    """`[enterprises.crm.moysklad]`: two APIs, two keys.

    Attributes:
        api_key: Of the JSON API: who is calling.
        phone_key: Of the Phone API: cards, the list of calls, employees' extensions; "" without a telephony solution.
        rps: Of the JSON API, whose requests by a user's key are limited to 11 in 3 s.
        account_id: The account's id; webhooks of another one are refused. "" accepts any.
    """

    url: v.HttpUrl = "https://api.moysklad.ru"
    api_key: v.RequiredSecret
    phone_key: v.Secret = NO_SECRET
    rps: v.RequestRate = 3.0
    account_id: v.Uuid = ""
    unknown_in: v.ContactRule = "nothing"  # its API knows no leads
    unknown_out: v.ContactRule = "nothing"


class Bitrix24Config(CrmConfig):
    """`[enterprises.crm.bitrix24]`: an inbound webhook (names only) or a local application (everything).

    Attributes:
        user_id: With `api_key`, the webhook's secret: whose webhook it is.
        client_id: With `client_secret` and `refresh_token`: the application.
        client_secret: Shown with it.
        refresh_token: The first one; later ones are kept in `state_dir`.
        oauth_url: The vendor's token server.
        default_user: User id that calls are given which reached no user of the portal; "" for none.
        line: External line that calls are shown under; "" for the line's id.
        application_token: What outbound webhooks and events carry; a message without it is refused.
        member_id: The portal's id; messages of another one are refused. "" accepts any.
        events_s: Seconds between two looks at the portal's queue of events, for a daemon that the portal cannot reach;
            0: changes and clicks come by webhook only.
    """

    user_id: v.UserId = ""
    client_id: v.Text = ""
    client_secret: v.Secret = NO_SECRET
    refresh_token: v.Secret = NO_SECRET
    oauth_url: v.HttpUrl = "https://oauth.bitrix24.tech"
    rps: v.RequestRate = 2.0
    default_user: v.UserId = ""
    line: v.Text = ""
    application_token: v.Secret = NO_SECRET
    member_id: v.Word = ""
    events_s: v.HistoryPeriod = 0.0


class AmoCrmConfig(CrmConfig):
    """`[enterprises.crm.amocrm]`: a long-lived token (`api_key`) or an application.

    Attributes:
        client_id: With `client_secret`, `redirect_uri` and `refresh_token`: the application.
        client_secret: Shown with it.
        redirect_uri: As it stands in the application.
        refresh_token: The first one; later ones are kept in `state_dir`.
        unsorted: An inbound call of a number without a card becomes an unsorted lead.
        account_id: The account's id; webhooks of another one are refused. "" leaves it to the subdomain of `url`.
    """

    client_id: v.Text = ""
    client_secret: v.Secret = NO_SECRET
    redirect_uri: v.OptionalHttpUrl = ""
    refresh_token: v.Secret = NO_SECRET
    rps: v.RequestRate = 7.0
    unsorted: v.Flag = False
    account_id: v.AccountId = ""


# A new CRM is one line here and, when it needs keys of its own, one class above.
CRM_TABLES: Mapping[str, type[CrmConfig]] = {
    "retailcrm": RetailCrmConfig,
    "uon": UonConfig,
    "moysklad": MoySkladConfig,
    "bitrix24": Bitrix24Config,
    "amocrm": AmoCrmConfig,
}


class _CrmTables:
    """Annotates a mapping as `[enterprises.crm.*]`: each table is read by the class that `CRM_TABLES` names."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        tables = {
            name: core_schema.typed_dict_field(handler.generate_schema(table), required=False)
            for name, table in CRM_TABLES.items()
        }
        return core_schema.no_info_after_validator_function(
            MappingProxyType, core_schema.typed_dict_schema(tables, extra_behavior="forbid")
        )


class Chat(Table):
    """`[[enterprises.chats]]`: a Telegram chat and the calls it is told about.

    Attributes:
        id: The chat's id; groups have negative ones.
        topic: `message_thread_id` of a forum topic, 0 for none.
        directions: Which calls, answered and missed alike.
        missed_only: Only missed calls.
        lines: Line ids; empty means all.
        agents: Only calls that these extensions placed, talked in or let ring out; empty means all.
        mask_phones: Phone numbers are hidden in this chat.
        live: Calls are shown while they go on, not only when they are over.
        quiet: Hours in which calls that begin are not told at once but together when they end, e.g. "22:00-08:00".
        badges: What is said about the customer in a line of its own.
        hashtags: A line of hashtags, for Telegram's search.
        recording: How a conversation is heard: nothing, a link on the card, or the file in the card's message.
        buttons: Below final cards stand buttons, for people who signed up.
        remind_min: Minutes after a missed call at which the chat is reminded when nobody has done anything; 0: never.
    """

    id: v.ChatId
    topic: v.TopicId = 0
    directions: tuple[v.CallDirection, ...] = ("in", "out")
    missed_only: v.Flag = False
    lines: tuple[v.LineId, ...] = ()
    agents: tuple[v.Extension, ...] = ()
    mask_phones: v.Flag = False
    live: v.Flag = True
    quiet: v.QuietHours = ""
    badges: tuple[v.Badge, ...] = ("repeated", "black_list")
    hashtags: v.Flag = False
    recording: v.RecordingMode = "link"
    buttons: v.Flag = True
    remind_min: v.TaskMinutes = 15


class Enterprise(Table):
    """`[[enterprises]]`: a company with its PBX, lines, people, CRMs and chats.

    Attributes:
        number: The key of everything that is stored.
        name: For people.
        country: ISO 3166 code; how national numbers are read.
        timezone: `load` fills in `[daemon] timezone` when the file has none.
        primary_source: Whose names win; `load` fills in the one CRM there is, else "manual".
        telegram_token: `load` fills in the token of `[telegram]` when the file has none.
        legal_forms: Handsets show them; false: «ООО Ромашка» is «Ромашка» there.
        block: Numbers, beginnings of numbers, `hidden`: who may not call, beside the black list of `customers`.
        allow: The same, of who may whatever other lists say.
        click_prefixes: Beginnings of the numbers that a click in a CRM or chat may call; empty: the country's own.
        crm: Name of the CRM -> its table.
    """

    number: v.EnterpriseNumber
    name: v.Text = ""
    country: v.Country
    timezone: v.OptionalTimezone = ""
    primary_source: v.Source = ""
    telegram_token: v.BotToken = NO_SECRET
    legal_forms: v.Flag = True
    block: tuple[v.CallerPattern, ...] = ()
    allow: tuple[v.CallerPattern, ...] = ()
    click_prefixes: tuple[v.PhonePrefix, ...] = ()
    asterisk: AsteriskConfig
    lines: tuple[Line, ...] = ()
    agents: tuple[Agent, ...] = ()
    departments: tuple[Department, ...] = ()
    crm: Annotated[Mapping[str, CrmConfig], _CrmTables()] = Field(default_factory=lambda: MappingProxyType({}))
    chats: tuple[Chat, ...] = ()


class Config(Table):
    """The whole configuration, one immutable value."""

    daemon: DaemonConfig = DaemonConfig()
    log: LogConfig = LogConfig()
    database: DatabaseConfig = DatabaseConfig()
    retention: RetentionConfig = RetentionConfig()
    fastagi: FastAgiConfig = FastAgiConfig()
    http: HttpConfig = HttpConfig()
    telegram: TelegramConfig = TelegramConfig()
    enterprises: tuple[Enterprise, ...] = ()
