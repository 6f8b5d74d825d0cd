"""Pushing, against a stand-in of the hub's routes on this machine."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import make_server

from raggrid.errors import InputError, RecordError, StudyError
from raggrid.export.uploading import push_export


class Hub:
    """The routes of the hub that a push uses, with what was uploaded."""

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.app = Flask("hub")
        self.app.post("/api/repos/create")(self.create)
        self.app.get("/api/models/<owner>/<name>")(self.about)
        self.app.post("/api/models/<owner>/<name>/preupload/main")(self.preupload)
        self.app.post("/api/models/<owner>/<name>/commit/main")(self.commit)
        self.app.post("/api/validate-yaml")(lambda: {"errors": [], "warnings": []})

    def create(self) -> ResponseReturnValue:
        said = request.get_json()
        repo = f"{said.get('organization') or 'me'}/{said['name']}"
        if said["name"] == "forbidden":
            return {"error": "no rights"}, 403
        address = f"{request.host_url}{repo}"
        if repo in self.private:
            return {"url": address, "error": "exists"}, 409
        self.private[repo] = said.get("visibility") == "private"
        return {"url": address, "name": repo, "id": "1"}

    def about(self, owner: str, name: str) -> ResponseReturnValue:
        return {"id": f"{owner}/{name}", "private": self.private[f"{owner}/{name}"], "siblings": []}

    def preupload(self, owner: str, name: str) -> ResponseReturnValue:
        files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in
                 request.get_json()["files"]]  # fmt: skip
        return {"files": files}

    def commit(self, owner: str, name: str) -> ResponseReturnValue:
        for line in request.get_data().splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                self.files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
        return {"commitOid": "0" * 40, "commitUrl": f"{request.host_url}{owner}/{name}/commit/{'0' * 40}"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Hub, str]]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    hub = Hub()
    server = make_server("127.0.0.1", 0, hub.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub, f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "embedder").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "load.pyc").write_bytes(b"x")
    for name in ("pipeline.json", "README.md", "load.py", "embedder/config.json"):
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


def test_all_files_arrive_in_a_private_repository(hub: tuple[Hub, str], folder: Path) -> None:
    said: list[str] = []
    address = push_export(folder, "me/tuned", endpoint=hub[1], say=said.append)
    assert address.endswith("/me/tuned")
    assert hub[0].private == {"me/tuned": True}
    assert sorted(hub[0].files) == ["README.md", "embedder/config.json", "load.py", "pipeline.json"]
    assert hub[0].files["embedder/config.json"] == b"content of embedder/config.json"
    assert "parity was not checked" in said[0]


def test_a_public_repository_is_refused_unless_asked_for(hub: tuple[Hub, str], folder: Path) -> None:
    hub[0].private["me/tuned"] = False
    with pytest.raises(InputError, match="which is public; expected a private one"):
        push_export(folder, "me/tuned", endpoint=hub[1])
    assert not hub[0].files
    push_export(folder, "me/tuned", endpoint=hub[1], public=True)
    assert hub[0].files


def test_what_cannot_be_pushed_is_said(hub: tuple[Hub, str], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"me/forbidden was not uploaded: .*403"):
        push_export(folder, "me/forbidden", endpoint=hub[1])
    with pytest.raises(InputError, match="got 'a b/c'; expected OWNER/NAME"):
        push_export(folder, "a b/c", endpoint=hub[1])
    with pytest.raises(RecordError, match="not an exported pipeline"):
        push_export(tmp_path / "embedder", "me/tuned", endpoint=hub[1])
