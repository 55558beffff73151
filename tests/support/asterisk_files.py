"""The files of one laboratory Asterisk: the shipped dialplan and examples unchanged, and what the tests add to them."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.ports import free_ports, free_udp_range
from tests.support.templates import fill

__all__ = ["PHONES", "SHIPPED", "AsteriskFiles", "Ports"]

CONF = Path(__file__).parent / "asterisk_conf"
SHIPPED = Path(__file__).resolve().parents[2] / "dialplan"

# Extension -> the name its user has on the PBX.
PHONES = {
    "101": "Анна Продажи",
    "102": "Борис Склад",
    "103": "Вера",
    "104": "Глеб",
    "105": "Дарья",
    "106": "Егор Секретарь",
    "107": "Жанна Секретарь",
    "108": "Зоя",
    "109": "Игорь",
    "110": "Кира",
    "111": "Лариса Секретарь",
}
# 109 is registered where nothing listens, 110 is not registered at all.
DEAD_ADDRESS, NOT_REGISTERED = "109", "110"
# Not played by sipp: see `sip_phone.py`.
TRANSFERRING = "111"

# Configuration files that Asterisk complains about when they are missing, though their defaults are all we want.
EMPTY_FILES = (
    *("acl", "aeap", "ccss", "cdr_custom", "cli", "cli_aliases", "cli_permissions", "codecs", "dnsmgr"),
    *("dsp", "extconfig", "geolocation", "pjproject", "pjsip_notify", "prometheus", "queuerules"),
    *("res_http_media_cache", "sorcery", "statsd", "udptl", "websocket_client"),
)
# A blind or attended transfer by feature code fails without these.
PROMPTS = ("beep", "beeperr", "pbx-transfer", "pbx-invalid", "pbx-parkingfailed")
ALAW_SILENCE_1S = b"\xd5" * 8000


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything of one laboratory listens, all on 127.0.0.1.

    Attributes:
        fastagi: Where the dialplan looks for instance "a"; nothing listens there until the test starts something.
        fastagi_b: The same for instance "b".
        phones: The sipp that plays all telephones.
        provider: The sipp that plays the far end of both trunks.
        nobody: Where nothing ever listens.
        secretary: The telephone that transfers calls.
        rtp: First and last port of Asterisk's sound.
    """

    sip: int
    ami: int
    http: int
    fastagi: int
    fastagi_b: int
    phones: int
    provider: int
    nobody: int
    secretary: int
    rtp: tuple[int, int]

    @classmethod
    def choose(cls) -> Self:
        """Free ones."""
        return cls(*free_ports(9), free_udp_range(400))


@dataclass(frozen=True, slots=True)
class AsteriskFiles:
    """What the files of an instance depend on, and how they are written.

    Attributes:
        home: Its folder.
        root: The unpacked Asterisk.
        secret: The password of every user.
        send_pai: Whether telephones get a P-Asserted-Identity.
    """

    home: Path
    root: Path
    ports: Ports
    secret: str
    send_pai: bool

    def write(self) -> None:
        """Make the folder ready for the first start."""
        folders = ("etc", "run", "lib", "cache", "spool/monitor", "spool/outgoing", "log/cdr-csv", "log/cel-custom")
        for folder in (*folders, "moh", "data/sounds/en"):
            (self.home / folder).mkdir(parents=True)
        (self.home / "moh" / "silence.alaw").write_bytes(ALAW_SILENCE_1S)
        for prompt in PROMPTS:
            (self.home / "data" / "sounds" / "en" / f"{prompt}.alaw").write_bytes(ALAW_SILENCE_1S[:2000])
        for shared in (self.root / "usr" / "share" / "asterisk").iterdir():
            if shared.name != "sounds":
                (self.home / "data" / shared.name).symlink_to(shared)
        self._write_configuration(self.home / "etc")

    def _write_configuration(self, etc: Path) -> None:
        for name in EMPTY_FILES:
            (etc / f"{name}.conf").write_text("; the defaults\n")
        for pattern in ("*.conf", "*.example"):
            for shipped in SHIPPED.glob(pattern):
                shutil.copy(shipped, etc)
        values = self._values()
        for path in CONF.glob("*.conf"):
            if path.name != "pjsip_phone.conf":
                (etc / path.name).write_text(fill(path.read_text(), values))
        modules = etc / "modules.conf"
        modules.write_text("".join(line for line in modules.read_text().splitlines(keepends=True) if self._has(line)))

    def _values(self) -> dict[str, str]:
        ports = self.ports
        return {
            "HOME": str(self.home),
            "MODULES": str(self.modules),
            "SECRET": self.secret,
            "SEND_PAI": "yes" if self.send_pai else "no",
            "SIP_PORT": str(ports.sip),
            "AMI_PORT": str(ports.ami),
            "HTTP_PORT": str(ports.http),
            "PROVIDER_PORT": str(ports.provider),
            "RTP_FIRST": str(ports.rtp[0]),
            "RTP_LAST": str(ports.rtp[1]),
            "FASTAGI_A": f"127.0.0.1:{ports.fastagi}",
            "FASTAGI_B": f"127.0.0.1:{ports.fastagi_b}",
            "PHONES": "".join(self._phone(extension, name) for extension, name in PHONES.items()),
        }

    def _phone(self, extension: str, name: str) -> str:
        elsewhere = {DEAD_ADDRESS: self.ports.nobody, TRANSFERRING: self.ports.secretary}
        port = elsewhere.get(extension, self.ports.phones)
        contact = "; not registered" if extension == NOT_REGISTERED else f"contact = sip:{extension}@127.0.0.1:{port}"
        values = {"EXTENSION": extension, "NAME": name, "CONTACT": contact}
        return fill((CONF / "pjsip_phone.conf").read_text(), values)

    @property
    def modules(self) -> Path:
        """The folder of Asterisk's modules."""
        return next(iter(self.root.glob("usr/lib/**/asterisk/modules")))

    def _has(self, line: str) -> bool:
        """Whether this version has the module that a line of modules.conf loads."""
        return not line.startswith("load = ") or (self.modules / line.removeprefix("load = ").strip()).exists()
