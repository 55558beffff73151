"""The day of installation: months of records that were there before us, stored at once and quietly."""

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.company import Site
from tests.support.pbx_records import cel_history

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

NAMES = ("inbound-answered", "inbound-noanswer", "outbound-answered", "attended-transfer")
ROWS = 100_000


async def test_a_hundred_thousand_rows_of_cel_are_imported_quietly(site: Site, dsn: str) -> None:
    """No card is made of calls that ended before we came, memory is bounded, and the counters are right."""
    text, rounds = cel_history(NAMES, ROWS)
    path = site.folder / "vochi.csv"
    path.write_text(text.replace("PJSIP/trunk", "PJSIP/gsm1").replace("PJSIP/101", "PJSIP/151"))
    site.configure(cel=path)

    _, small = await site.vochi_with_peak("recover", "--since", "1d")
    first, peak = await site.vochi_with_peak("recover", "--since", "2020-01-01", "--json")
    [again] = (await site.vochi("recover", "--since", "20d", "--json")).json()

    [report] = first.json()
    assert report["found"] == report["stored"] + report["known"] == rounds * len(NAMES)
    assert (again["stored"], again["corrected"]) == (0, 0)
    assert peak < small + 30
    assert await audit(dsn) == []
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT count(*) FROM cards") == 0
    await connection.close()
