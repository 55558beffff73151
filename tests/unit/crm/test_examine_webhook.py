from vochi_agent.config.tables import CrmConfig, RetailCrmConfig, UonConfig
from vochi_agent.crm.examine import examine_webhook
from vochi_agent.diagnosis import Finding, Level


def found(name: str, config: CrmConfig, public_url: str = "") -> list[Finding]:
    return examine_webhook("0901", name, config, public_url)


def test_without_a_webhook_uon_tells_nothing_and_retailcrm_is_looked_at() -> None:
    (warned,) = found("uon", UonConfig(api_key="k"))
    retailcrm = RetailCrmConfig(url="https://x.example", api_key="k")
    (unlooked,) = found("retailcrm", retailcrm.model_copy(update={"history_s": 0.0}))

    assert [each.level for each in (warned, unlooked)] == [Level.WARNING] * 2
    assert "docs/uon.md" in warned.cure
    assert found("retailcrm", retailcrm) == []
    assert found("moysklad", CrmConfig(url="https://x.example")) == []


def test_the_address_of_a_webhook_is_told_without_its_secret() -> None:
    config = UonConfig(api_key="k", webhook_secret="Hook-1", subdomain="demo")

    (unseen,) = found("uon", config, "https://pbx.example/vochi/")

    assert unseen.level is Level.UNKNOWN
    assert unseen.cure.endswith("https://pbx.example/vochi/webhooks/0901/uon/<webhook_secret>")


def test_an_account_that_is_not_named_cannot_be_told_from_another() -> None:
    levels = [each.level for each in found("uon", UonConfig(api_key="k", webhook_secret="Hook-1"))]

    assert levels == [Level.UNKNOWN, Level.WARNING]
