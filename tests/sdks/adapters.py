"""One adapter an SDK: how a call is made with it, tapped by the line that its how-to gives.

``ask`` makes a call, ``chunks`` streams one and leaves it with the generator; ``aask`` and ``achunks`` do so async.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from openrouter_tap import tap_client

KEY = "sk-or-v1-none"
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

    def __init__(self, base: str, door: str = "client", *, timeout: float = 20.0, retries: int = 0) -> None:
        self.base, self.timeout, self.retries = base, timeout, retries
        self.tap: Any = tap_client if door == "client" else lambda client: client

    @classmethod
    def is_installed(cls) -> bool:
        """Whether this environment is for it; others may have it as a dependency."""
        wanted = os.environ.get("OPENROUTER_TAP_SDKS")
        if wanted is not None and cls.__name__ not in wanted.split():
            return False
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


class LiteLLM(Adapter):
    package = "litellm"
    doors = ("instrument",)
    links_attempts = False  # a request of its own each, and no header that counts them

    def options(self, model: str) -> Any:
        return {
            "model": f"openrouter/{model}",
            "messages": MESSAGES,
            "api_base": f"{self.base}/api/v1",
            "api_key": KEY,
            "timeout": self.timeout,
            "num_retries": self.retries,
        }

    def ask(self, model: str) -> Any:
        import litellm

        return litellm.completion(**self.options(model))

    def chunks(self, model: str) -> Iterator[Any]:
        import litellm

        stream: Any = litellm.completion(**self.options(model), stream=True)
        try:
            yield from stream
        finally:
            stream.completion_stream = None  # it has no close(): letting it go must do

    async def aask(self, model: str) -> Any:
        import litellm

        return await litellm.acompletion(**self.options(model))

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        import litellm

        stream: Any = await litellm.acompletion(**self.options(model), stream=True)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()


class _LangChain(Adapter):
    def model(self, model: str) -> Any:
        raise NotImplementedError

    def ask(self, model: str) -> Any:
        return self.model(model).invoke("hello there")

    def chunks(self, model: str) -> Iterator[Any]:
        yield from self.model(model).stream("hello there")

    async def aask(self, model: str) -> Any:
        return await self.model(model).ainvoke("hello there")

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        stream = self.model(model).astream("hello there")
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()


class LangChainOpenAI(_LangChain):
    package = "langchain-openai"

    def model(self, model: str) -> Any:
        import openai
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=model,
            base_url=f"{self.base}/api/v1",
            api_key=KEY,
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=self.tap(openai.DefaultHttpxClient()),
            http_async_client=self.tap(openai.DefaultAsyncHttpxClient()),
        )


class LangChainOpenRouter(_LangChain):
    package = "langchain-openrouter"
    doors = ("instrument",)
    busy = 503
    insists = True  # without retries of its own it leaves those of the openrouter SDK in force

    def model(self, model: str) -> Any:
        from langchain_openrouter import ChatOpenRouter

        return ChatOpenRouter(
            model=model,
            base_url=f"{self.base}/api/v1",
            api_key=KEY,
            timeout=int(self.timeout * 1000),
            max_retries=self.retries,
        )


class PydanticAI(Adapter):
    package = "pydantic-ai-slim"

    def agent(self, model: str) -> Any:
        import openai
        from pydantic_ai import Agent
        from pydantic_ai.models.openrouter import OpenRouterModel
        from pydantic_ai.providers.openrouter import OpenRouterProvider

        client = openai.AsyncOpenAI(
            base_url=f"{self.base}/api/v1",
            api_key=KEY,
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=self.tap(openai.DefaultAsyncHttpxClient()),
        )
        return Agent(OpenRouterModel(model, provider=OpenRouterProvider(openai_client=client)))

    def ask(self, model: str) -> Any:
        return self.agent(model).run_sync("hello there")

    def chunks(self, model: str) -> Iterator[Any]:
        result = self.agent(model).run_stream_sync("hello there")
        yield from result.stream_text(delta=True, debounce_by=None)

    async def aask(self, model: str) -> Any:
        return await self.agent(model).run("hello there")

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        async with self.agent(model).run_stream("hello there") as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                yield text


class Instructor(OpenAIChat):
    package = "instructor"

    def patched(self) -> tuple[Any, Any]:
        import instructor

        sync, asynchronous = self.clients()
        return instructor.from_openai(sync), instructor.from_openai(asynchronous)

    def ask(self, model: str) -> Any:
        return self.patched()[0].chat.completions.create(model=model, messages=MESSAGES, response_model=None)

    def chunks(self, model: str) -> Iterator[Any]:
        with self.patched()[0].chat.completions.create(
            model=model, messages=MESSAGES, response_model=None, stream=True
        ) as stream:
            yield from stream

    async def aask(self, model: str) -> Any:
        return await self.patched()[1].chat.completions.create(model=model, messages=MESSAGES, response_model=None)

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        stream = await self.patched()[1].chat.completions.create(
            model=model, messages=MESSAGES, response_model=None, stream=True
        )
        async with stream:
            async for chunk in stream:
                yield chunk


ADAPTERS: list[type[Adapter]] = [
    OpenAIChat,
    OpenAIResponses,
    AnthropicMessages,
    OpenRouterChat,
    LiteLLM,
    LangChainOpenAI,
    LangChainOpenRouter,
    PydanticAI,
    Instructor,
]
