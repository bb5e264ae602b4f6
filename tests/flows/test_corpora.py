"""Folders and tables as inputs: what is read, what a run of them leaves, and what is applied to a copy."""

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkers.readers.tables import TableColumns
from chunkers.records import DocumentError
from chunkers.shards import read_shard
from chunkers.tokens import Tokenizer
from engine.models import Model
from flows.corpus import DocumentRow, build_corpus, expand_inputs, restore_corpus
from tests.flows.scripted import Folder

DOUBLED = "We walked to the the house, and it was closed.\n"


def test_folder_is_the_texts_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    kept = ["in/a.md", "in/b.TXT", "in/deep/er/c.jsonl", "in/z.parquet"]
    left = ["in/.hidden.md", "in/.git/d.md", "in/e.png", "in/a.edits.json", "in/out/runs/r/report.md", "in/out/calls/x.md"]
    for name in [*kept, *left]:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert expand_inputs(["in"]) == expand_inputs(["in/"]) == kept
    assert expand_inputs(["in/deep", "in"]) == ["in/deep/er/c.jsonl", "in/a.md", "in/b.TXT", "in/z.parquet"]
    assert "in: 2 files in it are no text by their names and are left out (1 .json, 1 .png)." in caplog.text
    (tmp_path / "empty").mkdir()
    with pytest.raises(DocumentError, match="no text in it"):
        expand_inputs(["empty"])


def test_documents_of_a_table_come_back_from_their_shards(tmp_path: Path, model: Model) -> None:
    texts = [f"Text number {number}. It has some words more.\n\n# {number}\n" for number in range(60)]
    texts[7] = texts[3]
    texts[9] = ""
    pq.write_table(pa.table({"text": texts, "id": [f"../{number}.docx" for number in range(60)]}), tmp_path / "a.parquet")
    (tmp_path / "own.md").write_text(texts[5])
    paths = [str(tmp_path / "a.parquet"), str(tmp_path / "own.md")]
    for kind in ("text", "markdown"):
        built = build_corpus(
            paths,
            tmp_path / kind,
            Tokenizer(model.tokenizer_path),
            max_tokens=64,
            max_context_tokens=8,
            max_shard_tokens=200,
            columns=TableColumns(format=kind),
        )
        assert len(built.shard_paths) > 3
        rows = list(read_shard(str(built.documents_path), DocumentRow))
        wanted = [text for number, text in enumerate(texts) if number != 7]
        assert [row.path for row in rows] == [f"{paths[0]}#../{number}.docx" for number in range(60) if number != 7]
        assert (built.num_documents, built.num_words) == (59, sum(row.num_words for row in rows))
        restored = list(restore_corpus(built.shard_paths, built.documents_path))
        assert [document.text for document in restored] == [text for text in wanted if text] + [""]
        assert {(document.format, document.table) for document in restored} == {(kind, paths[0])}


ROWS = [
    {"url": "s3://../secret.docx", "body": DOUBLED, "n": 1.50},
    {"url": "b", "body": "Nothing is wrong here.\n"},
    {"url": "c"},
    {"url": "d", "body": DOUBLED},
    {"url": "e", "body": f"A head.\n\n{DOUBLED}"},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    """With the same documents in two tables of the folder `in`; on a Prefect server for the tests that run a flow."""
    folder = Folder(tmp_path, request.getfixturevalue("prefect_url") if request.node.get_closest_marker("slow") else "")
    folder.configure()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "crawl.jsonl").write_text(LINES)
    columns = {name: [row.get(name) for row in ROWS] for name in ("url", "body", "n")}
    pq.write_table(pa.table(columns), tmp_path / "in" / "crawl.parquet")
    return folder


def test_plan_of_tables_counts_documents_and_near_duplicates(folder: Folder) -> None:
    told = folder.flows(
        "plan", "proofread", "in", "-m", "fake", "--text-column", "body", "--near-duplicates", "0.5", "--format", "json"
    ).stdout
    planned = json.loads(told)
    assert (planned["documents"], planned["chunks"], planned["near_duplicates"]) == (3, 3, 1)
    assert [message.partition(": row")[0] for message in planned["unread"]] == ["in/crawl.jsonl#c", "in/crawl.parquet#c"]
    told = folder.flows("plan", "proofread", "in/crawl.jsonl", "-m", "fake", "--near-duplicates", "0.3", code=2).stderr
    assert "0.5" in told


@pytest.mark.slow
def test_table_is_proofread_and_applied_to_a_copy(folder: Folder) -> None:
    tmp_path, rows, lines = folder.path, ROWS, LINES
    options = ("-m", "fake", "--text-column", "body", "--max-error-rate", "1", "--min-confidence", "0.3")
    folder.flows("run", "proofread", "in", *options)
    run = folder.run
    assert run.state == "partial"
    assert not [path for path in run.folder.iterdir() if path.suffix == ".diff" or path.name.endswith(".critic.md")]
    found = folder.flows(
        "sql", "last", "select path, original, replacement from findings join documents using (doc_id)", "--format", "json"
    )
    assert {json.loads(line)["path"] for line in found.stdout.splitlines()} == {
        "in/crawl.jsonl#s3://../secret.docx",
        "in/crawl.jsonl#e",
    }
    folder.flows("apply", "last", "-o", "fixed")
    mended = lines.replace("the the", "the")
    assert (tmp_path / "fixed" / "crawl.jsonl").read_text() == mended
    query = "select url, body, n from 'fixed/crawl.parquet'"
    texts = duckdb.connect().execute(query.replace("fixed", str(tmp_path / "fixed"))).fetchall()
    assert texts == [(row["url"], row.get("body") and str(row["body"]).replace("the the", "the"), row.get("n")) for row in rows]
    told = folder.flows("apply", "last", "-o", "in", code=2)
    assert "a source is never overwritten" in told.stderr
    (tmp_path / "in" / "crawl.jsonl").write_text(lines.replace("Nothing", "Something"))
    told = folder.flows("apply", "last", "-o", "other", code=2)
    assert "has changed since" in told.stderr
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())
