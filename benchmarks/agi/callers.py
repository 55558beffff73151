"""Who calls in the benchmarks of FastAGI: everybody a customer with a row of his own."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg

from tests.support.daemon import configuration
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.protocols.agi_pbx import encode_environment

__all__ = ["CALLERS", "configured", "customers", "environments", "numbers"]

CALLERS: Final = 1000
FIRST: Final = 1_000_000

# One in three is a company's; everybody is known to a CRM and has called before.
CUSTOMERS: Final = """
INSERT INTO customers (
    enterprise_number, phone_e164, first_seen_at, last_seen_at, calls_total_in, calls_answered_in, last_call_at,
    last_call_direction, last_call_status, last_success_at, last_agent_internal, last_line, last_name, first_name,
    middle_name, enterprise_name, meta
)
SELECT
    '0901', '+37529' || n, now() - interval '90 days', now() - interval '1 day', 3, 3, now() - interval '1 day',
    'in', 'answered', now() - interval '1 day', '101', '0001701', 'Контактова', 'Анна ' || n,
    'Ивановна', CASE WHEN n % 3 = 0 THEN 'ООО Ромашка' END,
    jsonb_build_object('person_uid', 'retailcrm:' || n, 'ids', jsonb_build_object('retailcrm', ARRAY[n::text]))
FROM generate_series($1::int, $2::int) AS n
"""


def numbers() -> list[str]:
    """The callers, as a trunk delivers them."""
    return [f"37529{number}" for number in range(FIRST, FIRST + CALLERS)]


def environments() -> Iterator[bytes]:
    """What Asterisk sends for one caller after the other, and again from the first."""
    return itertools.cycle(
        encode_environment(
            {
                "network_script": "callerid",
                "request": "agi://127.0.0.1/callerid",
                "channel": f"PJSIP/gsm1-0{number[-7:]}",
                "callerid": number,
                "calleridname": number,
                "uniqueid": f"1795165024.{number[-7:]}",
                "dnid": "0001701",
                "context": "from-trunk",
                "extension": "0001701",
            },
            ("0901", "0001701"),
        )
        for number in numbers()
    )


def configured(folder: Path) -> Path:
    """A configuration with two lines, two agents and no CRM."""
    path = folder / "config.toml"
    # Of these only the lines, the agents and the limits are used.
    ports = {name: free_port() for name in ("ami_port", "agi_port", "http_port")}
    path.write_text(configuration(state_dir=folder / "state", secret="s", **ports))
    return path


async def customers(postgres: PostgresServer) -> str:
    """A database with a row for every caller; returns how to reach it."""
    await postgres.make_template()
    await postgres.run("CREATE DATABASE callers TEMPLATE vochi_template")
    dsn = postgres.dsn("callers")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(CUSTOMERS, FIRST, FIRST + CALLERS - 1)
        await connection.execute("VACUUM ANALYZE customers")
    finally:
        await connection.close()
    return dsn
