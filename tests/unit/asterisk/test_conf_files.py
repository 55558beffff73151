"""Asterisk's files as administrators and products write them."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vochi_agent.asterisk.conf_files import read_conf
from vochi_agent.asterisk.discover_files import discover_files
from vochi_agent.asterisk.discovery import FoundEndpoint, Kind, PbxFacts, agent_of, kinds_of, merged
from vochi_agent.config import Address

LINES = [
    *("[a]", "[a](+)", "[b](!,a)", "[", "x = 1", "=", "type = endpoint", ";--", "--;", ";"),
    *('#include "p.conf"', "#include */*", "#exec x", "[a](+type=endpoint&x)"),
]
PJSIP = """\
[phone](!)
type = endpoint
context = internal
[line](!)
type=endpoint ; a comment
context=from-trunk
[151](phone)
callerid = "Анна" <151>
[desk-7](phone)
callerid = Борис <152>
[0001701](phone)
[0001701]
type = aor
[mts](line)
outbound_auth = mts
[gw](line)
[reg]
type = registration
endpoint = office
[office](phone)
[anonymous](line)
[nobody](phone)
"""


def put(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.conf").write_text(text)
    return folder


def test_comments_of_every_kind_are_left_out(tmp_path: Path) -> None:
    text = "[a] ; one\nx = 1 ; two\n;-- three\nx = 2\n--; y = 3\n;--- an ornament\nz = a\\;b\n"
    conf = read_conf(put(tmp_path, a=text), "a.conf")

    assert [(section.name, section.options) for section in conf.sections] == [
        ("a", [("x", "1"), ("y", "3"), ("z", "a;b")])
    ]


def test_a_section_takes_over_its_templates_and_may_be_added_to(tmp_path: Path) -> None:
    text = "[t](!)\nx = 1\n[a](t)\ny => 2\n[a]\ntype = aor\n[a](+)\nx = 3\n[a](+type=aor)\nz = 4\n[b](+)\nx = lost\n"
    conf = read_conf(put(tmp_path, a=text), "a.conf")

    first, second = conf.named("a")
    assert first.options == [("x", "1"), ("y", "2"), ("x", "3")]
    assert (first.get("x"), first.all("x")) == ("3", ["1", "3"])
    assert second.options == [("type", "aor"), ("z", "4")]
    assert (conf.named("t"), conf.has("t"), conf.has("b")) == ([], True, False)


def test_included_files_are_read_and_what_cannot_be_is_noted(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.conf").write_text("y = 2\n[c]\n")
    text = '[a]\nx = 1\n#include "more/*.conf"\n#include <gone.conf>\n#tryinclude maybe.conf\n#exec /bin/rm -rf x\n'
    conf = read_conf(put(tmp_path, a=text), "a.conf")

    assert [(each.name, each.options) for each in conf.sections] == [("a", [("x", "1"), ("y", "2")]), ("c", [])]
    assert conf.unread == ["gone.conf", "#exec /bin/rm -rf x"]


def test_files_that_make_no_sense_and_circles_end(tmp_path: Path) -> None:
    put(tmp_path, a='#include "a.conf"\n[a]\n', b="[unclosed\n= \n]x[\n[\n[]\n(+)\n\0\xff")

    assert read_conf(tmp_path, "a.conf").exists
    assert read_conf(tmp_path, "b.conf").sections == []
    assert not read_conf(tmp_path, "none.conf").exists
    assert not read_conf(tmp_path / "nowhere", "a.conf").exists


def test_what_an_endpoint_is_follows_from_how_it_is_configured(tmp_path: Path) -> None:
    put(tmp_path, pjsip=PJSIP, manager="[general]\nenabled = yes\nport = 5039\nbindaddr = 0.0.0.0\n")
    facts = discover_files(tmp_path)

    assert facts is not None
    kinds = kinds_of(facts.endpoints)
    assert {name.partition("/")[2]: kind for name, kind in kinds.items()} == {
        "151": Kind.PHONE,
        "desk-7": Kind.PHONE,
        "0001701": Kind.LINE,  # a slot of a gateway registers as a telephone does
        "mts": Kind.LINE,
        "gw": Kind.LINE,  # calls enter elsewhere than those of telephones
        "office": Kind.LINE,
        "nobody": Kind.UNCLEAR,
    }
    found = {each.resource: each for each in facts.endpoints}
    assert (found["151"].name_shown, agent_of(found["151"])) == ("Анна", "151")
    assert (found["desk-7"].name_shown, agent_of(found["desk-7"])) == ("Борис", "152")
    assert (facts.ami, facts.ami_on) == (Address("127.0.0.1", 5039), True)


def test_sections_that_cannot_be_added_to_are_known(tmp_path: Path) -> None:
    put(tmp_path, manager="[general]\n", cel="[general]\nenable=yes\n", extensions="[from-trunk]\n")
    facts = discover_files(tmp_path)

    assert facts is not None
    assert facts.missing == {
        "extensions.conf/globals",
        "ari.conf/general",
        "http.conf/general",
        "cel_custom.conf/mappings",
    }
    assert (facts.cel_on, facts.http_on, facts.is_freepbx) == (True, False, False)


def test_a_folder_without_asterisk_is_none(tmp_path: Path) -> None:
    assert discover_files(tmp_path) is None
    assert discover_files(tmp_path / "nowhere") is None


def test_freepbx_a_wizard_and_chan_sip_are_recognised(tmp_path: Path) -> None:
    put(
        tmp_path,
        manager="",
        extensions_additional="",
        pjsip_wizard="[trunk]\ntype = wizard\nsends_registrations = yes\nendpoint/context = from-pstn\n",
        sip="[general]\ncontext = from-sip-external\nregister => u:p@host/0003\n[0003]\ntype=peer\nhost=dynamic\n"
        "[201]\ntype=friend\nhost=dynamic\ncontext=from-internal\n[prov]\ntype=peer\nhost=sip.example\n",
    )
    facts = discover_files(tmp_path)

    assert facts is not None
    assert facts.is_freepbx
    assert [(each.name, each.context, each.is_provider) for each in facts.endpoints] == [
        ("PJSIP/trunk", "from-pstn", True),
        ("SIP/0003", "from-sip-external", True),
        ("SIP/201", "from-internal", False),
        ("SIP/prov", "from-sip-external", True),
    ]


def test_files_count_before_what_interfaces_say() -> None:
    first = PbxFacts(endpoints=(FoundEndpoint(name="PJSIP/1", context="a"),), http_on=False, notes=("read",))
    second = PbxFacts(version="22", endpoints=(FoundEndpoint(name="PJSIP/1"), FoundEndpoint(name="PJSIP/2")))

    both = merged(first, second)

    assert [(each.name, each.context) for each in both.endpoints] == [("PJSIP/1", "a"), ("PJSIP/2", "")]
    assert (both.version, both.http_on, both.notes) == ("22", False, ("read",))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(LINES) | st.text(max_size=30),
        max_size=30,
    )
)
def test_no_text_whatsoever_is_an_error(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "p.conf").write_text("\n".join(lines), errors="replace")
    (tmp_path / "pjsip.conf").write_text("[x]\ntype = endpoint\n" + "\n".join(lines), errors="replace")

    facts = discover_files(tmp_path)

    assert facts is None or kinds_of(facts.endpoints)
