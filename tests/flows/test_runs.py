"""Run folders, inputs and shards, without an engine."""

import os
import socket
import threading
from pathlib import Path

import pytest

from chunkers.readers import parse_document
from chunkers.records import DocumentError
from chunkers.tokens import Tokenizer
from engine.models import Model
from engine.protocol import EngineError
from flows.corpus import build_corpus, expand_inputs, read_rows, restore_corpus, share_limit
from flows.engines import abort_engines, close_engines
from flows.judge import write_candidates
from flows.progress import expect_calls
from flows.quiet import stderr_to_file
from flows.reports import name_files
from flows.runs import Run, RunError, find_run, list_runs, name_run, write_file


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("book", "proofread-book-01234567"),
        ("../../etc/passwd", "proofread-etc-passwd-01234567"),
        ("..", "proofread-documents-01234567"),
        ("Война и мир; rm -rf", "proofread-rm--rf-01234567"),
        ("x" * 100, f"proofread-{'x' * 40}-01234567"),
    ],
)
def test_name_of_a_run_is_never_a_path(name: str, expected: str) -> None:
    assert name_run("proofread", name, "0123456789abcdef") == expected


def make_run(workspace: Path, name: str, mtime: int) -> Run:
    run = Run(workspace / "runs" / name)
    run.start()
    run.write_manifest({"run": name})
    os.utime(run.manifest_path, (mtime, mtime))
    return run


def test_runs_are_found_by_folder_name_beginning_and_last(tmp_path: Path) -> None:
    older, newer = make_run(tmp_path, "proofread-a-11111111", 100), make_run(tmp_path, "proofread-b-22222222", 200)
    assert [run.name for run in list_runs(tmp_path)] == [newer.name, older.name]
    assert find_run("last", tmp_path) == newer
    assert find_run("proofread-a", tmp_path) == older
    assert find_run(str(older.folder), tmp_path / "elsewhere") == older
    with pytest.raises(RunError, match="fits 2 runs"):
        find_run("proofread", tmp_path)
    with pytest.raises(RunError, match="No run"):
        find_run("capitals", tmp_path)


def test_state_follows_the_markers(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", 100)
    assert run.state == "unfinished"
    run.finish("_PARTIAL")
    assert run.state == "partial"
    run.start()
    assert run.state == "unfinished", "an old marker must not speak for a new run"
    run.finish("_SUCCESS")
    assert run.state == "done"


def test_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_file(tmp_path / "new" / "a.txt", "line\r\nline\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"line\r\nline\n"
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "new" / "a.txt", "\ud800")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"line\r\nline\n"


def test_inputs_are_expanded_in_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.md", "a.md", "c.txt", "odd[1].md"):
        Path(name).write_text("x")
    (tmp_path / "sub.md").mkdir()
    assert expand_inputs(["c.txt", "*.md", "a.md"]) == ["c.txt", "a.md", "b.md", "odd[1].md"]
    assert expand_inputs(["odd[1].md"]) == ["odd[1].md"], "a file that is there is no pattern"
    assert expand_inputs([str(tmp_path / "?.md")]) == [str(tmp_path / "a.md"), str(tmp_path / "b.md")]
    with pytest.raises(DocumentError, match="no file fits"):
        expand_inputs(["*.docx"])


def test_documents_come_back_from_their_shards(tmp_path: Path, model: Model) -> None:
    contents = {
        "plain.txt": ("One two three. " * 100).encode(),
        "wide.txt": "Café — “naïve”.\r\n\r\nZwei.".encode("utf-16"),
        "old.txt": "Caf\xe9 \x93quoted\x94 and more words here.".encode("latin-1"),
        "empty.md": b"",
        "book.md": b"# One\n\nText `code` more.\n\n# Two\n\nText.\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "same.txt").write_bytes(contents["plain.txt"])
    (tmp_path / "zeros.bin").write_bytes(bytes(10))
    inputs = [str(tmp_path / name) for name in [*contents, "same.txt", "zeros.bin"]]
    sizes = {"max_tokens": 64, "max_context_tokens": 20, "max_shard_tokens": 200}
    built = build_corpus(inputs, tmp_path / "run", Tokenizer(model.tokenizer_path), **sizes)
    assert [Path(unread.path).name for unread in built.unread] == ["zeros.bin"]
    assert len(built.shard_paths) == len(built.num_prose_chunks) > 1, "a shard is closed once it is full"
    restored = {Path(document.path).name: document for document in restore_corpus(built.shard_paths, built.documents_path)}
    assert {name: document.encode() for name, document in restored.items()} == contents
    for name, document in restored.items():
        assert document == parse_document(contents[name], str(tmp_path / name))


def test_detectors_end_with_the_run_that_is_stopped(tmp_path: Path, model: Model) -> None:
    (tmp_path / "a.md").write_text("He said said that.\n")
    built = build_corpus([str(tmp_path / "a.md")], tmp_path / "run", Tokenizer(model.tokenizer_path), max_tokens=64, max_context_tokens=0)
    target = tmp_path / "run" / "candidates" / "shard-00000.parquet"
    abort_engines()
    try:
        with pytest.raises(EngineError):
            write_candidates(built.shard_paths[0], built.documents_path, target)
    finally:
        close_engines()
    assert not target.exists()
    write_candidates(built.shard_paths[0], built.documents_path, target)
    assert target.exists()


def test_files_of_a_run_have_safe_names_each_once(tmp_path: Path, model: Model) -> None:
    paths = []
    for index, name in enumerate(["a/book.md", "b/book.md", "report.md", "über uns; $(x).md"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"Text {index}.")
        paths.append(str(path))
    built = build_corpus(paths, tmp_path / "run", Tokenizer(model.tokenizer_path), max_tokens=64, max_context_tokens=0)
    names = list(name_files(read_rows(built.documents_path).values()).values())
    assert len(set(names)) == 4
    assert "report" not in names, "report.md is the run's own"
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzü0123456789-._x") for name in names), names


@pytest.mark.parametrize(
    ("limit", "counts", "expected"),
    [(None, (3, 4), [None, None]), (5, (3, 4), [5, 2]), (2, (3, 4), [2, 0]), (9, (3, 4), [9, 6]), (1, (), [])],
)
def test_limit_counts_over_all_shards(limit: int | None, counts: tuple[int, ...], expected: list[int | None]) -> None:
    assert share_limit(limit, counts) == expected


def test_expected_calls_grow_with_what_was_read() -> None:
    assert expect_calls(2, 10, 100) == 10 + 500
    assert expect_calls(10, 10, 420) == 430
    assert expect_calls(0, 0, 0) == 1


def test_what_libraries_say_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with stderr_to_file(tmp_path / "log" / "engine.log") as terminal:
        os.write(2, b"from C++\n")
        print("to a person", file=terminal, flush=True)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "to a person\nafter\n"
    assert (tmp_path / "log" / "engine.log").read_text() == "from C++\n"


def test_looking_whether_a_run_goes_on_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", 100)
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            run.find_holder()

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(100):
            with run.hold():
                pass
    finally:
        is_over.set()
        for watcher in watchers:
            watcher.join()


def test_run_is_held_by_one_at_a_time_and_let_go_at_the_end(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", 100)
    assert (run.find_holder(), run.state) == (None, "unfinished")
    with run.hold():
        assert run.find_holder() == f"{os.getpid()} {socket.gethostname()}"
        assert run.state == "running"
        with pytest.raises(RunError, match=f"running already .process {os.getpid()} "), run.hold():
            pass
    assert (run.find_holder(), run.state) == (None, "unfinished")


def test_unfinished_files_of_a_killed_process_are_cleared_away(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", 100)
    (run.folder / "chunks").mkdir()
    for name in (".manifest.json-ab12.tmp", "chunks/.shard-00000.parquet.0123.tmp", "chunks/shard-00000.parquet"):
        (run.folder / name).write_text("x")
    run.start()
    assert sorted(path.name for path in run.folder.rglob("*") if path.is_file()) == ["manifest.json", "shard-00000.parquet"]
