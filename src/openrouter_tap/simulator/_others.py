"""Answers of the endpoints that do not chat: what each is billed by, and where it says so."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

from openrouter_tap.simulator._chat import CHAT
from openrouter_tap.simulator._dialect import DONE, Dialect, data
from openrouter_tap.simulator._replies import Answer, usage_of

__all__ = ["OTHERS", "video"]

_WIDTH = 8  # numbers of a vector
_IMAGE_TOKENS = 1120
_SECONDS = 5  # of sound and film
_PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4).decode()
_SOUND = b"ID3\x04" + bytes(range(256)) * 64


def _only(usage: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: usage[key] for key in keys if key in usage}


def _prompt_usage(answer: Answer) -> dict[str, Any]:
    """What the prompt alone costs."""
    return usage_of(answer.model, answer.usage["prompt_tokens"], 0)


def _price(answer: Answer, units: int, usage: dict[str, Any]) -> dict[str, Any]:
    """The cost of *units*, or that of the tokens in *usage* where the model is not sold by units."""
    if answer.model.fails == "no-cost":
        return {}
    price = answer.model.unit_price
    return {"cost": float(units * price)} if price else _only(usage, "cost")


def _embeddings(answer: Answer) -> dict[str, Any]:
    given = answer.asked.get("input")
    count = len(given) if isinstance(given, list) else 1
    vector = [Decimal(len(answer.words) + place).scaleb(-2) for place in range(_WIDTH)]
    rows = [{"object": "embedding", "embedding": [*map(float, vector)], "index": index} for index in range(count)]
    usage = _only(_prompt_usage(answer), "prompt_tokens", "total_tokens", "cost", "is_byok", "cost_details")
    about = {"model": answer.model.served_as, "usage": usage, "provider": answer.model.provider, "id": answer.id}
    return {"object": "list", "data": rows, **about}


def _rerank(answer: Answer) -> dict[str, Any]:
    documents = answer.asked.get("documents") or []
    results = [{"index": index, "relevance_score": 1 / (2 + index)} for index in range(len(documents))]
    usage = _prompt_usage(answer)
    billed = {"search_units": 1} if answer.model.unit_price else _only(usage, "total_tokens")
    return {
        "id": answer.id,
        "model": answer.model.served_as,
        "provider": answer.model.provider,
        "results": results[: answer.asked.get("top_n")],
        "usage": {**_price(answer, 1, usage), **billed},
    }


def _image_usage(answer: Answer) -> dict[str, Any]:
    usage = usage_of(answer.model, answer.usage["prompt_tokens"], _IMAGE_TOKENS)
    usage["completion_tokens_details"] = {"reasoning_tokens": 0, "image_tokens": _IMAGE_TOKENS}
    return usage


def _images(answer: Answer) -> dict[str, Any]:
    picture = {"b64_json": _PICTURE, "media_type": "image/png"}
    return {"created": answer.created, "data": [picture], "usage": _image_usage(answer)}


def _image_events(answer: Answer) -> list[bytes]:
    parts = [
        data({"type": "image_generation.partial_image", "partial_image_index": index, "b64_json": _PICTURE})
        for index in range(3)
    ]
    last = {"type": "image_generation.completed", "b64_json": _PICTURE, "created": answer.created}
    return [*parts, data({**last, "usage": _image_usage(answer)}), DONE]


def _broken_image(_: Answer, error: dict[str, Any]) -> bytes:
    told = error["error"]
    seen = {"message": told["message"], "code": str(told["code"]), "type": told["metadata"]["error_type"]}
    return data({"type": "error", "error": seen})


def _transcription(answer: Answer) -> dict[str, Any]:
    usage = usage_of(answer.model, answer.usage["prompt_tokens"], max(1, len(answer.words)))
    tokens = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    billed = {**tokens, "total_tokens": usage["total_tokens"], "seconds": float(_SECONDS)}
    return {"text": " ".join(answer.words), "usage": {**billed, **_price(answer, _SECONDS, usage)}}


def _completion_choice(answer: Answer, text: str, reason: str | None) -> dict[str, Any]:
    return {
        "id": answer.id,
        "provider": answer.model.provider,
        "model": answer.model.served_as,
        "object": "text_completion",
        "created": answer.created,
        "choices": [{"index": 0, "logprobs": None, "text": text, "finish_reason": reason}],
    }


def _completion(answer: Answer) -> dict[str, Any]:
    return {**_completion_choice(answer, " ".join(answer.words), answer.finish_reason), "usage": answer.usage}


def _completion_events(answer: Answer) -> list[bytes]:
    events = [data(_completion_choice(answer, piece, None)) for piece in answer.pieces]
    finish, last = _completion_choice(answer, "", answer.finish_reason), _completion_choice(answer, "", None)
    return [*events, data(finish), data({**last, "usage": answer.usage}), DONE]


def video(answer: Answer, polls: int) -> dict[str, Any]:
    """How far a video is at the poll of that number; at the second it is made, or failed."""
    job = {"id": answer.id, "polling_url": f"/api/v1/videos/{answer.id}"}
    if polls < 2:  # noqa: PLR2004
        return {**job, "status": "in_progress" if polls else "pending"}
    if answer.model.fails == "midstream-error":
        return {**job, "status": "failed", "error": "Provider disconnected"}
    usage = {**_price(answer, _SECONDS, answer.usage), "is_byok": answer.model.is_byok}
    urls = [f"{job['polling_url']}/content?index=0"]
    return {**job, "generation_id": answer.id, "status": "completed", "unsigned_urls": urls, "usage": usage}


def _new_video(answer: Answer) -> dict[str, Any]:
    return video(answer, 0)


def _broken(_: Answer, error: dict[str, Any]) -> bytes:
    return data(error)


OTHERS: dict[str, Dialect] = {
    "completions": Dialect(_completion, _completion_events, CHAT.error, _broken),
    "embeddings": Dialect(_embeddings, None, CHAT.error, _broken, kind="emb", has_id_header=False),
    "rerank": Dialect(_rerank, None, CHAT.error, _broken, kind="rerank", has_id_header=False),
    "images": Dialect(_images, _image_events, CHAT.error, _broken_image, kind="img", has_provider_header=True),
    "audio/transcriptions": Dialect(_transcription, None, CHAT.error, _broken, kind="stt"),
    "audio/speech": Dialect(lambda _: _SOUND, None, CHAT.error, _broken, kind="tts"),
    "videos": Dialect(
        _new_video, None, CHAT.error, _broken, lambda answer, _: _new_video(answer), kind="vid", status=202
    ),
}
"""By path."""
