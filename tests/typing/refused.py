"""What both type checkers refuse, in each line that ends in ``# refused``, and nowhere else."""

from __future__ import annotations

import httpx
import httpx2

from openrouter_tap import TapOptions, TappedTransport, event_hooks, instrument, tap_client

TappedTransport(hosts=("gateway.local",))  # refused
TappedTransport(options={"hosts": ("gateway.local",)})  # refused
TappedTransport(None, TapOptions())  # refused
tap_client()  # refused
tap_client(httpx.Client(), TapOptions())  # refused
event_hooks(TapOptions())  # refused
instrument(TapOptions())  # refused
TapOptions(("gateway.local",))  # refused
TapOptions(hosts=1)  # refused
TapOptions(on_event=lambda: None)  # refused
wrong: httpx2.Client = tap_client(httpx.Client())  # refused
httpx.Client(transport=TappedTransport)  # refused
