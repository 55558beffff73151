"""Importing what takes long, without holding up the event loop or the end of the process."""

import asyncio
import gc
import threading
from importlib import import_module
from types import ModuleType

__all__ = ["imported_aside"]


async def imported_aside(name: str) -> ModuleType:
    """The module, imported in a thread that nobody waits for.

    The end of the event loop waits for the threads of its own executor; on a starved machine this import alone takes
    longer than a stop may.
    """
    loop = asyncio.get_running_loop()
    imported: asyncio.Future[ModuleType] = loop.create_future()

    def settle(module: ModuleType | None, error: Exception | None) -> None:
        if imported.done():
            return
        if module is not None:
            imported.set_result(module)
        elif error is not None:
            imported.set_exception(error)

    def work() -> None:
        module, error = None, None
        # A collection walks all that the import has made so far, the event loop standing still: 0.1 s with aiogram.
        gc.disable()
        try:
            module = import_module(name)
        except Exception as failure:  # noqa: BLE001 - told to whoever awaits
            error = failure
        finally:
            gc.freeze()  # modules stay for good: no later collection need walk them either
            gc.enable()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, module, error)

    threading.Thread(target=work, name=f"import {name}", daemon=True).start()
    return await imported
