"""The documentation: pages made from the code are up to date, every setting is explained, examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import raggrid
from docs.generate import FOLDER, PAGES, docstrings, verbs
from raggrid.records import Report, Status
from raggrid.space.commented import sections
from raggrid.space.yaml_io import dump_space
from raggrid.study.events import Observer, Progress, TaskEnded, tell
from raggrid.study.tasks import IndexTask
from tests.records import made_space
from tests.studies import WINNERS, answers, study
from tests.surface import SURFACES


@pytest.mark.parametrize("page", PAGES)
def test_pages_made_from_the_code_are_up_to_date(page: str) -> None:
    assert (FOLDER / page).read_text(encoding="utf-8") == PAGES[page](), "Run: python -m docs.generate"


def test_every_setting_says_what_it_does() -> None:
    silent = [
        f"{prefix}{name}"
        for prefix, section, _ in sections()
        for name, field in section.model_fields.items()
        if not docstrings(section).get(name)
        and not any(inner.startswith(f"{prefix}{name}.") for inner, *_ in sections())
    ]
    assert silent == []


@pytest.fixture
def study_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space and, in place of a search, the run directory that it would leave."""
    models = {"embedder": "BAAI/bge-base-en-v1.5", "generator": "meta-llama/Llama-3.1-8B-Instruct"}
    (tmp_path / "my.yaml").write_text(dump_space(made_space(models=models)))
    scores = {key: [answers(0.5, 60, place)] for place, key in enumerate(WINNERS)}
    progress = Progress(trials=1, planned_trials=11, answers=0, planned_answers=9)
    ended = TaskEnded(task=IndexTask(), report=Report(status=Status.COMPLETED), progress=progress)

    def search(_: object, run: str, *, observers: Sequence[Observer] = (), say: object = None) -> None:
        tell(observers, ended)
        if not Path(run).exists():
            study(Path(run), scores)

    monkeypatch.setattr(raggrid, "search", search)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("study_at_hand")
def test_the_examples_of_the_python_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (FOLDER / "python.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    exec("\n".join(examples), {})
    told = capsys.readouterr().out
    assert "11 trials" in told
    assert "--set retrieval.top_k: got 0; expected an integer of at least 1." in told
    assert "completed 1 of 11 trials" in told
    assert "made 8 trials" in told
    assert Path("frontier.html").is_file()


def test_the_python_page_has_a_call_for_each_verb() -> None:
    page = (FOLDER / "python.md").read_text(encoding="utf-8")
    calls = {
        re.sub(r"\W.*", "", command): call for command, call in re.findall(r"\| `raggrid (.*?)` \| `(.*?)` \|", page)
    }
    assert calls.keys() == {line.partition(" ")[0] for line in SURFACES["commands"]()}
    assert {name for call in calls.values() for name in re.findall(r"raggrid\.(\w+)", call)} <= set(raggrid.__all__)


CLUSTER_FILES = ("docs/cluster.md", "cluster.yaml", "deploy/rayjob.yaml", "deploy/raggrid.sbatch")


@pytest.mark.parametrize("file", CLUSTER_FILES)
def test_commands_for_clusters_exist_with_their_options(file: str) -> None:
    text = (FOLDER.parent / file).read_text(encoding="utf-8")
    known = {line.split()[0]: set[str]() for line in SURFACES["commands"]()}
    for line in SURFACES["commands"]():
        known[line.split()[0]] |= set(line.split()[1].rstrip(":").split("/"))
    commands = re.findall(rf"\braggrid ({'|'.join(known)}) ([^'`\n]*)", text)
    assert commands
    for verb, rest in commands:
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known[verb] | {"--"}, (verb, rest)


def test_commands_of_ray_for_clusters_exist_with_their_options() -> None:
    from ray.scripts.scripts import cli

    text = (FOLDER / "cluster.md").read_text(encoding="utf-8") + (FOLDER.parent / "cluster.yaml").read_text()
    commands = re.findall(r"^.*?\bray ([a-z][a-z-]+) ?([^'`\n]*)", text, flags=re.MULTILINE)
    used = [(name, rest) for name, rest in commands if name in cli.commands]
    assert {"up", "down", "exec", "dashboard", "get-auth-token", "start", "symmetric-run"} <= {name for name, _ in used}
    for name, rest in used:
        options = {option for parameter in cli.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, (name, rest)


def test_the_site_builds_and_its_links_hold(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_between_files_hold(page: str) -> None:
    file = FOLDER.parent / page
    links = re.findall(r"\]\(([^)#\s]+)\)", file.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


def shown_commands() -> list[tuple[str, str]]:
    """(page, command) of every ``raggrid ...`` that stands in a block of code."""
    pages = [FOLDER.parent / "README.md", *sorted(FOLDER.glob("*.md"))]
    texts = {page.name: page.read_text(encoding="utf-8").replace("\\\n", " ") for page in pages}
    lines = [(name, line) for name, text in texts.items() for line in text.splitlines()]
    found = [(name, line.strip()) for name, line in lines if re.match(r"( {4,}|\$ )raggrid [a-z]", line)]
    return [(name, re.sub(r"\[(--[^\]]*)\]", r"\1", command)) for name, command in found]


def parsed_as(command: str) -> str:
    """The verb of a command that the command line accepts. Raises click's errors for any other."""
    verb, *words = shlex.split(command, comments=True)[1:]
    if verb not in verbs() and words:  # a verb of a group
        verb = f"{verb} {words.pop(0)}"
    verbs()[verb].make_context(verb, words)
    return str(verb)


def test_every_command_that_is_shown_is_one_that_raggrid_accepts() -> None:
    found = {parsed_as(command) for _, command in shown_commands()}
    assert found >= {"plan", "search", "watch", "track", "recommend", "frontier", "report", "simulate", "train"}


@pytest.mark.parametrize("command", ["raggrid watch", "raggrid watch r --nothing", "raggrid search a.yaml --run"])
def test_a_command_that_raggrid_does_not_accept_is_found(command: str) -> None:
    with pytest.raises(Exception, match=r"Missing|No such option|requires an argument"):
        parsed_as(command)
