"""Ships the logs of a folder to an OpenTelemetry collector: at least once, in their order. Needs the extra ``otlp``.

The files are the buffer. Nothing here is on the way of an event, so nothing here can delay or lose one: `_tail` follows
the files from a checkpoint, `_otlp` makes requests of their lines, `_send` sends them, and `_shipper` moves the
checkpoint when they are acknowledged. What an event says beside its log record (spans, metrics) comes from whoever
knows the event: entry points of the group ``cipherlog_core.ship``, named after the event.
"""
