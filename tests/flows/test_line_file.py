"""Files of lines: whole or not there, by one process at a time, in the order that was asked for."""

import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.line_file import STDOUT, LineFile, LineFileError, fetch_lines


def open_one(target: Path | str, *, is_ordered: bool = False) -> LineFile:
    return LineFile(str(target), Path(target).parent / "spool", is_ordered=is_ordered)


def test_lines_can_be_read_while_they_are_written_and_appear_whole(tmp_path: Path) -> None:
    target, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    target.write_text("before\n")
    lines = open_one(target)
    lines.write(1, b"one\n")
    assert (partial.read_bytes(), target.read_text()) == (b"one\n", "before\n")
    lines.write(2, b"two\n")
    lines.finish()
    assert target.read_bytes() == b"one\ntwo\n"
    assert list(tmp_path.iterdir()) == [target]


def test_order_is_that_of_the_numbers(tmp_path: Path) -> None:
    lines = open_one(tmp_path / "out", is_ordered=True)
    for number in (5, 1, 1_000_000, 3):
        lines.write(number, f"{number}\n".encode())
    lines.finish()
    assert (tmp_path / "out").read_text().split() == ["1", "3", "5", "1000000"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("is_ordered", [False, True])
def test_no_line_is_a_file_too(tmp_path: Path, is_ordered: bool) -> None:
    open_one(tmp_path / "out", is_ordered=is_ordered).finish()
    assert (tmp_path / "out").read_bytes() == b""


def test_what_was_left_is_begun_anew_and_what_is_held_is_not_touched(tmp_path: Path) -> None:
    left = open_one(tmp_path / "out")
    left.write(1, b"left behind\n")
    with pytest.raises(LineFileError, match="another process"):
        open_one(tmp_path / "out")
    assert (tmp_path / "out.partial").read_bytes() == b"left behind\n"
    left.close()
    again = open_one(tmp_path / "out")
    again.write(1, b"one\n")
    again.finish()
    assert (tmp_path / "out").read_bytes() == b"one\n"


def test_a_link_keeps_pointing_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real" / "file")
    open_one(tmp_path / "out").finish()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / "file").exists()


@pytest.mark.parametrize("target", ["/dev/null", ".", "missing/out.jsonl", "https://localhost/out", "nosuch://a/b"])
def test_what_cannot_be_written_is_met_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LineFileError, match=r"cannot be written|no regular file"):
        LineFile(target, tmp_path, is_ordered=False)


def test_two_commands_may_order_lines_for_stdout_at_once(tmp_path: Path) -> None:
    first, second = (LineFile(STDOUT, tmp_path, is_ordered=True) for _ in range(2))
    first.write(1, b"one\n")
    second.write(1, b"another\n")
    assert first.partial_path.read_bytes() == b"one\n"
    first.close()
    second.close()
    assert not list(tmp_path.iterdir()), "nobody would find them"


def test_the_url_of_a_file_here_is_that_file(tmp_path: Path) -> None:
    lines = LineFile(f"file://{tmp_path}/out", tmp_path / "spool", is_ordered=False)
    with pytest.raises(LineFileError, match="another process"):
        open_one(tmp_path / "out")
    lines.write(1, b"one\n")
    lines.finish()
    assert (tmp_path / "out").read_bytes() == b"one\n"


class _Broken(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_a_web_address_that_fails_is_said(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(LineFileError, match="cannot be read"):
            fetch_lines(f"http://127.0.0.1:{server.server_port}/in.jsonl", io.BytesIO())
        server.shutdown()
