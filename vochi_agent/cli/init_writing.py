"""How `init` writes: everything or nothing, nothing over what is there, secrets for their owner alone."""

import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vochi_agent.asterisk.packs import render
from vochi_agent.config import Config, load
from vochi_agent.errors import ConfigError

from .init_texts import README, Plan, configuration, readme

__all__ = ["refuse_what_exists", "write"]

# Where a package, or an administrator, keeps the secrets for root, who hands them over as credentials of the service.
SECRETS_FOLDER: Final = "secrets"
# Else whoever runs the service may read them; nobody else.
SERVICE_USER: Final = "vochi-agent"
SECRET_MODE, FILE_MODE, FOLDER_MODE = 0o600, 0o644, 0o700
SECRET_BYTES: Final = 24


def refuse_what_exists(target: Path, snippets: Path) -> None:
    """Raises ConfigError when there is a configuration, or something where the files for Asterisk would go."""
    try:
        taken = [target] if target.exists() else []
        taken += [snippets] if snippets.exists() and (not snippets.is_dir() or any(snippets.iterdir())) else []
    except OSError as exc:
        raise ConfigError([f"{exc.filename}: {exc.strerror}; nothing was written"]) from exc
    if taken:
        elsewhere = "vochi-agent -c FILE init writes elsewhere, --snippets FOLDER the files for Asterisk"
        raise ConfigError([f"{each} exists; nothing was written ({elsewhere})" for each in taken])


def write(target: Path, plan: Plan) -> list[Path]:
    """Everything, first into a folder that nobody else reads, and in place only when it is known to be sound."""
    keys = _secrets(plan)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=".init-", dir=target.parent))
    except OSError as exc:
        raise ConfigError([f"{target.parent}: {exc.strerror}; nothing was written"]) from exc
    try:
        for name, value in keys.items():
            _put(workshop / name, f"{value}\n", SECRET_MODE)
        _put(workshop / target.name, configuration(plan), FILE_MODE)
        config = load(workshop / target.name)
        files = _for_asterisk(plan, config, keys)
        (workshop / "asterisk").mkdir(mode=FOLDER_MODE)
        for name, text in files.items():
            _put(workshop / "asterisk" / name, text, SECRET_MODE)
        return _move(workshop, target, plan.snippets, keys)
    except OSError as exc:
        raise ConfigError([f"{exc.filename or target.parent}: {exc.strerror}; nothing was written"]) from exc
    except ConfigError as exc:
        # The sentences name the folder in which it was tried.
        raise ConfigError([each.replace(str(workshop), str(target.parent)) for each in exc.problems]) from exc
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _secrets(plan: Plan) -> dict[str, str]:
    """File beside the configuration -> what is in it."""
    found = {"ami-secret": secrets.token_urlsafe(SECRET_BYTES)}
    if plan.ari:
        found["ari-password"] = secrets.token_urlsafe(SECRET_BYTES)
    if plan.answers.token:
        found["telegram-token"] = plan.answers.token
    if plan.answers.crm:
        found[f"{plan.answers.crm.name}-key"] = plan.answers.crm.key
    return found


def _for_asterisk(plan: Plan, config: Config, keys: Mapping[str, str]) -> Mapping[str, str]:
    address = "" if plan.is_local else plan.fastagi
    files = dict(render(plan.flavour, config, config.enterprises[0], address, plan.pbx))
    if not plan.ari:
        files.pop("ari_vochi.conf", None)
    if plan.flavour != "mikopbx":
        files["vochi-ami-secret.conf"] = f"secret = {keys['ami-secret']}\n"
        if plan.ari:
            files["vochi-ari-password.conf"] = f"password = {keys['ari-password']}\n"
    return files | {README: readme(plan, sorted(files))}


def _put(file: Path, text: str, mode: int) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(text)
        os.fchmod(stream.fileno(), mode)


def _move(workshop: Path, target: Path, snippets: Path, keys: Mapping[str, str]) -> list[Path]:
    """Into place: secrets and files for Asterisk first, so that the configuration never stands alone."""
    apart = target.parent / SECRETS_FOLDER
    home = apart if apart.is_dir() else target.parent
    places = {workshop / name: home / name for name in keys}
    taken = [place for place in places.values() if place.exists()]
    if taken:
        raise ConfigError([f"{place} exists; nothing was written" for place in taken])
    snippets.parent.mkdir(parents=True, exist_ok=True)
    if snippets.exists():
        snippets.rmdir()
    if home != apart:
        _give_to_service([*places])
    places |= {workshop / "asterisk": snippets, workshop / target.name: target}
    moved: list[Path] = []
    try:
        for source, place in places.items():
            moved.append(place)
            # The folder for Asterisk may be on another file system.
            shutil.move(source, place)
    except OSError:
        for place in moved:
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        raise
    return moved


def _give_to_service(files: list[Path]) -> None:
    """The secrets belong to the user of the service, where a package has made one and we are root."""
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return
    for file in files:
        os.chown(file, user.pw_uid, user.pw_gid)
