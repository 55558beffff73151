"""Files that a bot sends to the sandbox Telegram, by multipart form only: what they must be like, how they are shown.

Limits: https://core.telegram.org/bots/api#sending-files and #editmessagemedia (since Bot API 7.11 a text message takes
a file, too). Error texts are those that the Bot API server sends.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.web_request import FileField

__all__ = ["MAX_CAPTION", "MAX_UPLOAD", "FileRefused", "Form", "SandboxFile", "read_form", "sent_file"]

MAX_UPLOAD: Final = 50 << 20
MAX_CAPTION: Final = 1024
KINDS: Final = ("audio", "document")
ATTACHED: Final = "attach://"
ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode


class FileRefused(Exception):
    """The text is what follows `Bad Request: `."""


@dataclass(frozen=True, slots=True)
class SandboxFile:
    """A file as it was sent.

    Attributes:
        kind: `audio` or `document`; "" until a message says.
    """

    name: str
    size: int
    digest: str
    kind: str = ""

    def as_json(self) -> dict[str, object]:
        """The Audio or Document object."""
        length = {"duration": 0} if self.kind == "audio" else {}
        known = {"file_id": f"F{self.digest}", "file_unique_id": self.digest[:16], "file_size": self.size}
        return known | {"file_name": self.name} | length


class Form(dict[str, str]):
    """The fields of a request, all as texts, and the files that came with them."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, SandboxFile]) -> None:
        super().__init__(fields)
        self.files = files


async def read_form(request: web.Request) -> Form:
    """Parameters of the query, of a form, a multipart form or JSON. Raises HTTPRequestEntityTooLarge."""
    fields: dict[str, str] = dict(request.query)
    files: dict[str, SandboxFile] = {}
    if request.content_type == "application/json":
        body: dict[str, object] = await request.json()
        fields |= {name: value if isinstance(value, str) else ENCODE(value) for name, value in body.items()}
        return Form(fields, files)
    for name, value in (await request.post()).items():
        if isinstance(value, FileField):
            content = value.file.read()
            files[name] = SandboxFile(value.filename, len(content), hashlib.sha256(content).hexdigest())
        elif isinstance(value, str):
            fields[name] = value
    return Form(fields, files)


def sent_file(form: Form) -> tuple[SandboxFile, Mapping[str, str]]:
    """What the InputMedia object of a request names, and its other fields. Raises FileRefused."""
    try:
        media = json.loads(form.get("media", ""))
    except ValueError:
        raise FileRefused("can't parse input media JSON object") from None
    if not isinstance(media, dict) or media.get("type") not in KINDS:
        raise FileRefused("input media type is invalid")
    source = str(media.get("media", ""))
    found = form.files.get(source.removeprefix(ATTACHED)) if source.startswith(ATTACHED) else None
    if found is None:
        raise FileRefused("wrong file identifier/HTTP URL specified")
    if not found.size:
        raise FileRefused("file must be non-empty")
    shown = SandboxFile(found.name, found.size, found.digest, str(media["type"]))
    return shown, {name: str(value) for name, value in media.items()}
