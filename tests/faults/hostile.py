"""A process that reads hostile replies without and with the tap, and measures what the tap adds.

Run as ``python hostile.py LIBRARY URL TIMES LIMIT``; a LIMIT of bytes ends a stream that does not end by itself.
Prints, as JSON, for each way: the least CPU seconds of the TIMES, the most KiB above the beginning, the digest of the
bytes; and the outcomes that the tap saw.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import sys
import time
from typing import Any

import cipherlog_core
from openrouter_tap import TapOptions, TappedTransport


def status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


def read(client: Any, url: str, limit: int) -> str:
    digest, room = hashlib.sha256(), limit or sys.maxsize
    with client.stream("POST", url, content=b'{"model":"m","messages":[]}') as reply:
        for chunk in reply.iter_raw():
            digest.update(chunk[:room])
            room -= len(chunk)
            if room <= 0:
                break
    return digest.hexdigest()


def measured(client: Any, url: str, limit: int) -> tuple[float, int, str]:
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    begin, held = time.process_time(), status("VmRSS")
    digest = read(client, url, limit)
    return time.process_time() - begin, status("VmHWM") - held, digest


def main(library: str, url: str, times: str, limit: str) -> None:
    module, events = importlib.import_module(library), []
    tap = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    with module.Client(timeout=60) as plain, module.Client(transport=tap, timeout=60) as tapped:
        for client in (plain, tapped):
            read(client, url.partition("?")[0] + "?warm", 0)
        runs: dict[str, list[Any]] = {"plain": [], "tapped": []}
        for _ in range(int(times)):
            runs["plain"].append(measured(plain, url, int(limit)))
            runs["tapped"].append(measured(tapped, url, int(limit)))
    assert cipherlog_core.stop()
    least = {
        name: {"cpu": min(run[0] for run in of), "kib": max(run[1] for run in of), "digest": of[0][2]}
        for name, of in runs.items()
    }
    print(json.dumps({**least, "outcomes": [event.outcome for event in events], "cost": events[-1].cost.total}))


main(*sys.argv[1:])
