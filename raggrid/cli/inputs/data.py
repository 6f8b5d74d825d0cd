"""The verbs about data: data inspect, prepare, convert, split, label."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import Json, Override, Space, print_json

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look at data, prepare, convert, split and label it.",
)
app.add_typer(data, name="data")

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="Folder in a format that raggrid knows, or hub:NAME[@REVISION].")
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="New or empty folder to write into.")]
OfData = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting such as data.columns.answers=short. Repeatable."),
]
Form = Literal["raggrid", "beir", "flashrag"]
Published = Literal["hotpotqa", "popqa", "wikipedia"]
Rule = Literal["first", "all", "agreeing"]


@data.command()
def inspect(
    space: Space,
    set_: Override = None,
    retrieval: Annotated[
        bool, typer.Option("--retrieval/--no-retrieval", help="Embed the corpus and say what its embedder finds.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="HTML page to write as well.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what the data of a space is like, before anything is spent on it.

    Sizes, lengths in tokens, how many answers are in the labelled and in the retrieved passages, recall of the base
    embedder at several k, questions that two splits share, ten examples. Nothing is trained.
    """
    found = raggrid.inspect_data(raggrid.load_space(space, set_ or []), retrieve=retrieval, say=_say)
    if output:
        raggrid.write_inspection(found, output)
    if as_json:
        print_json(found.to_json())
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_inspection import show_inspection

    show_inspection(found, console())
    if output:
        print(f"\nWritten: {output}")


@data.command()
def prepare(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="File or folder with the data as it is published; or hub:NAME.")
    ],
    kind: Annotated[Published, typer.Option("--kind", help="What it is: hotpotqa, popqa or wikipedia.")],
    output: Output,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Passages that questions are to be answered from; popqa needs them."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes other splits of PopQA.")] = 0,
    set_: OfData = None,
) -> None:
    """Make the paper's data sets from their published files, in raggrid's form.

    wikipedia: a dump in passages, such as DPR's psgs_w100.tsv.gz or a folder of JSON Lines, becomes corpus.jsonl.
    hotpotqa: its JSON files become training and validation questions over the paragraphs that come with them. popqa:
    its TSV becomes 80% training and 20% validation questions.

    With --corpus questions are over these passages, and their labels are made from the pages that they are about.
    Passages are streamed: memory does not grow with their text.
    """
    made = raggrid.prepare_data(kind, source, output, corpus=corpus, overrides=set_ or [], seed=seed, say=_say)
    _told(made.about)
    sizes = ", ".join(f"{count:,} {name}" for name, count in made.splits.items())
    print(f"{output}: {made.passages:,} passages{f'; questions: {sizes}' if sizes else ''}")
    if made.corpus:
        print(f"In a space: data.folder={output} data.corpus={made.corpus}")


@data.command()
def convert(
    source: Source,
    output: Output,
    to: Annotated[Form, typer.Option("--to", help="Form to write: raggrid, beir or flashrag.")] = "raggrid",
    set_: OfData = None,
) -> None:
    """Write data in another form.

    What a form has no field for goes into its metadata, where raggrid reads it again: answers in BEIR's,
    labels in FlashRAG's.
    """
    found = raggrid.read_data(source, set_ or [])
    _told(found.about)
    raggrid.write_data(found, output, to)
    _show_sizes(output, found)


@data.command()
def split(
    source: Source,
    output: Output,
    validation: Annotated[float, typer.Option(metavar="SHARE", help="Share of the validation split; 0: none.")] = 0.15,
    test: Annotated[float, typer.Option(metavar="SHARE", help="Share of the test split; 0: none.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Another seed makes other splits.")] = 0,
    set_: OfData = None,
) -> None:
    """Make new splits of all questions, and write them with the corpus in raggrid's form.

    Questions that share a labelled passage, a group or their text stay in one split. The rest of the questions is the
    training split.
    """
    found = raggrid.read_data(source, set_ or [])
    _told(found.about)
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    made = raggrid.split_data(found, {name: share for name, share in shares.items() if share}, seed)
    raggrid.write_data(made, output)
    _show_sizes(output, made)


@data.command()
def label(
    space: Space,
    output: Output,
    set_: Override = None,
    rule: Annotated[
        Rule,
        typer.Option(
            help="Which of the passages found that contain an accepted answer become labels: the first, all, or "
            "agreeing: the first passage found, if it contains one."
        ),
    ] = "first",
    top_k: Annotated[int, typer.Option("--top-k", metavar="K", min=1, help="Passages that are looked at.")] = 5,
    sample: Annotated[
        int, typer.Option(metavar="N", min=0, help="Labels to write into to_check.jsonl for a person to check.")
    ] = 50,
) -> None:
    """Label questions that have no context labels, so that strategies that need labels become possible.

    The embedder of the space finds passages; those that contain an accepted answer become labels. A random sample is
    written to DIR/to_check.jsonl: set ``right`` to true or false in it, then run ``raggrid data checked DIR``. What a
    study on such labels reports says that raggrid made them.
    """
    labelled = raggrid.label_data(raggrid.load_space(space, set_ or []), rule=rule, top_k=top_k, say=_say)
    raggrid.write_labelled(labelled, output, sample)
    origin = labelled.origin
    _show_sizes(output, labelled.data)
    print(f"Labelled: {origin.labelled:,} of {origin.questions:,} questions without a label.")
    if sample:
        print(f"Check {output / 'to_check.jsonl'}: set right to true or false, then: raggrid data checked {output}")


@data.command()
def checked(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that raggrid data label wrote.")],
) -> None:
    """Read a checked sample of labels and record their error rate in the folder."""
    origin = raggrid.check_labels(folder)
    print(origin.sentence)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # the other stream may be read as JSON


def _told(sentences: tuple[str, ...]) -> None:
    for sentence in sentences:
        _say(sentence)


def _show_sizes(folder: Path, made: raggrid.Dataset) -> None:
    sizes = ", ".join(f"{len(questions):,} {name}" for name, questions in made.splits.items())
    print(f"{folder}: {len(made.passages):,} passages; questions: {sizes}")
