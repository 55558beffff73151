"""Events of a sandbox Bitrix24 portal: handlers that are bound, the queue of offline events, the form that is sent.

Facts are marked with their source as in `simulator.bitrix24`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["Parameters", "PortalEvents", "Refused"]

Parameters = Mapping[str, Any]
PAGE = 50  # [b24] of a list method


class Refused(Exception):
    """The portal says no."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(code)
        self.status, self.code, self.description = status, code, description


class PortalEvents:
    """Who is told of what.

    Args:
        now: The portal's time, epoch seconds.

    Attributes:
        handlers: What is bound, as `event.get` says it.
        queue: Offline events that nobody has taken yet.
        application_token: What events carry, with the portal's `member_id`.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.handlers: list[dict[str, Any]] = []
        self.queue: list[dict[str, Any]] = []
        self.application_token, self.member_id = "app-token", "a223c6b9410f85df78e9377d6c4f7213"
        self._now = now
        self._count = 0

    @property
    def methods(self) -> Mapping[str, Callable[[Parameters], object]]:
        """The REST methods, by name."""
        return {
            "event.bind": self._bind,
            "event.get": lambda _: self.handlers,
            "event.unbind": self._unbind,
            "event.offline.list": self._queued,
            "event.offline.get": self._fetched,
        }

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Something happened: it stands in the queue when somebody has asked for such."""
        if any(each["event"] == event and each["offline"] for each in self.handlers):
            self._count += 1
            at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds")
            # [b24] offline-events; ids are strings like everywhere.
            told = {"ID": str(self._count), "TIMESTAMP_X": at, "EVENT_NAME": event, "EVENT_DATA": data}
            self.queue.append({**told, "PROCESS_ID": ""})

    def form(self, event: str, data: Mapping[str, str], *, url: str) -> dict[str, str]:
        """[b24] events: what a handler is sent, a form with brackets that the application's token proves."""
        return {
            "event": event,
            "event_handler_id": "1055",
            **data,
            "ts": str(int(self._now())),
            "auth[domain]": url.partition("://")[2].partition(":")[0],
            "auth[client_endpoint]": f"{url}/rest/",
            "auth[member_id]": self.member_id,
            "auth[application_token]": self.application_token,
        }

    def _bind(self, parameters: Parameters) -> object:
        handler = {
            "event": str(parameters.get("event", "")).upper(),
            "handler": parameters.get("handler", ""),
            "auth_type": "0",
            "offline": int(parameters.get("event_type") == "offline"),
        }
        if handler in self.handlers:
            # The words are UNCONFIRMED.
            raise Refused(400, "ERROR_EVENT_BINDING_EXISTS", "Unable to set event handler: Handler already binded")
        if not handler["offline"] and not handler["handler"]:
            raise Refused(400, "ERROR_ARGUMENT", "Handler is not specified")  # the words are UNCONFIRMED
        self.handlers.append(handler)
        return True

    def _unbind(self, parameters: Parameters) -> object:
        """[b24] event.unbind: everything that fits."""
        wanted = (str(parameters["event"]).upper(), parameters.get("handler", ""))
        gone = [each for each in self.handlers if (each["event"], each["handler"]) == wanted]
        self.handlers = [each for each in self.handlers if each not in gone]
        return {"count": len(gone)}

    def _queued(self, parameters: Parameters) -> object:
        """[b24] event.offline.list: the queue stays as it is."""
        beyond = int((parameters.get("filter") or {}).get(">ID", 0))
        found = [each for each in self.queue if int(each["ID"]) > beyond]
        newest_first = parameters.get("order", {}).get("ID") == "DESC"
        return sorted(found, key=lambda each: int(each["ID"]), reverse=newest_first)[:PAGE]

    def _fetched(self, parameters: Parameters) -> object:
        """[b24] event.offline.get: what is fetched with `clear` is gone."""
        until = int(parameters.get("filter", {}).get("<=ID", 10**9))
        found = [each for each in self.queue if int(each["ID"]) <= until][: int(parameters.get("limit", PAGE))]
        if int(parameters.get("clear", 1)):
            self.queue = [each for each in self.queue if each not in found]
        return {"process_id": None, "events": found}
