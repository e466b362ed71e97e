"""The shipper as a thread of the process that logs: with the first event, where ``LOG_OTLP_ENDPOINT`` is set."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from cipherlog_core._folders import Folders
from cipherlog_core._settings import notice

if TYPE_CHECKING:
    from cipherlog_core.ship._shipper import Shipper

__all__ = ["Background"]

_LAST = 1.5  # seconds at most that an end waits for a receiver that has answered so far
_AGAIN = 5.0  # seconds after something that should not happen
_LIBRARIES = "urllib3", "grpc", "opentelemetry", "google"
_NAME = "cipherlog-shipper"


class Background:
    """One daemon thread for each folder. Neither its start nor its end waits for a receiver."""

    def __init__(self) -> None:
        self._shippers: dict[str, Shipper] = {}
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child, where no thread exists, and the locks are the parent's."""
        for shipper in self._shippers.values():
            shipper.abandon()
        self._shippers = {}
        self._threads: dict[str, threading.Thread] = {}
        self._run_number = 0

    def start(self, folders: Folders, endpoint: str) -> None:
        """Have the logs of *folders* shipped to *endpoint*; does nothing where they are, or where no thread can be."""
        if folders.logs in self._threads or sys.is_finalizing() or _is_disabled(os.environ):
            return
        run = (folders, endpoint, os.getpid(), self._run_number)
        thread = threading.Thread(target=self._run, args=run, name=_NAME, daemon=True)
        with suppress(RuntimeError):  # the interpreter is ending
            thread.start()
            self._threads[folders.logs] = thread

    def stop(self, deadline: float) -> None:
        """Ship what is in the files if that can be done until *deadline*; the rest is for the next leader."""
        self._run_number += 1
        deadline = min(deadline, time.monotonic() + _LAST)
        threads, self._threads = self._threads, {}
        shippers, self._shippers = self._shippers, {}
        for shipper in shippers.values():
            if shipper.trouble is None:
                shipper.finish()
            else:
                shipper.stop()
        for folder, thread in threads.items():
            if folder not in shippers or shippers[folder].trouble is None:
                thread.join(max(0.0, deadline - time.monotonic()))
        for shipper in shippers.values():
            shipper.stop()

    def _run(self, folders: Folders, endpoint: str, pid: int, number: int) -> None:
        while number == self._run_number and pid == os.getpid():
            try:
                self._ship(folders, endpoint, number)
                return
            except ModuleNotFoundError as error:
                notice(
                    "otlp", f"LOG_OTLP_ENDPOINT is set, and {error.name} is missing: pip install 'openrouter-tap[otlp]'"
                )
                return
            except Exception as error:  # noqa: BLE001  the thread must outlive whatever happens
                notice(f"shipper: {type(error)}", f"{folders.logs} cannot be shipped, it is tried again: {error}")
            time.sleep(_AGAIN)

    def _ship(self, folders: Folders, endpoint: str, number: int) -> None:
        """Ship until the end."""
        from cipherlog_core.ship._options import destinations, resource_attributes
        from cipherlog_core.ship._shipper import Shipper

        try:
            to, resource = destinations(os.environ, endpoint), resource_attributes(os.environ)
        except ValueError as error:
            notice("otlp", f"nothing is shipped: {error}.")
            return
        _keep_out_of_the_logs()  # now that their loggers exist
        shipper = Shipper(folders, to, resource, notice)
        _keep_out_of_the_logs()  # gRPC's exist now
        self._shippers[folders.logs] = shipper
        if number != self._run_number:  # the end came while the libraries were imported
            shipper.finish()
        shipper.run()


def _is_disabled(environ: Mapping[str, str]) -> bool:
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _keep_out_of_the_logs() -> None:
    """What the libraries log about this thread's requests would be shipped by further requests, which they log too."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith(_LIBRARIES) and isinstance(logger, logging.Logger):
            logger.addFilter(_is_others)  # which ignores one that is there
    context = sys.modules.get("opentelemetry.context")
    if context is not None:  # an instrumentation of the libraries makes no spans of these requests
        context.attach(context.set_value("suppress_instrumentation", True))


def _is_others(record: logging.LogRecord) -> bool:
    return record.threadName != _NAME  # the number of a thread that has ended the next one may get
