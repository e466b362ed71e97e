"""The net that free text passes before it reaches a log: live keys, keys by their shape, and fields by their name.

It is bent for speed (benchmarks/redact.py). A line without a secret is read once, to find 20 characters of a key in a
row, which `bytes.translate` makes one needle; the little that has no such run needs one of a few characters, each of
which one `in` finds. Whatever may be a secret goes through the patterns of `_secrets`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

import msgspec

from cipherlog_core import _secrets
from cipherlog_core._secrets import LEAST, MARK

__all__ = ["MARK", "TEXT_MOST", "add_header", "add_value", "clean", "clean_text", "clean_texts", "read_environment"]

TEXT_MOST = (1 << 16) + (1 << 13)
"""Characters of a text that are looked through; what is longer is cut."""

_LIVE_NAME = re.compile("(?:key|token|secret|passw|password)s?(?![a-z])", re.IGNORECASE)
# Names of what only tells where a secret is, or which; HashiCorp's SECRET_ID is one. A value that may hold one is live.
_TELLING_NAME = re.compile("_(?:URL|URI|ENDPOINT|NAME|(?<!SECRET_)ID|ARN|PATH|FILE|DIR|MODEL|HEADER)$", re.IGNORECASE)
_PLAIN_VALUE = re.compile(r"[^\s?@=]*")
_LEAST_LIVE = 16  # characters of a value that is held to be a key
_LONGEST_LIVE = 8192
_MOST_SENT = 64  # keys of requests that are remembered; of more, the first are forgotten
_MEMO, _MEMO_TEXT = 4096, 256

_RUN = b"a" * 20
_CLASSES = bytes(97 if bytes([c]).isalnum() or c in b"_-" else 63 if c in b"@=%'\\" else 32 for c in range(256))
_STARTS = re.compile(_secrets.STARTS.encode()).search
_QUERY = re.compile(_secrets.QUERY.encode()).search
_ASSIGNED = re.compile(_secrets.ASSIGNED.encode()).search
_QUOTED = re.compile(_secrets.QUOTED.encode()).findall
_ENCODED = re.compile(b"%(?:3[Dd]|40)").search
_SCHEME = re.compile(b"(?i:bearer|basic)").search
_CAPITAL = re.compile(b"B(?:earer|EARER|asic|ASIC|(?<=-B)EGIN)").search  # in one: a regex that begins so is fast
_MEMBERS = re.compile(rb'"([^"\\]*)":').findall
_ODD = b"?"[0]  # what `_CLASSES` makes of characters that stand beside secrets
_AT, _EQUALS, _QUESTION, _AND, _HASH, _PERCENT, _APOSTROPHE, _BACKSLASH, _BRACE, _BRACKET, _B = b"@=?&#%'\\{(B"
_QUOTE = b'"'[0]
_UNDERSCORE, _I, _J, _K, _X = b"_IJkx"  # one of these is in each start of a key

Names = tuple[str, ...]
_WITHHELD = b'{"withheld":"%b"}' % MARK.encode()

_NOTHING: Mapping[str, object] = {}


class _Live(NamedTuple):
    """A live value: its forms, a long run of key characters in each that has one, and what finds the others."""

    forms: set[str]
    runs: set[tuple[int, bytes]]
    needles: set[bytes]

    @classmethod
    def of(cls, value: str) -> Self:
        forms, runs, needles = _secrets.forms_of(value), set(), set()
        for form in forms:
            longest = max(re.findall(rb"[A-Za-z0-9_-]+", form.encode()), key=len, default=b"")
            if len(longest) >= len(_RUN):
                runs.add((len(longest), longest))
            else:
                needles |= {form.encode(), json.dumps(form, ensure_ascii=False)[1:-1].encode()}
        return cls(forms, runs, needles)


_sent: dict[str, None] = {}
_environment: dict[str, None] = {}
_seen_headers: set[bytes] = set()
_clean_names: dict[Names, Names] = {}  # of objects, with those of their members that were objects too
_clean_texts: dict[Any, None] = {}
_last_texts: Any = None  # of `clean_texts`, and clean
_known: dict[str, _Live] = {}  # by live value
_live: tuple[str, ...] | None = ()  # all forms of all live values, the longest first; None: to be found anew
_live_runs: tuple[tuple[int, bytes], ...] = ()  # a run of each that has one, with its length, the shortest first
_shortest_run = _LONGEST_LIVE  # the length of the first of them
_needles: tuple[bytes, ...] = ()  # the others
_is_read = False


def read_environment() -> None:
    """Take the values of variables whose name says key, token, secret or password for live ones."""
    global _is_read
    _is_read = True
    with suppress(Exception):
        found = {
            value: None
            for name, text in list(os.environ.items())
            if (value := text.strip())  # a secret that comes out of a file ends in a newline, and is used without
            and _LEAST_LIVE <= len(value) <= _LONGEST_LIVE
            and _LIVE_NAME.search(name)
            and not (_TELLING_NAME.search(name) and _PLAIN_VALUE.fullmatch(value))
            and value.encode("utf-8", "replace").decode() == value
            and not (os.path.isabs(value) and os.path.exists(value))
        }
        if not found.keys() <= _environment.keys():
            _environment.update(found)
            _renew()


def add_value(value: str) -> None:
    """Take *value* for a live key: of 16 characters or more, or of 8 if a digit is among them."""
    least = LEAST if any(map(str.isdigit, value)) else _LEAST_LIVE
    if least <= len(value) <= _LONGEST_LIVE and value not in _sent:
        _sent[value] = None
        while len(_sent) > _MOST_SENT:
            _sent.pop(next(iter(_sent)), None)
        _renew()


def add_header(value: bytes) -> None:
    """Take what a request's header proves its right with for a live key; cheap for one that has been seen."""
    if value in _seen_headers:
        return
    with suppress(Exception):
        if len(_seen_headers) >= _MEMO:
            _seen_headers.clear()
        text = value.decode("latin-1").strip()
        scheme, _, rest = text.partition(" ")
        add_value(rest.strip() or text)
        if scheme.lower() == "basic":
            with suppress(ValueError):
                add_value(base64.b64decode(rest).decode().partition(":")[2])
        _seen_headers.add(value)


def _renew() -> None:
    """Look for the values of now; only what is new is taken apart, for a token may be another with each request."""
    global _known, _live, _live_runs, _shortest_run, _needles, _last_texts
    values: list[str] | None = None
    while values != (values := [*_environment, *_sent]):  # another thread may have added one meanwhile
        _known = {value: _known.get(value) or _Live.of(value) for value in values}
        _live = None
        _live_runs = tuple(sorted({run for live in _known.values() for run in live.runs}))
        _shortest_run = _live_runs[0][0] if _live_runs else _LONGEST_LIVE
        _needles = tuple({needle for live in _known.values() for needle in live.needles})
        _clean_texts.clear()
        _last_texts = None


def _forms() -> tuple[str, ...]:
    global _live
    forms = _live
    if forms is None:
        found = {form for live in _known.values() for form in live.forms}
        forms = _live = tuple(sorted(found, key=len, reverse=True))
    return forms


def clean(data: bytes, fields: Mapping[str, object] = _NOTHING, bound: Mapping[str, object] = _NOTHING) -> bytes:
    """The JSON in *data* without secrets: itself where there is none; never raises.

    *fields* and *bound*: the mappings that it is of, where they are at hand.
    """
    try:
        names = (*fields, *bound) if bound else tuple(fields)
        objects = _clean_names.get(names)
        if (
            objects is not None
            and (data.rfind(b"{") <= 0 or (objects and _have_clean_names(objects, data, fields, bound)))
        ) or _are_clean(data, names, fields, bound):
            folded = data.translate(_CLASSES)
            start, has_odd = folded.find(_RUN), _ODD in folded
            while start >= 0:  # each long run of key characters
                end = folded.find(b" ", start)
                if end < 0:
                    end = len(data)
                if has_odd and (odd := folded.find(b"?", start, end)) >= 0:
                    end = odd
                run = data[start:end]
                may_start = _UNDERSCORE in run or _I in run or _J in run or _K in run or _X in run
                if (may_start and _STARTS(run)) or (end - start >= _shortest_run and _has_live(run)):
                    break
                if data[start - 1] != _QUOTE and _SCHEME(data, max(0, start - 32), start):
                    break
                start = folded.find(_RUN, end)
            else:
                if not ((has_odd or _B in data or _needles) and _is_odd(data)):
                    return data
        value = msgspec.json.decode(data)
        cleaned = _secrets.without(value, _forms())
        return data if cleaned == value else msgspec.json.encode(cleaned)
    except Exception:  # noqa: BLE001  what cannot be looked through is withheld
        return _WITHHELD


def clean_text(text: str) -> str:
    """*text* without secrets, of at most 72 Ki characters; never raises."""
    try:
        if text in _clean_texts:
            return text
        if not _is_read:
            read_environment()
        text = text[:TEXT_MOST]
        try:
            data = msgspec.json.encode(text)
        except UnicodeEncodeError:  # a lone surrogate
            return _secrets.without_in(text, _forms())
        kept = clean(data)
        if kept is not data:
            return MARK if kept is _WITHHELD else str(msgspec.json.decode(kept))
        _remember(text, None, _clean_texts)
        return text
    except Exception:  # noqa: BLE001  as in clean
        return MARK


def clean_texts(texts: tuple[str | None, ...]) -> tuple[Any, ...]:
    """`clean_text` of each: cheap for few texts that come again and again."""
    global _last_texts
    if texts != _last_texts and texts not in _clean_texts:
        cleaned = tuple(text if text is None else clean_text(text) for text in texts)
        if cleaned != texts:
            return cleaned
        _remember(texts, None, _clean_texts)
    _last_texts = texts  # to compare costs less than to hash what is new, and mostly they are the same
    return texts


def _have_clean_names(objects: Names, data: bytes, fields: Any, bound: Mapping[str, object]) -> bool:
    """Whether each inner brace of *data* begins one of the members *objects*, and their names are known to be clean."""
    left = data.count(b"{") - 1
    for name in objects:
        value = fields.get(name, _NOTHING) if not bound else fields[name] if name in fields else bound[name]
        if type(value) is dict and (not value or tuple(value) in _clean_names):
            left -= 1
    return not left


def _are_clean(data: bytes, names: Names, fields: Mapping[str, object], bound: Mapping[str, object]) -> bool:
    """Whether no name in *data* is that of a secret; if so, `clean` will know the next of its kind by its *names*."""
    if _has_secret_name(_MEMBERS(data)):
        return False
    if fields:
        objects = {name: tuple(value) for name, value in {**bound, **fields}.items() if type(value) is dict}
        _remember(names, tuple(objects), _clean_names)
        for inner in filter(None, objects.values()):
            _remember(inner, (), _clean_names)
    return True


def _remember(key: Any, value: Any, memo: dict[Any, Any]) -> None:
    if len(key) <= _MEMO_TEXT:
        if len(memo) >= _MEMO:
            memo.clear()
        memo.setdefault(key, value)


def _is_odd(data: bytes) -> bool:
    """Whether there may be one of the secrets that are known by what stands around them."""
    return (
        _CAPITAL(data) is not None
        or (_AT in data and (b"://" in data or b":\\\\" in data))
        or (_EQUALS in data and (_QUESTION in data or _AND in data or _HASH in data) and _QUERY(data) is not None)
        or (_EQUALS in data and _ASSIGNED(data) is not None)
        or (_PERCENT in data and (_ENCODED(data) is not None or _has_secret_name(_QUOTED(data))))
        or ((_APOSTROPHE in data or _BACKSLASH in data) and _has_mapping(data) and _has_secret_name(_QUOTED(data)))
        or any(needle in data for needle in _needles)
    )


def _has_mapping(data: bytes) -> bool:
    """Whether a text in *data* may show a mapping, or a list of pairs."""
    return _BRACE in data[1:] or (_BRACKET in data and (b"('" in data or b"(b'" in data))


def _has_secret_name(names: list[bytes]) -> bool:
    return any(_secrets.is_secret(name.decode()) for name in names)


def _has_live(run: bytes) -> bool:
    for length, needle in _live_runs:
        if length > len(run):
            break
        if needle in run:
            return True
    return False
