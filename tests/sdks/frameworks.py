"""The adapters of what is built on the SDKs or beside them, and the list of all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from adapters import (
    KEY,
    MESSAGES,
    Adapter,
    AnthropicMessages,
    OpenAIAiohttp,
    OpenAIChat,
    OpenAIResponses,
    OpenRouterChat,
    OpenRouterResponses,
)


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


class LiteLLMResponses(LiteLLM):
    endpoint = "responses"

    def options(self, model: str) -> Any:
        import litellm

        known = {"litellm_provider": "openrouter", "mode": "chat", "supports_native_streaming": True}
        litellm.register_model({f"openrouter/{model}": known})  # with others it asks for JSON and plays the stream
        options = super().options(model)
        del options["messages"]
        return {**options, "input": "hello there"}

    def ask(self, model: str) -> Any:
        import litellm

        return litellm.responses(**self.options(model))

    def chunks(self, model: str) -> Iterator[Any]:
        import litellm

        yield from litellm.responses(**self.options(model), stream=True)

    async def aask(self, model: str) -> Any:
        import litellm

        return await litellm.aresponses(**self.options(model))

    async def achunks(self, model: str) -> AsyncIterator[Any]:
        import litellm

        stream: Any = await litellm.aresponses(**self.options(model), stream=True)
        async for chunk in stream:
            yield chunk


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
    more: dict[str, Any] = {}  # noqa: RUF012

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
            **self.more,
        )


class LangChainOpenAIResponses(LangChainOpenAI):
    endpoint = "responses"
    more = {"use_responses_api": True}  # noqa: RUF012


class LangChainOpenRouter(_LangChain):
    package = "langchain-openrouter"
    doors = ("instrument",)
    busy = 503
    leaves_refusals = True
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
    is_only_async = True
    when_cancelled = "closed_early"  # which is its own doing

    def model(self, model: str, provider: Any) -> Any:
        from pydantic_ai.models.openrouter import OpenRouterModel

        return OpenRouterModel(model, provider=provider)

    def agent(self, model: str) -> Any:
        import openai
        from pydantic_ai import Agent
        from pydantic_ai.providers.openrouter import OpenRouterProvider

        client = openai.AsyncOpenAI(
            base_url=f"{self.base}/api/v1",
            api_key=KEY,
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=self.tap(openai.DefaultAsyncHttpxClient()),
        )
        return Agent(self.model(model, OpenRouterProvider(openai_client=client)))

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


class PydanticAIResponses(PydanticAI):
    endpoint = "responses"

    def model(self, model: str, provider: Any) -> Any:
        from pydantic_ai.models.openai import OpenAIResponsesModel

        return OpenAIResponsesModel(model, provider=provider)


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
    OpenAIAiohttp,
    AnthropicMessages,
    OpenRouterChat,
    OpenRouterResponses,
    LiteLLM,
    LiteLLMResponses,
    LangChainOpenAI,
    LangChainOpenAIResponses,
    LangChainOpenRouter,
    PydanticAI,
    PydanticAIResponses,
    Instructor,
]
