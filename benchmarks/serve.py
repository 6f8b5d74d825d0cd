"""What `raggrid serve` answers per second: one client, then many, with wrong requests among theirs.

    python -m benchmarks.serve FOLDER [--clients 32] [--seconds 120] [--alone 60]

FOLDER is of `raggrid export`. Its evaluated questions are asked, each client's next one when its last is answered, and
every answer is compared with that of `raggrid ask`. While many clients ask, another one sends what must hurt nobody:
bodies that are no JSON, too long or never end, a question that is too long, and clients that leave.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from tests.background import meanwhile

CHAT = "/v1/chat/completions"
RAGGRID = [sys.executable, "-c", "from raggrid.cli import main; main()"]
HEADERS = {"Content-Type": "application/json"}


@dataclass
class Asked:
    """What clients got. ``seconds``: of each answer; ``wrong``: what was not the expected text; ``cpu``: seconds of
    the server's processors meanwhile, which other work on the machine changes little."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def told(self) -> str:
        """A row: answers per second, median and 95th percentile of the time of one, CPU seconds, what was wrong."""
        cuts, number = quantiles(self.seconds, n=20), len(self.seconds)
        times = f"{number / self.wall:.2f} | {cuts[9]:.2f} | {cuts[18]:.2f} | {self.cpu / number:.3f}"
        return f"{number} | {times} | {len(self.wrong)}"


def main() -> None:
    """Measure one folder."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--alone", type=float, default=60.0, help="seconds of the single client")
    given = options.parse_args()
    expected = asked_alone(given.folder)
    with served(given.folder) as (port, server):
        run_clients(port, server, expected, 2, 5.0)  # the first requests load what is loaded lazily
        one = run_clients(port, server, expected, 1, given.alone)
        with wrong_requests(port) as refused:
            many = run_clients(port, server, expected, given.clients, given.seconds)
    print("| clients | answers | per second | median s | 95% within s | CPU s per answer | failed or different |")
    print("|---|---|---|---|---|---|---|")
    print(f"| 1 | {one.told} |\n| {given.clients} | {many.told} |")
    gain = (len(many.seconds) / many.wall) / (len(one.seconds) / one.wall)
    print(f"{gain:.2f} times the throughput of one client. Wrong requests, by what they got: {refused}")
    for text in (one.wrong + many.wrong)[:5]:
        print(text)


def asked_alone(folder: Path) -> dict[str, str]:
    """What `raggrid ask` answers to each evaluated question."""
    rows = json.loads((folder / "evaluated.json").read_text(encoding="utf-8"))["questions"]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"question": row["question"]}) + "\n" for row in rows)
        file.flush()
        command = [*RAGGRID, "ask", str(folder), "--file", file.name, "--json"]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return {each["question"]: each["answer"] for each in json.loads(told)["answers"]}


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port of a server in a process of its own, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = subprocess.Popen([*RAGGRID, "serve", str(folder), "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        while not is_up(port):
            if server.poll() is not None:
                raise SystemExit(f"{folder}: raggrid serve ended with {server.returncode}")
            time.sleep(0.1)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def is_up(port: int) -> bool:
    """Whether the server answers."""
    try:
        return send(HTTPConnection("127.0.0.1", port, timeout=5), "/health", None)[0] == 200
    except OSError:
        return False


def send(connection: HTTPConnection, path: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and body of a response."""
    connection.request("POST" if body is not None else "GET", path, body, HEADERS)
    response = connection.getresponse()
    return response.status, response.read()


def run_clients(port: int, server: psutil.Process, expected: dict[str, str], clients: int, seconds: float) -> Asked:
    """Let clients ask for so long, all questions in turn."""
    asked, order, places = Asked(), list(expected), count()
    began, used = time.perf_counter(), sum(server.cpu_times()[:2])

    def client() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=150)
        while time.perf_counter() < began + seconds:
            question = order[next(places) % len(order)]
            started = time.perf_counter()
            body = json.dumps({"messages": [{"role": "user", "content": question}]}).encode()
            status, told = send(connection, CHAT, body)
            asked.seconds.append(time.perf_counter() - started)
            text = json.loads(told)["choices"][0]["message"]["content"] if status == 200 else told.decode()
            if text != expected[question]:
                asked.wrong.append(f"{question}: {status}: got {text!r}; expected {expected[question]!r}")

    in_threads(client, clients)
    asked.wall, asked.cpu = time.perf_counter() - began, sum(server.cpu_times()[:2]) - used
    return asked


def in_threads(work: Callable[[], None], number: int) -> None:
    """Run the same thing in several threads, to the end."""
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def wrong_requests(port: int) -> Iterator[dict[str, Any]]:
    """Send wrong requests about once per second until the block ends; what they got, by kind."""
    over, got = threading.Event(), dict[str, Any]()
    chat = json.dumps({"messages": [{"role": "user", "content": "long " * 500}]}).encode()
    bodies = {"no JSON": b"{", "70 kB": b"x" * 70_000, "2,500 characters": chat}

    def keep_sending() -> None:
        slow: list[socket.socket] = []
        while not over.wait(1.0):
            for name, body in bodies.items():
                status, _ = send(HTTPConnection("127.0.0.1", port, timeout=60), CHAT, body)
                got.setdefault(name, {}).setdefault(status, 0)
                got[name][status] += 1
            slow.append(begun_and_left(port))
        for each in slow:
            each.close()
        got["never ends, or leaves"] = len(slow)

    with meanwhile(keep_sending, over):
        yield got


def begun_and_left(port: int) -> socket.socket:
    """A connection whose body never ends; beside it one that asks and does not wait for the answer."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = json.dumps({"messages": [{"role": "user", "content": "Who was the first?"}], "stream": True})
    with socket.create_connection(("127.0.0.1", port)) as leaving:
        leaving.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    slow = socket.create_connection(("127.0.0.1", port))
    slow.sendall(f"{head}Content-Length: 500\r\n\r\n{{".encode())
    return slow


if __name__ == "__main__":
    main()
