"""Connections to a receiver, which never retry, and never raise for what a receiver does."""

from __future__ import annotations

from typing import Any, Protocol

from cipherlog_core.ship._answer import Answer
from cipherlog_core.ship._options import Destination
from cipherlog_core.ship._send_http import HttpSender

__all__ = ["Sender", "sender"]


class Sender(Protocol):
    """A connection to the receiver of one signal."""

    def send(self, request: Any) -> Answer:
        """Send *request*, a protobuf message of the signal."""

    def close(self) -> None:
        """Close the connection."""


def sender(signal: str, destination: Destination) -> Sender:
    """The connection to *destination*, which opens with the first request. Raises `OSError` for missing PEM files."""
    for path in (destination.certificate, destination.client_certificate, destination.client_key):
        if path is not None:
            with open(path, "rb"):
                pass  # an error that names the file
    if destination.protocol == "grpc":
        from cipherlog_core.ship._send_grpc import GrpcSender

        return GrpcSender(signal, destination)
    return HttpSender(signal, destination)
