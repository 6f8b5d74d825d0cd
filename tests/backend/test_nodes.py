"""What is asked of every node, of nodes that only exist here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from raggrid.backend.ray import draining, nodes
from raggrid.backend.ray.node_calls import NoAnswer
from raggrid.errors import InputError


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The ids of the nodes that are there, all on one machine; only the first knows the metric that it is asked for."""
    there = {"driver", "first", "second"}
    about = {"Resources": {"CPU": 1.0}, "NodeManagerHostname": "host", "NodeManagerAddress": "127.0.0.1"}
    answered = {"first": "", "second": "No module named 'ours'"}
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": name, "Alive": True, **about} for name in sorted(there)])
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "driver"))
    monkeypatch.setattr(draining, "draining", frozenset)
    monkeypatch.setattr(nodes, "ask", lambda node, *_: node)
    monkeypatch.setattr(nodes, "answers", lambda asked: [answered[node] for node in asked])
    return there


def test_a_node_that_lacks_something_is_named(alive: set[str]) -> None:
    with pytest.raises(
        InputError, match=r"fail on 1 of 2 other nodes(.|\n)*host \(127.0.0.1\): No module named 'ours'"
    ):
        nodes.check_metrics_everywhere({"short": "ours:short"})


def test_a_node_that_goes_while_it_is_asked_ends_nothing(alive: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(asked: list[str]) -> list[str]:
        alive.discard("second")
        return [NoAnswer("its machine is gone") if node == "second" else "" for node in asked]

    monkeypatch.setattr(nodes, "answers", answers)
    nodes.check_metrics_everywhere({"short": "ours:short"})


def test_a_node_that_was_told_to_go_is_not_asked(alive: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "draining", lambda: frozenset({"second"}))
    assert nodes.working_nodes().keys() == {"driver", "first"}
    nodes.check_metrics_everywhere({"short": "ours:short"})
