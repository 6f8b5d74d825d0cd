"""The server answers as `ask` does, whatever else is asked of it at the same time."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
import torch
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from raggrid.export.ask_export import ask, opened
from raggrid.export.load import TunedPipeline
from raggrid.export.write_export import write_export
from raggrid.serve.application import application
from raggrid.serve.batching import Batcher
from raggrid.serve.decoding import EarlyReplies
from raggrid.serve.limits import Limits
from raggrid.serve.pending import Busy, Pending
from tests.conftest import SpaceMaker
from tests.exported import finished

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_space: SpaceMaker) -> Path:
    place = tmp_path_factory.mktemp("served")
    space = make_space(training={"generator": "lora"}, models={"dtype": "bfloat16"})
    return write_export(finished(place / "run", space, ("joint",)), place / "out", check=False).folder


@pytest.fixture(scope="module")
def tuned(folder: Path) -> TunedPipeline:
    return opened(folder)


@pytest.fixture(scope="module")
def questions(folder: Path) -> list[str]:
    return [row["question"] for row in json.loads((folder / "evaluated.json").read_text())["questions"]]


@pytest.fixture(scope="module")
def client(tuned: TunedPipeline) -> Iterator[TestClient]:
    with TestClient(application(tuned), raise_server_exceptions=False) as client:
        yield client


def chat(question: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], **more}


def text_of(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


def test_concurrent_answers_are_those_of_ask(client: TestClient, folder: Path, questions: list[str]) -> None:
    asked = questions * 4
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda question: client.post(CHAT, json=chat(question)), asked))
    assert {response.status_code for response in found} == {200}
    alone = {question: ask(folder, [question])[0] for question in questions[:3]}
    assert [text_of(response) for response in found[:3]] == [alone[question].answer for question in questions[:3]]
    together = {each.question: each.answer for each in ask(folder, questions)}
    assert [text_of(response) for response in found] == [together[question] for question in asked]
    first = found[0].json()
    assert [p["id"] for p in first["passages"]] == [p.id for p in alone[questions[0]].passages]
    assert first["usage"]["completion_tokens"] <= 4
    assert first["usage"]["prompt_tokens"] > 5


def test_a_stream_ends_in_the_same_text(client: TestClient, questions: list[str]) -> None:
    with client.stream("POST", CHAT, json=chat(questions[0], stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert said == text_of(client.post(CHAT, json=chat(questions[0])))
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert chunks[-1]["passages"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_passages_are_found_as_the_pipeline_finds_them(
    client: TestClient, tuned: TunedPipeline, questions: list[str]
) -> None:
    found = client.post("/retrieve", json={"question": questions[0], "k": 3}).json()["passages"]
    assert [p["id"] for p in found] == [p["id"] for p in tuned.retrieve(questions[:1], k=3)[0]]
    assert found[0]["score"] >= found[2]["score"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 400, "dict"),
        (json.dumps({"messages": []}).encode(), 400, "messages"),
        (json.dumps(chat("Who?", n=2)).encode(), 400, "n: "),
        (json.dumps(chat("  ")).encode(), 400, "empty"),
        (json.dumps({"messages": [{"role": "system", "content": "x"}]}).encode(), 400, "empty"),
        (json.dumps(chat("long " * 500)).encode(), 413, "2,000 characters"),
        (b"x" * 70_000, 413, "65,536 bytes"),
    ],
)
def test_what_is_wrong_is_refused_in_openais_form(client: TestClient, body: bytes, status: int, said: str) -> None:
    response = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert said in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_health_metrics_models_and_the_page(client: TestClient, questions: list[str]) -> None:
    client.post(CHAT, json=chat(questions[0]))
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/v1/models").json()["data"][0]["id"] == "tiny-joint"
    page = client.get("/")
    assert "tiny-joint" in page.text
    assert "http" not in page.text.replace("http-equiv", "")  # nothing is loaded from elsewhere
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counted = {(s.labels["path"], s.labels["status"]): s.value for s in families["raggrid_requests"].samples
               if s.name.endswith("_total")}  # fmt: skip
    assert counted[CHAT, "200"] >= 1
    assert families["raggrid_waiting"].samples[0].value == 0


def test_another_sites_name_for_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


class Slow:
    """A pipeline under the real queue: one batch takes a moment, and one question cannot be answered."""

    how = {"k": 1, "max_new_tokens": 4, "batch_size": 4, "study": "slow", "strategy": "joint"}  # noqa: RUF012
    device = "cpu"
    tokenizer = SimpleNamespace(decode=lambda ids: "fine")

    def __init__(self, seconds: float = 0.0, begun: Callable[[], object] = lambda: None) -> None:
        self.seconds, self.begun, self.batches = seconds, begun, list[list[str]]()

    def retrieve(self, questions: list[str], k: int) -> list[list[dict[str, Any]]]:
        return [[{"id": "p", "title": "", "text": "t", "shown": "t", "score": 1.0}] for _ in questions]

    def prompt(self, question: str, _: object) -> str:
        return question

    def tokens(self, prompts: list[str]) -> list[list[int]]:
        return [[ord(letter) for letter in prompt] for prompt in prompts]

    def generate(self, rows: list[list[int]], stopping_criteria: list[Callable[..., torch.Tensor]]) -> None:
        asked = ["".join(map(chr, row)) for row in rows]
        self.batches.append(asked)
        self.begun()
        time.sleep(self.seconds)
        if "poison" in asked:
            raise RuntimeError("cannot be answered")
        ids = torch.tensor([[0, 1]] * len(rows))
        while not stopping_criteria[0](ids, None).all():
            ids = torch.cat([ids, ids[:, -1:]], dim=1)

    def ended(self, ids: list[int]) -> list[int]:
        return ids

    def text(self, ids: list[int]) -> str:
        return "fine"


def batcher(pipeline: Any, **changes: Any) -> Batcher:
    return Batcher(pipeline, **{"max_batch": 4, "max_waiting": 8, **changes})


def test_one_that_fails_hurts_no_other_of_its_batch() -> None:
    queue = batcher(Slow(0.05))
    blocker, *jobs = [queue.submit(Pending(text)) for text in ("first", "poison", "second", "third!")]
    assert blocker.result(5).text == "fine"
    with pytest.raises(RuntimeError, match="cannot be answered"):
        jobs[0].result(5)
    assert [job.result(5).text for job in jobs[1:]] == ["fine", "fine"]
    assert queue.is_alive
    queue.close()


def test_a_huge_prompt_does_not_widen_the_batch_of_small_ones() -> None:
    pipeline = Slow(0.05)
    queue = batcher(pipeline)
    jobs = [queue.submit(Pending(text)) for text in ("begin", "small", "h" * 1_000, "tiny!")]
    assert all(job.result(5).text == "fine" for job in jobs)
    assert all(max(map(len, batch)) <= 2 * min(map(len, batch)) for batch in pipeline.batches)
    queue.close()


def test_two_batches_are_under_way_at_once_and_share_what_waits() -> None:
    both = threading.Barrier(2)
    pipeline = Slow(begun=lambda: both.wait(20))  # neither goes on without the other
    queue = batcher(pipeline, num_batches=2)
    jobs = [queue.submit(Pending(text)) for text in ("one", "two")]
    assert [job.result(20).text for job in jobs] == ["fine", "fine"]
    assert pipeline.batches in ([["one"], ["two"]], [["two"], ["one"]])
    queue.close()


def test_the_oldest_question_is_answered_with_those_of_the_most_similar_length() -> None:
    begun = threading.Event()
    pipeline = Slow(begun=lambda: begun.wait(20))
    queue = batcher(pipeline, max_batch=2)
    first = queue.submit(Pending("begin"))
    while not pipeline.batches:
        time.sleep(0.001)
    jobs = [queue.submit(Pending("x" * length)) for length in (10, 17, 12, 16)]
    begun.set()
    assert all(job.result(20).text == "fine" for job in [first, *jobs])
    assert [[len(text) for text in batch] for batch in pipeline.batches[1:]] == [[10, 12], [17, 16]]
    queue.close()


def test_a_row_that_is_over_is_replied_to_before_its_batch_ends(tuned: TunedPipeline) -> None:
    stop, word = tuned.how["generation"]["eos_token_id"][0], tuned.tokenizer("a")["input_ids"][0]
    jobs = [Pending("ends"), Pending("goes on"), Pending("has its own limit", max_tokens=1), Pending("has left")]
    jobs[3].done.cancel()
    watched, told = EarlyReplies(tuned, jobs), list[str]()
    jobs[1].told = told.append
    rows = torch.tensor([[9, word], [9, word], [9, word], [9, word]])
    assert watched(rows, None).tolist() == [False, False, True, True]
    rows = torch.cat([rows, torch.tensor([[stop], [word], [word], [word]])], dim=1)
    assert watched(rows, None).tolist() == [True, False, True, True]
    replies = [jobs[0].done.result(0), jobs[2].done.result(0)]
    assert [(reply.answer_tokens, reply.ended) for reply in replies] == [(1, True), (1, False)]
    assert replies[0].text == replies[1].text == told[0]
    assert jobs[1].is_open


def test_too_many_are_refused_and_one_that_left_is_not_answered() -> None:
    pipeline = Slow(0.2)
    queue = batcher(pipeline, max_waiting=2)
    jobs = [queue.submit(Pending("begin"))]
    time.sleep(0.05)
    jobs += [queue.submit(Pending("stays")), queue.submit(Pending("leave"))]
    with pytest.raises(Busy):
        queue.submit(Pending("more"))
    assert jobs[2].cancel()
    assert jobs[1].result(5).text == "fine"
    assert ["leave"] not in pipeline.batches
    assert all("leave" not in batch for batch in pipeline.batches)
    queue.close()


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    slow: Any = Slow(0.5)
    slow.__class__ = type("Tuned", (Slow, TunedPipeline), {})
    with TestClient(application(slow, limits=Limits(answer_seconds=0.1))) as client:
        response = client.post(CHAT, json=chat("Who?"))
    assert response.status_code == 504


@pytest.fixture
def port(tuned: TunedPipeline) -> Iterator[int]:
    app = application(tuned, limits=Limits(body_seconds=0.5))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_slow_bodies_do_not_hold_up_others(port: int, questions: list[str]) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for each in slow:
        each.sendall(head.encode())
    assert httpx.post(f"http://127.0.0.1:{port}{CHAT}", json=chat(questions[0]), timeout=20).status_code == 200
    assert b" 408 " in slow[0].recv(4_000)
    for each in slow:
        each.close()


def test_a_client_that_leaves_in_the_middle_of_a_stream_is_forgotten(port: int, questions: list[str]) -> None:
    async def leave() -> None:
        async with httpx.AsyncClient(timeout=20) as client:
            url = f"http://127.0.0.1:{port}{CHAT}"
            async with client.stream("POST", url, json=chat(questions[0], stream=True)) as response:
                assert response.status_code == 200

    asyncio.run(leave())
    assert httpx.get(f"http://127.0.0.1:{port}/health").json()["status"] == "ok"
