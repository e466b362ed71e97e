"""Bytes of a request or reply to facts. Sans-I/O, tolerant, and bounded in time and memory."""
