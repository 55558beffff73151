"""The texts that `init` writes: the configuration, and a plain word on what to do with the files for Asterisk. Pure."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vochi_agent.asterisk.discovery import PbxFacts

from .init_answers import Answers, CrmAnswer

__all__ = ["DEFAULT_FASTAGI", "README", "Plan", "configuration", "readme"]

README: Final = "README.txt"
DEFAULT_FASTAGI: Final = "127.0.0.1:4577"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to be written, and for which PBX.

    Attributes:
        flavour: Of the files for Asterisk, as `dialplan print` has them.
        is_local: The PBX is on this machine.
        ami: As the configuration names it, `127.0.0.1:5038`.
        ari: Its REST interface, "" for none.
        fastagi: Where we listen for it.
        pbx_address: Its own, for `fastagi.allow`; "" when it is here.
        asterisk_folder: Where its own files are.
        snippets: Where ours for it go.
        command: How vochi-agent is called with this configuration.
    """

    answers: Answers
    pbx: PbxFacts
    flavour: str
    is_local: bool
    ami: str
    ari: str
    fastagi: str
    pbx_address: str
    asterisk_folder: Path
    snippets: Path
    command: str


def configuration(plan: Plan) -> str:
    """The file as people go on with it."""
    lines = [*_head(plan), *_enterprise(plan), *_lines(plan), *_agents(plan), *_crm(plan.answers.crm), *_chats(plan)]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A TOML string; of one line, as every answer is."""
    return json.dumps(text, ensure_ascii=False)


def _head(plan: Plan) -> Iterator[str]:
    yield "# Written by `vochi-agent init`. Every other key with its default stands in config.example.toml;"
    yield "# `vochi-agent check --explain KEY` says what one means. After a change: `vochi-agent check`."
    for sentence in (*plan.pbx.notes, *plan.answers.left_open):
        yield f"# {sentence}"
    yield ""
    yield "[daemon]"
    yield f"timezone = {_text(plan.answers.timezone)}"
    if plan.fastagi != DEFAULT_FASTAGI:
        yield ""
        yield "[fastagi]"
        yield f"listen = {_text(plan.fastagi)}"
    if plan.pbx_address:
        yield f'allow = ["127.0.0.0/8", "::1/128", {_text(plan.pbx_address)}]'
    if plan.answers.token:
        yield ""
        yield "[telegram]"
        yield 'token_file = "telegram-token"'


def _enterprise(plan: Plan) -> Iterator[str]:
    yield ""
    yield "[[enterprises]]"
    yield f"number = {_text(plan.answers.number)}"
    if plan.answers.name:
        yield f"name = {_text(plan.answers.name)}"
    yield f"country = {_text(plan.answers.country)}"
    yield ""
    yield "  [enterprises.asterisk]"
    yield f"  ami = {_text(plan.ami)}"
    yield '  ami_username = "vochi"'
    yield '  ami_secret_file = "ami-secret"'
    if plan.ari:
        yield f"  ari = {_text(plan.ari)}"
        yield '  ari_username = "vochi"'
        yield '  ari_password_file = "ari-password"'
    else:
        yield "  # Its web server is off or not known: no click to call and no listening. docs/ari.md"
        yield '  #ari = "http://127.0.0.1:8088"'
    if plan.is_local and not plan.pbx.is_freepbx:
        yield f"  cel = {_text(plan.pbx.log_folder + '/cel-custom/vochi.csv')}"
    else:
        yield "  # Where CEL is written, from which calls of an outage are recovered: a file, postgresql://... or mysql://..."
        yield '  #cel = ""'
    if plan.is_local and plan.pbx.spool_folder:
        yield f"  recordings = {_text(plan.pbx.spool_folder + '/monitor')}"


def _lines(plan: Plan) -> Iterator[str]:
    if not plan.answers.lines:
        yield ""
        yield "  # No line was found: without one no call has a customer."
        yield "  #[[enterprises.lines]]"
        yield '  #id = "gsm1"'
        yield '  #endpoint = "PJSIP/gsm1"'
    for line in plan.answers.lines:
        yield ""
        yield "  [[enterprises.lines]]"
        yield f"  id = {_text(line.endpoint.partition('/')[2])}"
        yield f"  endpoint = {_text(line.endpoint)}"
        if line.label:
            yield f"  label = {_text(line.label)}"
            yield '  caller_name = ["customer", "line"]'
    if plan.answers.lines:
        yield "  # How a line writes who calls is not known before one does: number_rule, when `lookup` reads it wrong."


def _agents(plan: Plan) -> Iterator[str]:
    for phone in plan.answers.phones:
        yield ""
        yield "  [[enterprises.agents]]"
        yield f"  extension = {_text(phone.extension)}"
        if phone.name:
            yield f"  name = {_text(phone.name)}"
        if phone.endpoint != f"PJSIP/{phone.extension}":
            yield f"  endpoint = {_text(phone.endpoint)}"


def _crm(crm: CrmAnswer | None) -> Iterator[str]:
    yield ""
    if crm is None:
        yield "  # A CRM: docs/retailcrm.md, uon.md, moysklad.md, bitrix24.md, amocrm.md"
        yield "  #[enterprises.crm.retailcrm]"
        return
    yield f"  [enterprises.crm.{crm.name}]"
    if crm.url:
        yield f"  url = {_text(crm.url)}"
    if crm.user_id:
        yield f"  user_id = {_text(crm.user_id)}"
    yield f'  api_key_file = "{crm.name}-key"'


def _chats(plan: Plan) -> Iterator[str]:
    yield ""
    if plan.answers.chat is None:
        yield "  # A Telegram chat that is told of calls: docs/telegram.md"
        yield "  #[[enterprises.chats]]"
        return
    yield "  [[enterprises.chats]]"
    yield f"  id = {plan.answers.chat}"


# ---------------------------------------------------------------- what to do in Asterisk


def readme(plan: Plan, files: Sequence[str]) -> str:
    """A plain word on where each file goes; indented lines are commands."""
    steps = {"own": _own_steps, "freepbx": _freepbx_steps, "mikopbx": _mikopbx_steps, "plain": _plain_steps}
    version = f"Asterisk {plan.pbx.version}" if plan.pbx.version else "your Asterisk"
    head = [
        f"Files for {version}, enterprise {plan.answers.number}. Nothing here is in use until you have done these",
        "steps, as root on the machine of the PBX. Indented lines are commands. The secrets in vochi-*-secret.conf and",
        "vochi-*-password.conf are those of ami-secret and ari-password beside the configuration.",
        "",
    ]
    return "\n".join([*head, *steps[plan.flavour](plan, files)]) + "\n"


def _own_steps(plan: Plan, files: Sequence[str]) -> Iterator[str]:
    etc, snippets = shlex.quote(str(plan.asterisk_folder)), shlex.quote(str(plan.snippets))
    before = shlex.quote(f"{plan.asterisk_folder}.before-vochi")
    yield "1. Keep what you have:"
    yield f"    cp -a {etc} {before}"
    yield ""
    yield "2. Copy the files; only Asterisk may read them:"
    yield f"    cd {snippets} && install -m 640 *.conf {etc}/"
    yield f"    cd {snippets} && for file in *.conf; do chown --reference={etc} {etc}/$file; done"
    yield ""
    yield "3. Let your own files include them, each at its end. Nothing that stands there is changed:"
    for name in files:
        if name.endswith("_vochi.conf"):
            into = f"{name.removesuffix('_vochi.conf')}.conf"
            yield f"    printf '\\n#include \"{name}\"\\n' >> {etc}/{into}"
    yield ""
    yield "   extensions: asks vochi-agent, then goes on in your dialplan. pjsip: sends calls of the lines there first."
    yield "   manager, ari: our users. cel, cel_custom: what calls of an outage are recovered from."
    yield ""
    yield "4. Let Asterisk read them; calls go on. (cel_custom does not load by itself while it has nothing to write.)"
    yield "    asterisk -rx 'core reload'"
    yield "    asterisk -rx 'module load cel_custom.so'"
    yield ""
    yield "5. Start vochi-agent, then see what is missing:"
    yield f"    {plan.command} doctor"
    yield ""
    yield f"The way back: take the #include lines out again, or put {before} back; then core reload."


def _plain_steps(plan: Plan, _files: Sequence[str]) -> Iterator[str]:
    yield "A whole dialplan for a PBX that has none: docs/dialplan.md, Plain Asterisk, steps 2 to 6. The files of"
    yield f"step 1 are in {plan.snippets}, the secrets of step 5 too."


def _freepbx_steps(plan: Plan, files: Sequence[str]) -> Iterator[str]:
    etc, snippets = shlex.quote(str(plan.asterisk_folder)), shlex.quote(str(plan.snippets))
    custom = [name for name in files if name.endswith("_custom.conf")]
    yield "1. Keep what you have:"
    yield f"    cp -a {etc} {shlex.quote(f'{plan.asterisk_folder}.before-vochi')}"
    yield ""
    yield "2. Copy what is ours alone:"
    for name in files:
        if name not in custom:
            yield f"    cp {snippets}/{name} {etc}/ && chown --reference={etc} {etc}/{name} && chmod 640 {etc}/{name}"
    yield ""
    yield "3. Add the others to the files of the same names, which FreePBX never overwrites:"
    yield f"    printf '[general](+)\\ntimestampevents = yes\\n' >> {etc}/manager_custom.conf"
    for name in custom:
        yield f"    cat {snippets}/{name} >> {etc}/{name}"
    yield ""
    yield "4. fwconsole reload"
    yield ""
    yield "5. By hand: Connectivity, Trunks, each trunk, pjsip Settings, Advanced: Context from-pstn-vochi;"
    yield "   Apply Config. In Inbound Routes leave CID Lookup Source at None, or it replaces our name."
    yield "   CEL: set asterisk.cel to the MariaDB of FreePBX (mysql://.../asteriskcdrdb). docs/dialplan.md"


def _mikopbx_steps(plan: Plan, _files: Sequence[str]) -> Iterator[str]:
    yield "docs/dialplan.md, MikoPBX. Its step 2: the AMI user vochi with the secret of ami-secret beside the"
    yield "configuration, read call, agent, user, dialplan, system, write call, reporting. Its step 3: the text is"
    yield f"{plan.snippets / 'extensions.conf'}."
