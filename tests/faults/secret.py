"""Secrets drawn by a seed: of each kind that the net knows by its shape, and the forms in which texts quote one."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"


class Secret(NamedTuple):
    """A text that has a secret in it, and the part of it that nobody may see."""

    text: str
    hidden: str


def _key(start: str, count: int, alphabet: str = ALNUM) -> Callable[[random.Random], Secret]:
    def draw(rng: random.Random) -> Secret:
        hidden = "".join(rng.choices(alphabet, k=count))
        return Secret(start + hidden, hidden)

    return draw


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwt(rng: random.Random) -> Secret:
    claims = json.dumps({"sub": rng.randbytes(4).hex(), "iat": rng.randrange(1 << 30)}).encode()
    hidden = f"{_base64url(claims)}.{_base64url(rng.randbytes(32))}"
    return Secret(f"{_base64url(json.dumps({'alg': 'HS256'}).encode())}.{hidden}", hidden)


def _bearer(rng: random.Random) -> Secret:
    hidden = base64.b64encode(rng.randbytes(30)).decode()
    return Secret(f"Bearer {hidden}", hidden)


def _basic(rng: random.Random) -> Secret:
    user = f"svc{rng.randrange(100)}:{''.join(rng.choices(ALNUM, k=rng.randrange(8, 20)))}"
    hidden = base64.b64encode(user.encode()).decode()
    return Secret(f"Basic {hidden}", hidden)


def _pem(kind: str) -> Callable[[random.Random], Secret]:
    def draw(rng: random.Random) -> Secret:
        body = base64.b64encode(rng.randbytes(rng.randrange(120, 900))).decode()
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return Secret("\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""]), lines[1])

    return draw


def _in_url(form: str, count: int) -> Callable[[random.Random], Secret]:
    def draw(rng: random.Random) -> Secret:
        hidden = "".join(rng.choices(ALNUM, k=count))
        return Secret(form.format(hidden), hidden)

    return draw


KINDS: dict[str, Callable[[random.Random], Secret]] = {
    "OpenRouter": _key("sk-or-v1-", 64, HEX),
    "OpenAI": _key("sk-", 48),
    "OpenAI project": _key("sk-proj-", 120, URLSAFE),
    "OpenAI service": _key("sk-svcacct-", 110, URLSAFE),
    "Anthropic": _key("sk-ant-api03-", 95, URLSAFE),
    "Google": _key("AIza", 35, URLSAFE),
    "AWS": _key("AKIA", 16, string.ascii_uppercase + "234567"),
    "AWS session": _key("ASIA", 16, string.ascii_uppercase + "234567"),
    "Hugging Face": _key("hf_", 34, string.ascii_letters),
    "Groq": _key("gsk_", 52),
    "xAI": _key("xai-", 80),
    "GitHub": _key("ghp_", 36),
    "GitHub app": _key("ghs_", 36),
    "GitHub fine-grained": _key("github_pat_", 82, ALNUM + "_"),
    "JWT": _jwt,
    "Bearer": _bearer,
    "Basic": _basic,
    "PEM": _pem("PRIVATE KEY"),
    "PEM RSA": _pem("RSA PRIVATE KEY"),
    "PEM OpenSSH": _pem("OPENSSH PRIVATE KEY"),
    "key in URL": _in_url("https://api.example.com/v1/models?api_key={}&page=2", 14),
    "token in URL": _in_url("https://api.example.com/v1?page=2&access_token={}", 18),
    "user in URL": _in_url("postgres://service:{}@db.example.com:5432/app", 12),
}

FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda text: f"it said {text} and no more",
    "percent": lambda text: f"https://example.com/?next={quote(text, safe='')}&page=2",
    "JSON": lambda text: json.dumps({"detail": [text], "page": 2}),
    "repr": lambda text: repr({"detail": (text,), "page": 2}),
    "URL": lambda text: f"https://example.com/v1/{text if text.isalnum() else quote(text)}/x?page=2",
}

QUOTED: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": lambda value: quote(value, safe=""),
    "repr": repr,
    "base64": lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
    "JSON": json.dumps,
}
"""The forms in which a value is looked for that is known."""
