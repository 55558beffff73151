"""TOML -> one immutable, typed `Config`, or every mistake at once.

`load` reads the file, `conf.d/*.toml` beside it and the secret files they name. Nothing else in the package reads
the configuration, a secret or the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr, ValidationError

from vochi_agent.config.checks import check_agreement
from vochi_agent.config.credentials import places_of_secrets, read_secrets, secret_values
from vochi_agent.config.document import Document, KeyPath
from vochi_agent.config.environment import ami_secret, default_path, notify_socket, watchdog_interval_s
from vochi_agent.config.problems import report
from vochi_agent.config.restarts import waiting_for_restart
from vochi_agent.config.tables import (
    CRM_TABLES,
    Agent,
    AmoCrmConfig,
    AsteriskConfig,
    Bitrix24Config,
    Chat,
    Config,
    CrmConfig,
    DaemonConfig,
    DatabaseConfig,
    Department,
    Enterprise,
    FastAgiConfig,
    HttpConfig,
    Line,
    LogConfig,
    MoySkladConfig,
    RetailCrmConfig,
    RetentionConfig,
    TelegramConfig,
    UonConfig,
)
from vochi_agent.config.values import Address, Network
from vochi_agent.errors import ConfigError

__all__ = [
    "CRM_TABLES",
    "Address",
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
    "Network",
    "RetailCrmConfig",
    "RetentionConfig",
    "SecretStr",
    "TelegramConfig",
    "UonConfig",
    "ami_secret",
    "default_path",
    "load",
    "notify_socket",
    "secret_values",
    "waiting_for_restart",
    "watchdog_interval_s",
]


def load(path: Path | None = None) -> Config:
    """Read the configuration.

    Args:
        path: The main file; None means `default_path()`.

    Raises:
        ConfigError: with one sentence for every mistake found.
    """
    document = Document(path or default_path())
    document.read()
    complete = not document.problems
    failed_secrets = read_secrets(document, places_of_secrets(document.file.parent))
    config = _validated(document, failed_secrets, complete=complete)
    if complete:  # what a table refers to may stand in the file that could not be read
        check_agreement(document, failed_secrets=failed_secrets)
    if document.problems or config is None:
        raise ConfigError(document.problems)
    return _with_inherited(config)


def _validated(document: Document, failed_secrets: frozenset[KeyPath], *, complete: bool) -> Config | None:
    try:
        return Config.model_validate(document.tables)
    except ValidationError as error:
        report(document, error, ignore=failed_secrets, complete=complete)
    return None


def _with_inherited(config: Config) -> Config:
    """Fill in what an enterprise takes over from elsewhere when its own table is silent."""
    enterprises = tuple(
        enterprise.model_copy(
            update={
                "timezone": enterprise.timezone or config.daemon.timezone,
                "crm": _with_timezone(enterprise.crm, enterprise.timezone or config.daemon.timezone),
                "primary_source": enterprise.primary_source or next(iter(enterprise.crm), "manual"),
                "telegram_token": enterprise.telegram_token or config.telegram.token,
            }
        )
        for enterprise in config.enterprises
    )
    return config.model_copy(update={"enterprises": enterprises})


def _with_timezone(crms: Mapping[str, CrmConfig], timezone: str) -> Mapping[str, CrmConfig]:
    """The tables of CRMs whose times carry no zone, with one."""
    return MappingProxyType(
        {
            name: table.model_copy(update={"timezone": table.timezone or timezone})
            if isinstance(table, RetailCrmConfig | UonConfig)
            else table
            for name, table in crms.items()
        }
    )
