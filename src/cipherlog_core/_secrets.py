"""What secrets look like, and values without them. Reached on suspicion only: `_redact` looks first, and cheaply.

No pattern reads a text more than a few times over: what repeats is possessive, bounded, or ends where the next begins.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus, unquote

__all__ = [
    "ASSIGNED",
    "LEAST",
    "MARK",
    "NAMES",
    "QUERY",
    "QUOTED",
    "STARTS",
    "forms_of",
    "is_secret",
    "without",
    "without_in",
]

MARK = "[redacted]"
LEAST = 8
"""Characters that no secret is shorter than, unless a field or parameter says that it is one."""

NAMES = frozenset(
    [
        "access_token",
        "anthropic_api_key",
        "api_key",
        "auth_token",
        "authorization",
        "aws_secret_access_key",
        "aws_session_token",
        "bearer_token",
        "client_secret",
        "cookie",
        "credentials",
        "id_token",
        "openai_api_key",
        "openrouter_api_key",
        "passphrase",
        "passwd",
        "password",
        "private_key",
        "proxy_authorization",
        "refresh_token",
        "secret",
        "secret_key",
        "set_cookie",
        "token",
        "x_api_key",
        "x_auth_token",
        "x_goog_api_key",
    ]
)
"""Fields that lose their value, in any spelling: `accessToken` and `Access-Token`, too."""
_PLAIN_NAMES = frozenset(name.replace("_", "") for name in NAMES)

_SHAPES = {
    "sk-": "(?:(?:or|ant|proj|svcacct|admin)-[A-Za-z0-9_-]{16,}+|[A-Za-z0-9]{20,}+)",
    "AIza": "[A-Za-z0-9_-]{30,}+",
    "A[KS]IA": "[A-Z0-9]{16}",
    "hf_": "[A-Za-z0-9]{20,}+",
    "gsk_": "[A-Za-z0-9]{20,}+",
    "xai-": "[A-Za-z0-9]{20,}+",
    "gh[pousr]_": "[A-Za-z0-9]{20,}+",
    "github_pat_": "[A-Za-z0-9_]{20,}+",
}
STARTS = "|".join([*_SHAPES, "eyJ"])
"""How keys begin that are known by their shape."""
QUERY = (  # one class at its start, in which no letter is: `re` then skips to the next of it
    r"[?&#%6](?:(?<=[?&#])(?:amp;)?|(?<=%)(?:3[Ff]|26)|(?<=u0026))"
    r"(?i:(?:[a-z]{1,16}[_-]){0,3}(?:access|refresh|auth|id|client|private)?"
    r"(?:api[_-]?key|key|token|secret|password|passwd|signature|sig)(?:=|%3D))"
)
"""A parameter of a URL that holds a secret, up to its value."""
_QUOTE = "(?:'|\"|%2[27])"
QUOTED = rf"{_QUOTE}([A-Za-z_-]{{5,25}})(?:\\|%5[Cc])*+{_QUOTE}\s?(?:[,:]|%3[Aa]|%2[Cc])"
"""A name in a mapping, or a list of pairs, that was made text by JSON or `repr`, and perhaps percent-encoded."""


def _behind_a_name(sign: str) -> str:
    """What is true behind a *sign* before which the last word of one of our names is; most fail by its last letter."""
    words = sorted({name.rpartition("_")[2] for name in NAMES})
    last = "".join(sorted({word[-1] for word in words}))
    return f"(?<=[{last}{last.upper()}]{sign})(?i:{'|'.join(f'(?<={word}{sign})' for word in words)})"


ASSIGNED = rf"=(?=[\[(]?b?[\\'\"]){_behind_a_name('=')}"
"""What stands between a name and its value in the `repr` of an object."""
_HEADERS = frozenset(["authorization", "proxyauthorization", "cookie", "setcookie", "apikey", "xapikey", "xgoogapikey"])


# Each with what keeps one key from being many.
_COLOURS = (r"\[[mK]", r"[\[;][0-9]m", r"[\[;][0-9]{2}m", r"[\[;][0-9]{3}m")
_ESCAPED = ("%[0-9A-Fa-f]{2}", r"\\[abfnrtv0]", r"\\x[0-9A-Fa-f]{2}", r"\\u[0-9A-Fa-f]{4}", *_COLOURS)


def _where_a_word_begins(start: str, others: str) -> str:
    """*start* where none of the characters *others* is before it, or where that is the end of an escape or a colour.

    The literal stands first, and what is before it is looked at from behind it: `re` then goes from one to the next,
    and does not try each place in a text.
    """
    ends = "|".join(f"(?<={escape}{start})" for escape in _ESCAPED)
    return f"{start}(?:(?<![{others}]{start})|{ends})"


_KEYS = re.compile("|".join(_where_a_word_begins(start, "A-Za-z0-9") + rest for start, rest in _SHAPES.items()))
_JWT = re.compile(
    _where_a_word_begins("eyJ", "A-Za-z0-9_-") + r"[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{2,}+(?:\.[A-Za-z0-9_-]*+)*+"
)
_GAP = r"(?:\s|%20|\+){1,8}"
_BEARER = re.compile(rf"(bearer{_GAP})((?:[A-Za-z0-9._~+/=-]|%2[BFbf]|%3[Dd]){{16,}}+)", re.IGNORECASE)
_BASIC = re.compile(rf"(basic{_GAP})((?:[A-Za-z0-9+/_-]|%2[BFbf]){{6,}}+(?:=|%3[Dd]){{0,2}})", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN[A-Z0-9 %+]{0,60}PRIVATE(?: |%20|\+)KEY")
_PEM_END = re.compile(r"-----END[A-Z0-9 %+]{0,60}-----")
_USER = re.compile(r"(:\\*+/\\*+/)([^\s/?#\"'<>\\]+)@")
_USER_ENCODED = re.compile(
    r"(%3A(?://|%2F%2F))((?:[A-Za-z0-9._~!$&*+,;=-]|%(?!40|2F|3A%2F)[0-9A-F]{2})++)%40", re.IGNORECASE
)
_QUERY = re.compile(rf"({QUERY})((?:\[redacted\]|[^\s&#\"'<>()\[\]{{}}\\%]|%(?!2[2067])[0-9A-Fa-f]{{2}})++)")
_NAME = re.compile(QUOTED)
_EQUALS = re.compile(ASSIGNED)
_EQUALS_ENCODED = re.compile(f"%3[Dd]{_behind_a_name('%3[Dd]')}")
_ESCAPE = re.compile("|".join(_ESCAPED))
_LETTERS = string.ascii_letters + string.digits + "_-"  # of names
_LONGEST_NAME = 25
_VALUE = re.compile(  # to a quote as its first
    r"(?:\s|%20|\+)?(?:[\[(]|%5[Bb]|%28)?b?(?:(\\*+)(['\"])((?:[^\\'\"]++|(?!\1\2)\\*+['\"]|\\++(?!['\"]))*+)"
    r"|(?:%5[Cc])*+%2[27]((?:[^\s&#'\"\\%]|%(?!2[27]|5[Cc]))++))"
)
_TEMPLATE = re.compile(r"(?<![^\s:=,$])(?:\{[^{}]*\}|<[^<>]*>|\[[^][]*\]|\([^()]*\)|%s|%\(\w+\)s)(?![^\s:=,;])")
_FAR = 16  # from a quote to the bracket before it, with what escapes the quote
_LONG = 16
_SHORTEST_USER = 6  # and password, in base64


_QUERY_SAFE = "!$%&'()*+,/:;=?@[\\]^`{|}"  # what httpx leaves as it is
_ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda text: repr(text)[1:-1],
    lambda text: text.replace("\\", "\\\\").replace("'", "\\'"),  # by repr, beside a double quote
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
)


def is_secret(name: str) -> bool:
    """Whether a field of this *name* loses its value."""
    return name.lower().replace("-", "").replace("_", "") in _PLAIN_NAMES


def forms_of(value: str) -> set[str]:
    """How *value* may stand in a text: as it is, by `repr`, in JSON, percent-encoded, and within base64."""
    texts = _escaped({value})
    percent = {quote(text, safe=safe) for text in texts for safe in ("", "/", _QUERY_SAFE)} | {*map(quote_plus, texts)}
    lower = {re.sub("%..", lambda match: match[0].lower(), text) for text in percent}
    return _escaped(_escaped(texts)) | percent | lower | {*_within_base64(value.encode())}


def _escaped(texts: set[str]) -> set[str]:
    """*texts*, and as they stand in a text that quotes them: the same, where nothing is to be escaped."""
    return texts | {escape(text) for text in texts for escape in _ESCAPES}


def _within_base64(data: bytes) -> Iterator[str]:
    """The characters that stand for *data* alone, wherever in an encoded text it begins."""
    for shift in range(3):
        start, end = (8 * shift + 5) // 6, 8 * (shift + len(data)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(shift) + data + bytes(2))[start:end].decode()


def without(value: Any, live: tuple[str, ...]) -> Any:
    """A *value* of JSON without secrets, the *live* ones among them."""
    if isinstance(value, str):
        return without_in(value, live)
    if isinstance(value, dict):
        return {
            without_in(name, live): MARK if is_secret(name) and item is not None else without(item, live)
            for name, item in value.items()
        }
    return [without(item, live) for item in value] if isinstance(value, list) else value


def without_in(text: str, live: tuple[str, ...]) -> str:
    """*text* without secrets."""
    if len(text) < LEAST:
        return text
    for form in live:
        if form in text:
            text = text.replace(form, MARK)
    low = text.lower()
    for hint, hide in _STEPS:
        if hint in low:
            text = hide(text)
    return text


def _bearer(match: re.Match[str]) -> str:
    token = match[2]
    is_random = any(c.isdigit() for c in token) or any(c.isupper() for c in token[1:])
    return match[1] + MARK if is_random else match[0]


def _basic(match: re.Match[str]) -> str:
    text = unquote(match[2]).rstrip("=").replace("-", "+").replace("_", "/")
    parts = text.split("/")
    for end in range(len(parts), max(0, len(parts) - 4), -1):  # what follows in a path looks like base64 too
        part = "/".join(parts[:end])
        if len(part) < _SHORTEST_USER:
            break
        with suppress(ValueError):
            user = base64.b64decode(part + "=" * (-len(part) % 4)).decode()
            if ":" in user and user.isprintable():
                return match[1] + MARK
    return match[0]


def _user(match: re.Match[str]) -> str:
    user = match[2]
    has_password = ":" in user or "%3A" in user.upper() or len(user) >= _LONG
    rest = user.replace(MARK, "")
    if not has_password or rest.startswith("[") or _TEMPLATE.search(rest):
        return match[0]
    return f"{match[1]}{MARK}{match[0][match.end(2) - match.start() :]}"


def _query(match: re.Match[str]) -> str:
    low = match[1].lower()
    least = 4 if "pass" in low or "secret" in low else LEAST
    return match[1] + MARK if len(match[2]) >= least else match[0]


def _without_named(shape: re.Pattern[str], name_of: Callable[[re.Match[str]], str], text: str) -> str:
    parts, at = [], 0
    for match in shape.finditer(text):
        if match.start() >= at and is_secret(name := name_of(match)) and (value := _VALUE.match(text, match.end())):
            found = value.lastindex or 0
            parts += [text[at : value.start(found)], _named(name.lower(), value[found])]
            at = value.end()
    return "".join([*parts, text[at:]])


def _name_of_member(match: re.Match[str]) -> str:
    """The name before a value: in a mapping any, in a pair only that of a header."""
    name = match[1]
    if match[0].endswith((":", "%3A", "%3a")):
        return name
    before = match.string[max(0, match.start() - _FAR) : match.start()].rstrip("\\")
    is_header = name.lower().replace("-", "").replace("_", "") in _HEADERS
    return name if is_header and before.endswith(("(", "(b", "%28")) else ""


def _name_before(sign: re.Match[str]) -> str:
    """The name that ends where *sign* begins, without what may be the rest of an escape or a colour before it."""
    before = sign.string[max(0, sign.start() - _LONGEST_NAME - 1) : sign.start()]
    at = len(before.rstrip(_LETTERS))
    escape = _ESCAPE.match(before, at - 1) if at else None
    return before[escape.end() if escape else at :]


def _named(name: str, value: str) -> str:
    rest, is_cookie = unquote(value.replace(MARK, "")), "cookie" in name
    secret = rest if is_cookie else rest.rpartition(" ")[2]  # of several cookies the last may be a short one
    is_none = len(secret) < LEAST or (is_cookie and "=" not in rest)
    return value if is_none or _TEMPLATE.search(rest) else MARK


def _without_pem(text: str) -> str:
    parts, at = [], 0
    while begin := _PEM.search(text, at):
        end = _PEM_END.search(text, begin.end())
        parts += [text[at : begin.start()], MARK]
        at = end.end() if end else len(text)
    return "".join([*parts, text[at:]])


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("-----begin", _without_pem),
    ("", partial(_KEYS.sub, MARK)),
    ("eyj", partial(_JWT.sub, MARK)),
    ("bearer", partial(_BEARER.sub, _bearer)),
    ("basic", partial(_BASIC.sub, _basic)),
    ("@", partial(_USER.sub, _user)),
    ("%40", partial(_USER_ENCODED.sub, _user)),
    ("", partial(_QUERY.sub, _query)),
    ("", partial(_without_named, _NAME, _name_of_member)),
    ("=", partial(_without_named, _EQUALS, _name_before)),
    ("%3d", partial(_without_named, _EQUALS_ENCODED, _name_before)),
)
"""What is done to a text that contains the first, in lower case."""
