"""Requests and responses: OpenAI's chat completions, as far as they fit a pipeline that answers one question."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field

from raggrid.serve.pending import Reply


class Part(BaseModel):
    """A part of a message; only texts are read."""

    type: str = "text"
    text: str = ""


class ChatMessage(BaseModel):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """Its text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class ChatRequest(BaseModel):
    """A conversation. The last message of the user is the question: the pipeline was tuned for single questions, so
    what comes before it is not read. Decoding is greedy: sampling settings have no effect."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1_000)
    model: str | None = None
    stream: bool = False
    n: Literal[1] = 1
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def question(self) -> str:
        """What is asked; empty where the user says nothing."""
        return next((each.text.strip() for each in reversed(self.messages) if each.role == "user"), "")


class RetrieveRequest(BaseModel):
    """A question and how many passages to find; by default as many as an answer reads."""

    question: str
    k: int | None = Field(default=None, ge=1)


def completion(name: str, reply: Reply) -> dict[str, Any]:
    """A chat completion, with the passages that the answer rests on as a field of ours."""
    message = {"role": "assistant", "content": reply.text}
    used = reply.prompt_tokens + reply.answer_tokens
    return {
        **_head(name, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": _ending(reply), "logprobs": None}],
        "usage": {
            "prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.answer_tokens, "total_tokens": used,
        },
        "passages": shown(reply),
    }  # fmt: skip


def shown(reply: Reply) -> list[dict[str, Any]]:
    """The passages of a reply."""
    return [{name: passage[name] for name in ("id", "title", "text", "score")} for passage in reply.passages]


class Chunks:
    """The events of one streamed completion: pieces of text, the end, and that nothing follows."""

    def __init__(self, name: str) -> None:
        self._head = _head(name, "chat.completion.chunk")
        self._sent = ""

    def piece(self, text: str) -> str | None:
        """What is new in the text so far; None where that is nothing, or half of a character."""
        if not text.startswith(self._sent) or len(text) == len(self._sent) or text.endswith("\ufffd"):
            return None
        delta = {"content": text[len(self._sent) :], **({} if self._sent else {"role": "assistant"})}
        self._sent = text
        return self._event({"delta": delta, "finish_reason": None})

    def last(self, reply: Reply) -> str:
        """What is still to come."""
        rest = self.piece(reply.text) or ""
        end = self._event({"delta": {}, "finish_reason": _ending(reply)}, passages=shown(reply))
        return f"{rest}{end}data: [DONE]\n\n"

    def _event(self, choice: dict[str, Any], **more: Any) -> str:
        content = {**self._head, "choices": [{"index": 0, **choice}], **more}
        return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def _ending(reply: Reply) -> str:
    return "stop" if reply.ended else "length"
