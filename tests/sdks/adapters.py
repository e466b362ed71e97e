"""One adapter an SDK and endpoint: how a call is made with it, tapped by the line that its how-to gives.

``ask`` makes a call, ``chunks`` streams one and leaves it with the generator; ``aask`` and ``achunks`` do so async.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from openrouter_tap import tap_client

KEY = "sk-or-v1-none"
TRIED = os.environ.get("OPENROUTER_TAP_SDKS")
"""The adapters of this session of nox; None outside of one."""
MESSAGES: Any = [{"role": "user", "content": "hello there, what does it cost?"}]


class Adapter:
    """What the tests know of an SDK. *door*: ``client`` taps what it is given, ``instrument`` everything."""

    package = ""
    doors: tuple[str, ...] = ("client", "instrument")
    endpoint = "chat.completions"
    busy = 429
    """The status after which the SDK tries again."""
    links_attempts = True
    """Whether its attempts share a ``call_id``."""
    insists = False
    """Whether it tries again after a timeout though it was told not to."""
    leaves_refusals = False
    """Whether it tries a stream again without a look at the refusal, which lies until it is collected."""
    is_only_async = False
    """Whether its sync calls are made with an async client, too."""
    when_cancelled = "cancelled"
    """The outcome of a stream whose reader is cancelled."""
    cannot: dict[str, str] = {}  # noqa: RUF012
    """Why it cannot do what is asked in some cells of the matrix, by the scenario or by ``sync``."""

    def __init__(self, base: str, door: str = "client", *, timeout: float = 20.0, retries: int = 0) -> None:
        self.base, self.timeout, self.retries = base, timeout, retries
        self.tap: Any = tap_client if door == "client" else lambda client: client

    @classmethod
    def is_installed(cls) -> bool:
        """Whether it is tried here. In a session of nox the session says so: what it lacks then fails."""
        if TRIED is not None:
            return cls.__name__ in TRIED.split()
        try:
            importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True


class OpenAIChat(Adapter):
    package = "openai"

    def clients(self) -> tuple[Any, Any]:
        import openai

        more: Any = {
            "base_url": f"{self.base}/api/v1",
            "api_key": KEY,
            "timeout": self.timeout,
            "max_retries": self.retries,
        }
        return (
            openai.OpenAI(http_client=self.tap(openai.DefaultHttpxClient()), **more),
            openai.AsyncOpenAI(http_client=self.tap(openai.DefaultAsyncHttpxClient()), **more),
        )

    def ask(self, model: str) -> Any:
        return self.clients()[0].chat.completions.create(model=model, messages=MESSAGES)

    def chunks(self, model: str) -> Iterator[Any]:
        with self.clients()[0].chat.completions.create(model=model, messages=MESSAGES, stream=True) as stream:
            yield from stream

    async def aask(self, model: str) -> Any:
        return await self.clients()[1].chat.completions.create(model=model, messages=MESSAGES)

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        stream = await self.clients()[1].chat.completions.create(model=model, messages=MESSAGES, stream=True)
        async with stream:
            async for chunk in stream:
                yield chunk


class OpenAIAiohttp(OpenAIChat):
    """Its client of ``openai[aiohttp]``, which has a transport of its own."""

    cannot = {"sync": "aiohttp is async only"}  # noqa: RUF012

    def clients(self) -> tuple[Any, Any]:
        import openai

        client = self.tap(openai.DefaultAioHttpClient())
        more: Any = {"base_url": f"{self.base}/api/v1", "api_key": KEY, "timeout": self.timeout}
        return None, openai.AsyncOpenAI(http_client=client, max_retries=self.retries, **more)


class OpenAIResponses(OpenAIChat):
    endpoint = "responses"

    def ask(self, model: str) -> Any:
        return self.clients()[0].responses.create(model=model, input="hello there")

    def chunks(self, model: str) -> Iterator[Any]:
        with self.clients()[0].responses.create(model=model, input="hello there", stream=True) as stream:
            yield from stream

    async def aask(self, model: str) -> Any:
        return await self.clients()[1].responses.create(model=model, input="hello there")

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        stream = await self.clients()[1].responses.create(model=model, input="hello there", stream=True)
        async with stream:
            async for chunk in stream:
                yield chunk


class AnthropicMessages(Adapter):
    package = "anthropic"
    endpoint = "messages"

    def clients(self) -> tuple[Any, Any]:
        import anthropic

        more: Any = {
            "base_url": f"{self.base}/api",
            "auth_token": KEY,
            "timeout": self.timeout,
            "max_retries": self.retries,
        }
        return (
            anthropic.Anthropic(http_client=self.tap(anthropic.DefaultHttpxClient()), **more),
            anthropic.AsyncAnthropic(http_client=self.tap(anthropic.DefaultAsyncHttpxClient()), **more),
        )

    def ask(self, model: str) -> Any:
        return self.clients()[0].messages.create(model=model, max_tokens=64, messages=MESSAGES)

    def chunks(self, model: str) -> Iterator[Any]:
        with self.clients()[0].messages.create(model=model, max_tokens=64, messages=MESSAGES, stream=True) as stream:
            for event in stream:
                yield event
                if event.type == "message_stop":  # it stumbles over the [DONE] that OpenRouter sends behind it
                    return

    async def aask(self, model: str) -> Any:
        return await self.clients()[1].messages.create(model=model, max_tokens=64, messages=MESSAGES)

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        stream = await self.clients()[1].messages.create(model=model, max_tokens=64, messages=MESSAGES, stream=True)
        async with stream:
            async for event in stream:
                yield event
                if event.type == "message_stop":
                    return


class OpenRouterChat(Adapter):
    package = "openrouter"
    busy = 503  # its retries are for 5XX only
    leaves_refusals = True

    def client(self) -> Any:
        import httpx
        from openrouter import OpenRouter
        from openrouter.utils import BackoffStrategy, RetryConfig

        strategy = "backoff" if self.retries else "none"
        return OpenRouter(
            api_key=KEY,
            server_url=f"{self.base}/api/v1",
            client=self.tap(httpx.Client(follow_redirects=True)),
            async_client=self.tap(httpx.AsyncClient(follow_redirects=True)),
            timeout_ms=int(self.timeout * 1000),
            retry_config=RetryConfig(strategy, BackoffStrategy(5, 50, 1.5, 5000), retry_connection_errors=False),
        )

    def ask(self, model: str) -> Any:
        return self.client().chat.send(model=model, messages=MESSAGES)

    def chunks(self, model: str) -> Iterator[Any]:
        with self.client().chat.send(model=model, messages=MESSAGES, stream=True) as stream:
            yield from stream

    async def aask(self, model: str) -> Any:
        return await self.client().chat.send_async(model=model, messages=MESSAGES)

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        async with await self.client().chat.send_async(model=model, messages=MESSAGES, stream=True) as stream:
            async for chunk in stream:
                yield chunk


class OpenRouterResponses(OpenRouterChat):
    endpoint = "responses"

    def ask(self, model: str) -> Any:
        return self.client().beta.responses.send(model=model, input="hello there")

    def chunks(self, model: str) -> Iterator[Any]:
        with self.client().beta.responses.send(model=model, input="hello there", stream=True) as stream:
            yield from stream

    async def aask(self, model: str) -> Any:
        return await self.client().beta.responses.send_async(model=model, input="hello there")

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        async with await self.client().beta.responses.send_async(
            model=model, input="hello there", stream=True
        ) as stream:
            async for chunk in stream:
                yield chunk
