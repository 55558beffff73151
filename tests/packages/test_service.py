"""The Debian package on a Debian of its own, whose systemd runs the service under the very limits of its unit.

The PBX, the CRM and Telegram are servers of the test, on the loopback that both share. One thing is not felt here but
read: shares and limits of processor and memory, where the kernel gives the machine's cgroups no controllers.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.daemon import ask
from tests.support.machine import Machine
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.required import machine
from vochi_agent.simulator import company
from vochi_agent.simulator.pbx import CallerIdSubroutine, Pbx, User
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox

pytestmark = pytest.mark.timeout(600)  # with what has to be fetched and built first

UNIT = "vochi-agent.service"
FOLDER = "/etc/vochi-agent"
CONFIG = f"{FOLDER}/config.toml"
SECOND_CHAT = company.CHAT_ID + 1
OCI = Path(__file__).parents[2] / "packaging/oci"
CEL = "/var/log/asterisk/cel-custom/vochi.csv"
# The servers of the company live in the loop of their fixture.
in_one_loop = pytest.mark.asyncio(loop_scope="module")
at_length = pytest.mark.skipif(os.getenv("VOCHI_PACKAGES") != "1", reason="make packages")


@pytest.fixture(scope="module")
def debian(package: Path) -> Iterator[Machine]:
    """A machine that has Asterisk's group and files, and then the package."""
    with machine({package.parent: "/dist"}) as debian:
        debian.run("groupadd", "--system", "asterisk")
        debian.run("install", "-d", "-m", "750", "-g", "asterisk", str(Path(CEL).parents[1]), str(Path(CEL).parent))
        debian.run("install", "-m", "640", "-g", "asterisk", "/dev/null", CEL)
        installed = debian.run("dpkg", "--install", f"/dist/{package.name}")
        assert "starts once there is" in installed.stderr
        yield debian


def inside(debian: Machine, command: str) -> str:
    """What a shell command of root says."""
    return debian.run("sh", "-c", command).stdout.strip()


def modes(debian: Machine, *paths: str) -> list[str]:
    return inside(debian, f"stat --format='%a %U:%G' {' '.join(paths)}").splitlines()


def test_the_package_makes_the_user_and_the_folders(debian: Machine) -> None:
    assert "asterisk" in inside(debian, "id --name --groups vochi-agent").split()
    folders = modes(debian, FOLDER, f"{FOLDER}/conf.d", f"{FOLDER}/secrets", "/var/lib/vochi-agent")
    assert folders == [*["2750 root:vochi-agent"] * 2, "700 root:root", "700 vochi-agent:vochi-agent"]


def test_before_there_is_a_configuration_the_service_waits_without_complaint(debian: Machine) -> None:
    debian.run("systemctl", "start", UNIT)

    assert debian.property(UNIT, "ActiveState") == "inactive"
    assert debian.property(UNIT, "ConditionResult") == "no"
    assert inside(debian, f"systemctl is-enabled {UNIT}") == "enabled"


def test_the_program_knows_nothing_of_the_folder_where_it_was_built(debian: Machine) -> None:
    assert inside(debian, "vochi-agent --version").startswith("vochi-agent 0.")
    assert inside(debian, "cat /usr/lib/vochi-agent/pyvenv.cfg | grep -c /tmp || true") == "0"
    assert (
        inside(debian, "grep -rlIE '/tmp/tmp\\.|/root/usr/lib' /usr/lib/vochi-agent /usr/bin/vochi-agent || true") == ""
    )


def test_the_manual_page_and_every_completion_know_every_command(debian: Machine) -> None:
    commands = set(re.findall(r"^    ([a-z-]+)  ", inside(debian, "vochi-agent --help"), re.MULTILINE))
    assert {"run", "doctor", "call-out"} <= commands
    page = inside(debian, "zcat /usr/share/man/man1/vochi-agent.1.gz").replace("\\-", "-")
    assert not {name for name in commands if f"vochi-agent {name}" not in page}
    for file in (
        "bash-completion/completions/vochi-agent",
        "zsh/vendor-completions/_vochi-agent",
        "fish/vendor_completions.d/vochi-agent.fish",
    ):
        script = inside(debian, f"cat /usr/share/{file}")
        assert not {name for name in commands if name not in script}, file
    debian.run("bash", "-n", "/usr/share/bash-completion/completions/vochi-agent")


def test_the_licences_of_all_libraries_are_listed(debian: Machine) -> None:
    listed = inside(debian, "cat /usr/share/doc/vochi-agent/copyright")

    shipped = inside(debian, "ls -d /usr/lib/vochi-agent/lib/python3.*/site-packages/*.dist-info").splitlines()
    names = {Path(path).name.split("-")[0].lower().replace("_", "-") for path in shipped} - {"vochi-agent"}
    assert len(names) > 30
    assert not {name for name in names if name not in listed.lower().replace("_", "-")}


@dataclass
class Office:
    """The far ends of the service, and what its handsets show."""

    debian: Machine
    pbx: Pbx
    telegram: TelegramSandbox
    agi_port: int
    configuration: str

    async def inside(self, command: str) -> str:
        """Beside the servers, which go on meanwhile."""
        return await asyncio.to_thread(inside, self.debian, command)

    async def fails(self, command: str) -> str:
        """What a command says that has to fail."""
        done = await asyncio.to_thread(self.debian.run, "sh", "-c", command, check=False)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    async def upgrade(self) -> str:
        """Install the package over itself, which to its scripts is every upgrade; what they say."""
        return await self.inside("dpkg --install /dist/*.deb 2>&1")

    async def call(self, *, talk_s: float) -> None:
        """A customer calls and 151 talks with him."""
        await self.pbx.inbound(
            trunk=company.TRUNK, did="0001701", caller="80290000022", ring=["151"], answer="151", talk_s=talk_s
        )

    async def write(self, configuration: str) -> None:
        """As root does with an editor."""
        await asyncio.to_thread(self.debian.write, CONFIG, configuration)

    async def property(self, name: str) -> str:
        """What systemd knows of the service."""
        return await asyncio.to_thread(self.debian.property, UNIT, name)

    def shows(self, expected: str) -> Callable[[], Awaitable[bool]]:
        """Whether that is what the phones would show of a stranger."""

        async def shown() -> bool:
            try:
                variables, _ = await ask(self.agi_port, "375290000011")
            except OSError:
                return False
            return variables.get("CALLERID(name)") == expected

        return shown

    def was_told(self, chat: int, piece: str) -> Callable[[], Awaitable[bool]]:
        """Whether a chat has a card with these words."""

        async def told() -> bool:
            return any(piece in message.text for message in self.telegram.messages(chat))

        return told

    def has_another_process_than(self, before: str) -> Callable[[], Awaitable[bool]]:
        """Whether the service runs again."""

        async def another() -> bool:
            return await self.property("MainPID") not in {before, "0"}

        return another

    async def until_watching(self) -> None:
        """Return when `systemctl status` says so in words."""

        async def watching() -> bool:
            return await self.property("StatusText") == "watching calls"

        await until(watching, within=60)

    async def ledger(self, count: int) -> list[dict[str, object]]:
        """The calls, newest first, once there are so many."""
        calls: list[dict[str, object]] = []

        async def there() -> bool:
            calls[:] = json.loads(await self.inside("vochi-agent calls --json"))
            return len(calls) >= count

        await until(there, within=30)
        return calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(debian: Machine) -> AsyncIterator[Office]:
    """Write the configuration and the secrets, start the service, wait until it watches calls; stop it at the end."""
    async with (
        RetailCrmSandbox(api_key=company.API_KEY) as crm,
        TelegramSandbox(token=company.BOT_TOKEN) as telegram,
        Pbx(phones=company.PHONES, trunks=[company.TRUNK], users={"vochi": User(secret=company.AMI_SECRET)}) as pbx,
    ):
        company.fill(crm)
        telegram.add_chat(company.CHAT_ID, title="Директор")
        telegram.add_chat(SECOND_CHAT, title="Бухгалтер")
        agi_port = free_port()
        configuration = company.configuration(
            state_dir="/var/lib/vochi-agent",
            ami_port=pbx.manager.port,
            crm_url=crm.url,
            telegram_url=telegram.url,
            agi_port=agi_port,
            http_port=free_port(),
        ).replace(f'ami_secret = "{company.AMI_SECRET}"', f'ami_secret_file = "ami-secret"\n  cel = "{CEL}"')
        await asyncio.to_thread(debian.write, f"{FOLDER}/secrets/ami-secret", company.AMI_SECRET + "\n", 0o600)
        office = Office(debian, pbx, telegram, agi_port, configuration)
        await office.write(configuration)
        await office.inside(f"systemctl start {UNIT}")
        pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=agi_port)
        await office.until_watching()
        yield office


@in_one_loop
async def test_the_service_names_callers_and_keeps_their_calls(here: Office) -> None:
    """Through real sockets: the name on the handset, the card, the row in its own PostgreSQL."""

    async def alive() -> bool:
        return "VOCHI_ALIVE_a" in here.pbx.switch.variables

    await until(alive, within=30)
    await here.call(talk_s=2)

    assert {shown.name for shown in here.pbx.displays} == {"Тестов Тест | МТС Центр | Салон 1"}
    call = (await here.ledger(1))[0]
    assert (call["status"], call["phone"], call["last_agent"]) == ("answered", "+375290000022", "151")
    await until(here.was_told(company.CHAT_ID, "Тестов Тест"), within=60)


@in_one_loop
async def test_it_runs_under_the_limits_of_its_unit(here: Office) -> None:
    """What the kernel says of the running process."""
    pid = await here.property("MainPID")
    status = dict(line.split(":\t", 1) for line in (await here.inside(f"cat /proc/{pid}/status")).splitlines())

    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert await here.inside(f"stat --format=%U /proc/{pid}") == "vochi-agent"
    assert await here.inside(f"cut -d' ' -f19 /proc/{pid}/stat") == "5"  # proc(5): its nice value
    assert await here.inside(f"cat /proc/{pid}/oom_score_adj") == "500"
    limits = [await here.property(name) for name in ("CPUWeight", "IOWeight", "MemoryHigh", "MemoryMax", "TasksMax")]
    assert limits == ["50", "50", str(512 << 20), str(1 << 30), "256"]
    cores = await here.inside(f"grep 'Max core file size' /proc/{pid}/limits")
    assert cores.split()[4:6] == ["0", "0"]  # of what is in memory, secrets and numbers, nothing comes on a disk


@in_one_loop
async def test_where_it_stands_nothing_can_be_written_but_its_own_folder(here: Office) -> None:
    """Not even by root, in the service's view of the machine."""
    there = f"nsenter --target {await here.property('MainPID')} --mount --"

    await here.fails(f"{there} touch /usr/x")
    await here.fails(f"{there} touch {FOLDER}/x")
    await here.inside(f"{there} touch /var/lib/vochi-agent/x && rm /var/lib/vochi-agent/x")
    assert await here.inside(f"{there} find /home /root /tmp -mindepth 1") == ""
    assert await here.inside(f"{there} ls /dev | grep -cE '^(sd|vd|mem|kmsg)' || true") == "0"
    assert await here.inside("ls /run/credentials/vochi-agent.service") == "secrets_ami-secret"


@in_one_loop
async def test_a_reload_drops_no_call_and_a_broken_configuration_changes_nothing(here: Office) -> None:
    before, known = await here.property("MainPID"), len(await here.ledger(0))
    good = here.configuration.replace("МТС Центр", "A1 Центр").replace("Второй Агент", "Новый Агент")
    good += f"[[enterprises.chats]]\nid = {SECOND_CHAT}\n"
    talking = asyncio.create_task(here.call(talk_s=8))

    await here.write(good)
    await here.inside(f"systemctl reload {UNIT}")
    await until(here.shows("A1 Центр | Салон 1"), within=10)
    await here.write(good.replace("label", "labell"))
    await here.fails(f"systemctl reload {UNIT}")

    assert not talking.done()
    assert await here.shows("A1 Центр | Салон 1")()
    journal = await here.inside(f"journalctl --unit {UNIT} --no-pager --output=cat --lines=20")
    assert "labell is not a known key; did you mean label?" in journal
    await here.write(good)
    await talking
    newest = (await here.ledger(known + 1))[0]
    assert (newest["status"], newest["partial"]) == ("answered", False)
    await until(here.was_told(SECOND_CHAT, "Новый Агент (151)"), within=60)
    assert await here.property("MainPID") == before


@in_one_loop
async def test_an_upgrade_that_does_not_take_the_configuration_leaves_the_old_program_running(here: Office) -> None:
    """And dpkg content."""
    await here.write(here.configuration)
    await here.inside(f"systemctl reload {UNIT}")
    await until(here.shows("МТС Центр | Салон 1"), within=10)
    before = await here.property("MainPID")
    await here.write(here.configuration.replace("label", "labell"))

    said = await here.upgrade()

    assert "labell is not a known key" in said
    assert "The old program goes on" in said
    assert await here.property("MainPID") == before
    assert await here.shows("МТС Центр | Салон 1")()
    assert await here.inside("dpkg --audit") == ""


@in_one_loop
async def test_an_upgrade_keeps_what_was_changed_and_restarts_what_ran(here: Office) -> None:
    before = await here.property("MainPID")
    await here.write(here.configuration.replace("МТС Центр", "МТС Второй"))
    await here.inside(f"gpasswd --delete vochi-agent asterisk; chmod 2770 {FOLDER}")

    await here.upgrade()

    await until(here.shows("МТС Второй | Салон 1"), within=60)
    assert await here.property("MainPID") != before
    assert await here.inside(f"stat --format=%a {FOLDER}") == "2770"
    assert "asterisk" not in (await here.inside("id --name --groups vochi-agent")).split()
    await here.inside(f"adduser --quiet vochi-agent asterisk; chmod 2750 {FOLDER}; systemctl restart {UNIT}")


@in_one_loop
async def test_killed_it_comes_back_and_reads_what_it_missed_as_one_of_asterisks_group(here: Office) -> None:
    await here.until_watching()
    before = await here.property("MainPID")

    await here.inside(f"systemctl kill --signal=KILL {UNIT}")

    await until(here.has_another_process_than(before), within=30)

    async def closed() -> bool:
        journal = f"journalctl --no-pager --output=cat _PID={await here.property('MainPID')}"
        return "Closed a gap of" in await here.inside(journal)

    await until(closed, within=60)
    assert int(await here.property("NRestarts")) >= 1


@at_length
@in_one_loop
async def test_a_frozen_daemon_is_ended_by_the_watchdog(here: Office) -> None:
    """Within two seconds instead of thirty."""
    quick = f"/run/systemd/system/{UNIT}.d"
    await here.inside(f"mkdir -p {quick} && printf '[Service]\nWatchdogSec=2\n' >{quick}/quick.conf")
    await here.inside(f"systemctl daemon-reload && systemctl restart {UNIT}")
    before = await here.property("MainPID")

    await here.inside(f"systemctl kill --kill-who=main --signal=STOP {UNIT}")

    await until(here.has_another_process_than(before), within=60)
    assert "watchdog" in await here.inside(f"journalctl --unit {UNIT} --no-pager --output=cat --grep=watchdog")
    await here.inside(f"rm -r {quick} && systemctl daemon-reload")


@at_length
@in_one_loop
async def test_an_upgrade_does_not_start_what_did_not_run(here: Office) -> None:
    await here.inside(f"systemctl stop {UNIT}")

    await here.upgrade()

    assert await here.property("ActiveState") == "inactive"


def image() -> dict[str, str]:
    """What the Containerfile says of the image that it makes: instruction -> the rest of its line."""
    lines = re.sub(r"\\\n\s*", " ", (OCI / "Containerfile").read_text()).rpartition("\nFROM ")[2].splitlines()[1:]
    return {word: rest for word, _, rest in (line.partition(" ") for line in lines)}


@in_one_loop
async def test_what_the_image_runs_runs_within_what_the_compose_file_leaves_it(here: Office) -> None:
    """User, environment, program, health check and signal; how its layers come about nothing but an engine shows."""
    made, compose = image(), (OCI / "compose.yaml").read_text()
    program = " ".join([*json.loads(made["ENTRYPOINT"]), *json.loads(made["CMD"])])
    assert all(limit in compose for limit in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"))
    within = f"--reuid {made['USER']} --regid {made['USER']} --clear-groups --no-new-privs --bounding-set -all"
    as_it = f"exec setpriv {within} --inh-caps -all env {made['ENV']}"
    start = f"""
        mount --bind {made["VOLUME"]} {made["VOLUME"]}
        mount -o remount,bind,ro /
        echo $$ >/run/image.pid
        {as_it} {program}
    """
    await here.inside(f"systemctl stop {UNIT} && install -D -m 444 {FOLDER}/secrets/ami-secret /run/secrets/ami-secret")
    await here.write(here.configuration)
    health = made["HEALTHCHECK"].partition("CMD ")[2]
    assert await here.fails(f"{as_it} sh -c '{health}'")

    alone = f"unshare --mount sh -euc '{start}' >/run/image.log 2>&1"
    await here.inside(f"({alone}; echo $? >/run/image.code) </dev/null >/dev/null 2>&1 &")

    await until(here.shows("МТС Центр | Салон 1"), within=60)
    await here.inside(f"{as_it} sh -c '{health}'")
    await here.inside(f"kill -s {made['STOPSIGNAL'].removeprefix('SIG')} $(cat /run/image.pid)")

    async def ended() -> bool:
        return await here.inside("cat /run/image.code 2>/dev/null || true") == "0"

    await until(ended, within=float(re.findall(r"stop_grace_period: (\d+)s", compose)[0]))
    await here.inside(f"systemctl start {UNIT}")


@in_one_loop
async def test_purge_takes_the_configuration_and_leaves_the_database(here: Office) -> None:
    """The last of these tests: the machine has no package afterwards."""
    database = "test -e /var/lib/vochi-agent/postgres/data/PG_VERSION && getent passwd vochi-agent"
    await here.inside(database)
    await here.inside(f"dpkg --remove vochi-agent && test -e {FOLDER}/secrets/ami-secret")
    await here.upgrade()
    assert await here.property("ActiveState") == "active", "who comes back has not been stopped by anybody"
    await here.inside("dpkg --remove vochi-agent")

    said = await here.inside("dpkg --purge vochi-agent 2>&1")

    assert "left in place: /var/lib/vochi-agent" in said
    await here.inside(database)
    assert await here.inside("find /etc /usr /run/systemd -path '*vochi*'") == ""
