"""Rows of tables as documents, and tables copied with other texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers.readers import Unread, parse_document, read_document, read_documents
from chunkers.readers import tables as reader
from chunkers.readers.tables import TableColumns, TableRow, read_rows
from chunkers.records import Document, DocumentError
from chunkers.table_copy import copy_table

COLUMNS = TableColumns()


def write_parquet(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def write_lines(path: Path, *lines: str | bytes) -> str:
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines))
    return str(path)


def read_all(path: str, columns: TableColumns = COLUMNS) -> list[Document | Unread]:
    return list(read_documents(path, columns))


def test_each_row_is_a_document_of_exactly_its_text(tmp_path: Path) -> None:
    texts = ["# No heading\n\nText — “so”.\r\n", "\ufeffAfter a mark.", "%PDF- is no file here", ""]
    tables = [
        write_parquet(tmp_path / "a.parquet", text=texts, other=[1, 2, 3, 4]),
        write_lines(tmp_path / "a.jsonl", *(json.dumps({"text": text}) for text in texts)),
    ]
    for path in tables:
        found = read_all(path)
        documents = [document for document in found if isinstance(document, Document)]
        assert [document.encode() for document in documents] == [text.encode() for text in texts]
        assert [document.path for document in documents] == [f"{path}#{number}" for number in range(1, 5)]
        assert {(document.format, document.table) for document in documents} == {("text", path)}
        assert documents[0].doc_id == parse_document(texts[0].encode(), "a.txt").doc_id
    (first, *_) = read_all(tables[0], TableColumns(format="markdown"))
    assert isinstance(first, Document)
    assert first.title == "No heading"


def test_rows_are_called_by_their_ids_and_those_decide_nothing(tmp_path: Path) -> None:
    ids = ["https://example.org/page.docx", "../../etc/passwd.md", "7", "x" * 500]
    path = write_parquet(tmp_path / "a.parquet", url=ids, text=["# One"] * 4, n=[1, 2, 3, 4])
    found = read_all(path)
    assert [getattr(document, "format", None) for document in found] == ["text"] * 4
    assert [document.path for document in found] == [f"{path}#{name[:200]}" for name in ids]
    assert [document.path for document in read_all(path, TableColumns(id="n"))][-1] == f"{path}#4"
    lines = write_lines(
        tmp_path / "a.ndjson",
        '{"id": 5, "url": "u", "text": "a"}',
        '{"url": "u", "text": "a"}',
        '{"id": ["x"], "text": "a"}',
        '{"id": "\\ud800", "text": "a"}',
    )
    assert [row.id for row in read_rows(lines, COLUMNS)] == ["5", "u", None, "?"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no JSON"),
        ("[1]", "a list"),
        ("[" * 100_000, "no JSON"),
        ('{"body": "x"}', "--text-column"),
        ('{"text": null}', "--text-column"),
        ('{"text": 7}', "is a int"),
        ('{"text": "\\ud83d"}', "surrogate"),
        ('{"text": "a\\u0000b"}', "NUL"),
        (b"\xff\xfe\xff\n", "no JSON"),
        ('{"text": "' + "long " * 100 + '"}', "a line of"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_line_that_is_no_document_says_why_and_the_others_go_on(
    line: str | bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words == "a line of":
        monkeypatch.setattr(reader, "MAX_LINE_BYTES", 200)
    path = write_lines(tmp_path / "a.jsonl", '{"text": "before"}', "", line, '{"text": "after"}')
    found = read_all(path)
    assert [document.text for document in found if isinstance(document, Document)] == ["before", "after"]
    problems = [each for each in found if isinstance(each, Unread)]
    assert [(words in each.message, each.path) for each in problems] == [(True, f"{path}#3")]
    assert isinstance(found[-1], Document)
    assert found[-1].path == f"{path}#4"


def no_column(folder: Path) -> str:
    return write_parquet(folder / "a.parquet", body=["x"])


def numbers(folder: Path) -> str:
    return write_parquet(folder / "a.parquet", text=[1])


def cut_off(folder: Path) -> str:
    path = Path(write_parquet(folder / "a.parquet", text=["x"]))
    path.write_bytes(path.read_bytes()[:-20])
    return str(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_column, "no column 'text' (there are: body)"),
        (numbers, "int64, not text"),
        (cut_off, "not a whole Parquet file"),
        (lambda folder: str(folder / "a.parquet"), "no such file"),
        (lambda folder: str(folder / "a.jsonl"), "no such file"),
    ],
)
def test_file_that_is_no_table_of_documents_is_an_error(make: Callable[[Path], str], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(DocumentError) as error:
        read_all(path)
    assert words in str(error.value)


def test_table_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="only a run reads tables"):
        read_document(write_lines(tmp_path / "a.jsonl", '{"text": "a"}'))


def test_rows_without_a_text_in_parquet(tmp_path: Path) -> None:
    table = pa.table({"id": [1, None], "text": pa.array(["a", None]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = list(read_rows(str(tmp_path / "a.parquet"), COLUMNS))
    assert rows[0] == TableRow(1, "1", "a", None)
    assert (rows[1].id, rows[1].text) == (None, None)


LINES = st.lists(
    st.tuples(
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.text(max_size=3) | st.floats() | st.none()),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        st.booleans(),
        st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", "\t: ")]),
    ),
    max_size=4,
)


@settings(max_examples=25)
@given(rows=LINES)
def test_copied_lines_have_other_texts_and_no_other_change(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("copy")
    lines = []
    for others, text, is_ascii, separators in rows:
        row = {"first": 1.50, **others, "text": text, "last": [{"text": "}"}]}
        lines.append(json.dumps(row, ensure_ascii=is_ascii, separators=separators))
    source = write_lines(folder / "a.jsonl", *lines, '{"text": "x"', "", b'{"text":  "no end", "n": 1e5}')
    copy_table(source, folder / "b.jsonl", COLUMNS, lambda text: text)
    assert (folder / "b.jsonl").read_bytes() == Path(source).read_bytes()
    copy_table(source, folder / "b.jsonl", COLUMNS, lambda text: f"{text}“!”")
    changed = (folder / "b.jsonl").read_bytes().split(b"\n")
    assert changed[len(rows) :][:2] == [b'{"text": "x"', b""]
    assert json.loads(changed[-1]) == {"text": "no end“!”", "n": 1e5}
    assert changed[-1].endswith(b', "n": 1e5}')
    for line, before, (_, text, _, _) in zip(changed, lines, rows, strict=False):
        assert json.loads(line)["text"] == f"{text}“!”"
        copy_table(write_lines(folder / "c.jsonl", line.decode()), folder / "d.jsonl", COLUMNS, lambda changed: changed[:-3])
        told, wanted = (folder / "d.jsonl").read_text("utf-8"), before + "\n"
        assert json.loads(told, parse_float=str, parse_constant=str) == json.loads(wanted, parse_float=str, parse_constant=str)


def test_line_that_is_too_long_is_copied_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 30)
    source = write_lines(tmp_path / "a.jsonl", " " * 30 + '{"text": "part"}', '{"text": "own"}')
    copy_table(source, tmp_path / "b.jsonl", COLUMNS, str.upper)
    assert (tmp_path / "b.jsonl").read_text() == " " * 30 + '{"text": "part"}\n{"text": "OWN"}\n'


def test_last_of_two_equal_keys_is_the_text(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", '{"text": "one", "text": "two", "more": {"text": 1}}')
    copy_table(source, tmp_path / "b.jsonl", COLUMNS, str.upper)
    assert (tmp_path / "b.jsonl").read_text() == '{"text": "one", "text": "TWO", "more": {"text": 1}}\n'


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_copied_parquet_keeps_its_schema_and_other_columns(kind: pa.DataType, tmp_path: Path) -> None:
    texts = [None if number % 7 == 3 else f"text {number}" for number in range(300)]
    table = pa.table(
        {"n": list(range(300)), "text": pa.array(texts).cast(kind), "deep": [{"a": [number]} for number in range(300)]},
    ).replace_schema_metadata({"origin": "here"})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    copy_table(str(tmp_path / "a.parquet"), tmp_path / "b.parquet", COLUMNS, str.upper)
    table, copy = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")
    assert copy.schema.equals(table.schema, check_metadata=True)
    assert copy.drop_columns("text").equals(table.drop_columns("text"))
    assert copy["text"].to_pylist() == [text and text.upper() for text in texts]


def test_copy_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", text=["a", "b"])
    (tmp_path / "b.parquet").write_text("before")

    def fail(text: str) -> str:
        raise ValueError(text)

    with pytest.raises(ValueError, match="a"):
        copy_table(source, tmp_path / "b.parquet", COLUMNS, fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]
    assert (tmp_path / "b.parquet").read_text() == "before"
