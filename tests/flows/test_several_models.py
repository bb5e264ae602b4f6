"""Three models at a server on the same chunks: what each says is collated, disagreement is shown, and what each added is counted."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.chat_server import Answer, Asked, ChatServer, say
from tests.flows.scripted import Folder

BOOK = "# The Mill\n\nThe keeper counted tho letters. He go home and `say_no()` it.\n\nShe were late, and teh lamp was out.\n"
SETTINGS = """
[models.{name}]
engine = "endpoint"
source = "{name}"
base_url = "{url}"
protocol = "{protocol}"
"""
CHANGES = {
    # `first` and `second` agree on two, `second` has one alone and would change code too; `third` brings nothing of its own
    "first": [("counted tho", "counted the"), ("teh lamp", "the lamp"), ("He go home", "He went home")],
    "second": [
        ("counted tho", "counted the"),
        ("teh lamp", "the lamp"),
        ("He go home", "He goes home"),
        ("She were", "She was"),
        ("no()", "yes()"),
    ],
    "third": [("counted tho", "counted the"), ("nowhere", "here")],
}


def answer(asked: Asked) -> Answer:
    """`second` is asked to rewrite, and does it as a chat model would; the others return edits between other words."""
    name, passage = asked.body["model"], asked.prompt.partition("Passage:\n")[2]
    if name == "second":
        for old, new in CHANGES[name]:
            passage = passage.replace(old, new)
        return say(f"Here is the corrected text:\n\n```\n{passage.replace(chr(10), ' ')}\n```\n\nNote: I kept the title.")
    edits = [
        {"quote": old, "replacement": new, "category": "word", "why": ""}
        for old, new in CHANGES[name]
        if old in passage or old == "nowhere"
    ]
    return say(f"I found these:\n```json\n{json.dumps({'edits': edits})}\n```")


@pytest.fixture
def folder(tmp_path: Path, prefect_url: str) -> Folder:
    made = Folder(tmp_path, prefect_url)
    (tmp_path / "book.md").write_text(BOOK)
    start = BOOK.index("tho")
    truth = [{"start": start, "end": start + 3, "original": "tho", "corrected": "the", "type": "WORD"}]
    start = BOOK.index("were")
    truth.append({"start": start, "end": start + 4, "original": "were", "corrected": "is", "type": "AGREEMENT/FORM"})
    (tmp_path / "book.edits.json").write_text(json.dumps(truth))
    return made


@pytest.mark.slow
def test_three_models_are_collated_and_counted(folder: Folder) -> None:
    command = ("run", "proofread", "book.md", *(word for name in CHANGES for word in ("-m", name)), "--min-confidence", "0.7")
    with ChatServer(answer, models=tuple(CHANGES)) as server:
        protocols = {"first": "edits", "second": "rewrite", "third": "edits"}
        settings = "".join(SETTINGS.format(name=name, url=server.url, protocol=protocol) for name, protocol in protocols.items())
        (folder.path / "flows.toml").write_text(settings)
        ran = folder.flows(*command)
    findings = pl.read_parquet(folder.run.folder / "findings.parquet")
    rows = {(row["original"], row["replacement"]): row for row in findings.iter_rows(named=True)}
    voters = {
        key: tuple([name for name in row[column] if "/" in name] for column in ("proposers", "silent", "dissenters"))
        for key, row in rows.items()
    }
    assert voters["tho", "the"] == (["first/edits", "second/rewrite", "third/edits"], [], [])
    assert voters["teh", "the"] == (["first/edits", "second/rewrite"], ["third/edits"], [])
    assert voters["go", "went"] == (["first/edits"], ["third/edits"], ["second/rewrite"])
    assert voters["go", "goes"] == (["second/rewrite"], ["third/edits"], ["first/edits"])
    assert voters["were", "was"] == (["second/rewrite"], ["first/edits", "third/edits"], [])
    assert rows["tho", "the"]["confidence"] > rows["teh", "the"]["confidence"] - 0.1
    assert {rows["go", "went"]["status"], rows["go", "goes"]["status"]} <= {"suggested", "accepted", "conflict"}
    assert "conflict" in {rows["go", "went"]["status"], rows["go", "goes"]["status"]}

    edits = pl.read_parquet(folder.run.folder / "edits.parquet")
    refused = set(edits.filter(pl.col("reason").is_not_null()).select("proposer", "reason").iter_rows())
    assert {("second/rewrite", "protected_code"), ("third/edits", "quote_not_found")} <= refused
    yields = {row["proposer"]: row for row in pl.read_parquet(folder.run.folder / "yields.parquet").iter_rows(named=True)}
    third = yields["third/edits"]
    assert (third["alone_accepted"], third["alone_suggested"], third["num_rejected"]) == (0, 0, third["num_edits"] - 1)
    second = yields["second/rewrite"]
    assert second["alone_accepted"] + second["alone_suggested"] >= 1
    assert second["suggested_right"] == 0, "«were» is «is» in the corrections"
    assert second["engine_seconds"] is not None

    for told in (ran.stdout, folder.flows("show", "last").stdout):
        assert "3 models looked for mistakes" in told
        assert "third/edits added nothing: " in told
        assert "second/rewrite added" in told
    report = (folder.run.folder / "report.md").read_text()
    assert "## What each proposer added" in report
    assert "## Where the time went" in report
    assert "third/edits: nothing here" in report
    assert "first/edits: something else here" in report
    counted = folder.flows(
        "sql", "last", "select proposer from yields where alone_accepted + alone_suggested = 0", "--format", "csv"
    ).stdout
    assert "third/edits" in counted
