"""The company that `vochi-agent simulate` plays, where a test wants it."""

from pathlib import Path

from tests.support.ports import free_port

__all__ = ["company"]

ROOT = Path(__file__).parents[2]


def company(folder: Path, dsn: str) -> str:
    """The configuration that is shipped for this, on ports and in folders of the test."""
    text = (ROOT / "config.simulate.toml").read_text(encoding="utf-8")
    for port in ("5138", "8091", "8092"):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    text = text.replace("/var/tmp/vochi-simulate.csv", f"{folder}/vochi.csv")
    text = text.replace("/var/tmp/vochi-simulate", f"{folder}/state")
    doors = f'[fastagi]\nlisten = "127.0.0.1:{free_port()}"\n[http]\nlisten = "127.0.0.1:{free_port()}"\n'
    return f'{doors}[database]\nurl = "{dsn}"\n{text}'
