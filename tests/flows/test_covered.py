"""What a schedule has covered, and what is new beside it."""

from pathlib import Path

import pytest

from chunkers.readers import parse_document
from chunkers.records import DocumentError
from chunkers.tokens import Tokenizer
from engine.models import Model
from flows.config import ConfigError
from flows.corpus import build_corpus, read_rows
from flows.covered import Coverage, NewInputs
from flows.ends import ExitCode
from flows.errors import ErrorRow
from flows.runs import Run
from tests.flows.scripted import DATA


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two books, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "book.md").write_text(f"# {name}\n\nThis is an other text.\n")
    return tmp_path / "in"


def look(settings: str = "settings", style: str | None = None, patterns: tuple[str, ...] = ("in/**/*.md",)) -> NewInputs:
    return Coverage("out/served/t.parquet", settings, style).find_new(patterns)


def read(new: NewInputs, model: Model) -> Run:
    """A run over what is new, as far as cover() asks."""
    run = Run(Path("out/runs/r"))
    build_corpus(new.paths, run.folder, Tokenizer(model.tokenizer_path), max_tokens=448, max_context_tokens=32)
    return run


def finish(new: NewInputs, model: Model, code: ExitCode = ExitCode.DONE, errors: tuple[ErrorRow, ...] = ()) -> int:
    """That run has ended so."""
    return Coverage("out/served/t.parquet", "settings", None).cover(new, read(new, model), code, errors)


def test_only_what_changed_is_new(inputs: Path, model: Model) -> None:
    first = look()
    assert first.paths == ("in/one/book.md", "in/two/book.md")
    assert finish(first, model) == 2
    assert (look().paths, look().num_known) == ((), 2)
    (inputs / "one" / "book.md").rename(inputs / "one" / "moved.md")
    assert look().paths == (), "its bytes are known"
    (inputs / "one" / "moved.md").write_text("Now it is another text.\n")
    assert look().paths == ("in/one/moved.md",)
    assert look("other settings").paths == ("in/one/moved.md", "in/two/book.md")


def test_a_style_sheet_makes_its_own_documents_new(inputs: Path, model: Model) -> None:
    finish(look(), model)
    sheet = inputs / "one" / "style.toml"
    sheet.write_text("# nothing is decided\n")
    assert look().paths == ()
    sheet.write_text('words = ["Zorvex"]\n')
    assert look().paths == ("in/one/book.md",)
    finish(look(), model)
    assert look().paths == ()
    sheet.write_text('words = ["Zorvex", "shew"]\n')
    assert look().paths == ("in/one/book.md",)
    assert len(look(style=str(sheet)).paths) == 2, "one for all"
    sheet.write_text("words = 3\n")
    with pytest.raises(ConfigError, match=r"style\.toml"):
        look()


def test_what_failed_is_new_again_where_the_run_did_not_end_well(inputs: Path, model: Model) -> None:
    new = look()
    failure = ErrorRow(doc_id=new.rows[0].doc_id, outcome="engine_error", message="it failed")
    assert finish(new, model, ExitCode.FAILED_ROWS, (failure,)) == 1
    assert look().paths == ("in/one/book.md",)
    assert finish(look(), model, ExitCode.FINDINGS, (failure,)) == 1, "as few as it allows"
    assert look().paths == ()


def test_a_file_that_cannot_be_read_is_asked_once_where_the_run_ended_well(inputs: Path, model: Model) -> None:
    (inputs / "zeros.md").write_bytes(bytes(10))
    new = look()
    unread = ErrorRow(path="in/zeros.md", outcome="unreadable", message="zeros")
    assert finish(new, model, ExitCode.FAILED_ROWS, (unread,)) == 2
    assert look().paths == ("in/zeros.md",)
    assert finish(new, model, ExitCode.DONE, (unread,)) == 3
    assert look().paths == ()
    (inputs / "zeros.md").write_bytes((DATA / "using-cpp-from-swift.md").read_bytes())
    assert look().paths == ("in/zeros.md",)


def test_a_table_is_covered_as_a_whole(inputs: Path, model: Model) -> None:
    table, patterns = inputs / "pages.jsonl", ("in/*.jsonl",)
    table.write_text('{"id": "a", "text": "This is an other text."}\n{"id": "b", "text": "And one more."}\n')
    new = look(patterns=patterns)
    documents = read_rows(read(new, model).folder / "documents.parquet")
    assert sorted(row.path for row in documents.values()) == ["in/pages.jsonl#a", "in/pages.jsonl#b"]
    assert finish(new, model, ExitCode.FAILED_ROWS, (ErrorRow(doc_id=min(documents), outcome="timeout", message="late"),)) == 0
    assert finish(new, model) == 1
    assert look(patterns=patterns).paths == ()
    table.write_text(table.read_text() + '{"id": "c", "text": "A third one."}\n')
    assert look(patterns=patterns).paths == ("in/pages.jsonl",)


def test_a_pattern_may_fit_nothing_yet_and_a_name_may_not(inputs: Path) -> None:
    assert look(patterns=("none/*.md",)).paths == ()
    (inputs / "empty").mkdir()
    assert look(patterns=("in/empty",)).paths == ()
    assert look(patterns=("none.md",)).paths == ("none.md",), "whoever reads it says so"
    with pytest.raises(DocumentError, match="names in one bucket"):
        look(patterns=("s3://*/x.md",))


def test_a_table_is_covered_unless_a_row_of_it_failed(inputs: Path, model: Model) -> None:
    (inputs / "rows.jsonl").write_text('{"text": "One text."}\n{"text": "Another text."}\n{"no": "text"}\n')
    new = look(patterns=("in",))
    assert new.paths == ("in/one/book.md", "in/rows.jsonl", "in/two/book.md")
    row = parse_document(b"Another text.", "row").doc_id
    failure = ErrorRow(doc_id=row, outcome="engine_error", message="it failed")
    assert finish(new, model, ExitCode.FAILED_ROWS, (failure,)) == 2
    assert look(patterns=("in",)).paths == ("in/rows.jsonl",)
    assert finish(look(patterns=("in",)), model) == 1
    assert look(patterns=("in",)).paths == ()
