"""Pairs of lines from tests/golden: what goes in, what must come out. Empty lines and lines that begin with `# ` are for the reader."""

from pathlib import Path

GOLDEN_DIR = Path(__file__).parent.parent / "golden"


def read_cases(name: str) -> list[tuple[str, str]]:
    r"""Cases in order; \n, \r and \t stand for themselves."""
    lines = [
        line.replace(r"\n", "\n").replace(r"\r", "\r").replace(r"\t", "\t")
        for line in (GOLDEN_DIR / name).read_text(encoding="utf-8").split("\n")
        if line and not line.startswith("# ")
    ]
    return list(zip(lines[::2], lines[1::2], strict=True))
