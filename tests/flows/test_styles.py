"""Which style sheet is whose, what a run makes of it, and what it proposes."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from chunkers.shards import read_shard
from chunkers.style import parse_style
from chunkers.tokens import Tokenizer
from engine.models import resolve_model
from flows.collation import collate_shard
from flows.config import ConfigError, RunConfig
from flows.corpus import build_corpus, restore_documents
from flows.execute import plan_run
from flows.judge import write_candidates
from flows.style_proposal import write_proposal
from flows.styles import find_sheet, style_passages
from postprocess.records import Finding, FindingStatus
from postprocess.style_survey import Survey
from tests.flows.scripted import Folder


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, "utf-8")
    return path


def test_the_nearest_sheet_holds(tmp_path: Path) -> None:
    book = str(write(tmp_path, "book.md", "A book.\n"))
    assert find_sheet(book, None).path is None
    write(tmp_path, "style.toml", 'words = ["Folder"]')
    assert find_sheet(book, None).style.words == ("Folder",)
    write(tmp_path, "book.style.toml", 'words = ["Book"]')
    assert find_sheet(book, None).style.words == ("Book",)
    assert find_sheet(str(tmp_path / "other.md"), None).style.words == ("Folder",)
    given = str(write(tmp_path, "given.toml", 'words = ["Given"]'))
    assert find_sheet(book, given).style.words == ("Given",)
    assert find_sheet("https://example.org/book.md", None).path is None
    assert find_sheet(".", None).path is None, "a folder is no document, which its reader says"
    assert find_sheet("https://example.org/book.md", given).style.words == ("Given",)


def test_a_sheet_that_cannot_be_used_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    book = str(write(tmp_path, "book.md", "A book.\n"))
    with pytest.raises(ConfigError, match=r"none.toml cannot be read \(No such file"):
        plan_run("proofread", (book,), RunConfig(style="none.toml", out=str(tmp_path / "out")))
    write(tmp_path, "style.toml", "wrods = []")
    with pytest.raises(ConfigError, match=r"style.toml: wrods is no key of a style sheet; did you mean words\?"):
        plan_run("proofread", (book,), RunConfig(out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_what_a_sheet_decides_names_a_run(tmp_path: Path) -> None:
    book = str(write(tmp_path, "book.md", "A book.\n"))

    def name(style: str | None = None) -> str:
        return plan_run("proofread", (book,), RunConfig(style=style, out=str(tmp_path / "out"))).run.name

    plain = name()
    write(tmp_path, "style.toml", "# nothing yet\n")
    assert name() == plain
    write(tmp_path, "style.toml", 'words = ["Zorp"]')
    changed = name()
    assert changed != plain
    write(tmp_path, "style.toml", '# names\nwords = ["Zorp"] # ours\n')
    assert name() == changed
    assert name(str(write(tmp_path, "else.toml", 'words = ["Zorp"]'))) == changed


def test_documents_come_back_with_their_sheets_and_are_cut_as_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "A Zorp spoke. “Go,” it said.\n\n" * 6
    books = [str(write(tmp_path, name, text + name)) for name in ("a.md", "b.md")]
    tokenizer = Tokenizer(resolve_model("smollm2-135m").tokenizer_path)

    def build(folder: str, paths: Iterable[str]) -> dict[str, tuple[tuple[str, ...], list[str], set[str]]]:
        corpus = build_corpus(paths, tmp_path / folder, tokenizer, max_tokens=64, max_context_tokens=8)
        return {
            document.path: (document.style.words, [chunk.chunk_id for chunk in chunks], {span.kind for span in document.protected})
            for shard in corpus.shard_paths
            for document, chunks in restore_documents(shard, corpus.documents_path)
        }

    before = build("before", books)
    write(tmp_path, "a.style.toml", 'words = ["Zorp"]\n[protected]\ntext = ["Go,", "Nevermore"]\n')
    after = build("after", books)
    assert after[books[0]][0] == ("Zorp",)
    assert after[books[0]][2] == {"style"}
    assert after[books[1]] == before[books[1]]
    assert {path: row[1] for path, row in after.items()} == {path: row[1] for path, row in before.items()}
    assert [passage for passage in style_passages(tmp_path / "after").values() if "Zorp" in passage] != []
    assert "a.style.toml: «Nevermore» is protected and stands nowhere in the book" in caplog.text
    assert "«Go,»" not in caplog.text


def test_what_the_sheet_asks_for_is_found_without_a_model(tmp_path: Path) -> None:
    book = str(write(tmp_path, "book.md", "She sent an e-mail.\n"))
    write(tmp_path, "style.toml", '[variants]\nemail = ["e-mail"]\n')
    tokenizer = Tokenizer(resolve_model("smollm2-135m").tokenizer_path)
    corpus = build_corpus([book], tmp_path / "run", tokenizer, max_tokens=64, max_context_tokens=8)
    (shard,) = corpus.shard_paths
    candidates = tmp_path / "run" / "candidates" / shard.name
    write_candidates(shard, corpus.documents_path, candidates)
    found = read_shard(str(collate_shard(shard, corpus.documents_path, candidates, {}, RunConfig())), Finding)
    assert [(row.replacement, row.proposers, row.status) for row in found] == [("email", ("style:variant",), FindingStatus.ACCEPTED)]


def test_a_proposal_of_a_persons_hand_is_kept(tmp_path: Path) -> None:
    assert write_proposal(tmp_path, Survey())["file"] == "style.proposed.toml"
    assert write_proposal(tmp_path, Survey())["file"] == "style.proposed.toml"
    mended = write(tmp_path, "style.proposed.toml", 'words = ["Zorp"]\n')
    assert write_proposal(tmp_path, Survey())["file"] == "style.proposed-2.toml"
    assert mended.read_text("utf-8") == 'words = ["Zorp"]\n'


TEXT = (
    "# Of the Zorvex\n\n"
    + "The old Zorvex wrote an email to the Zorvex and sent the email. " * 3
    + "Then it sent an e-mail, by definately.\n"
)


@pytest.mark.slow
def test_a_proposed_sheet_that_is_copied_changes_findings_and_asks_no_model_again(tmp_path: Path, prefect_url: str) -> None:
    folder = Folder(tmp_path, prefect_url)
    folder.configure(protocol="score")
    write(tmp_path, "book.md", TEXT)
    said = folder.proofread().stdout
    first = folder.run
    proposed = first.folder / "style.proposed.toml"
    assert "style.proposed.toml: 1 word, 1 variant" in " ".join(said.split())
    assert "style.proposed.toml" in (first.folder / "report.md").read_text("utf-8")
    assert parse_style(proposed.read_bytes(), "proposed").variants == {"email": ("e-mail",)}

    shutil.copy(proposed, tmp_path / "book.style.toml")
    calls = folder.calls().height
    folder.proofread()
    (second,) = (run for run in (tmp_path / "out" / "runs").iterdir() if run != first.folder)
    assert folder.calls().height == calls
    manifest = json.loads((second / "manifest.json").read_text("utf-8"))
    assert manifest["styles"] == ["book.style.toml"]
    assert manifest["time"]["computed_tokens"] == 0

    def find(run: Path) -> list[tuple[str, str]]:
        rows = pl.read_parquet(run / "findings.parquet").filter(pl.col("proposers").list.contains("style:variant"))
        return rows.select("original", "replacement").rows()

    assert find(first.folder) == []
    assert find(second) == [("e-mail", "email")]
    assert (tmp_path / "book.style.toml").read_bytes() == proposed.read_bytes()
