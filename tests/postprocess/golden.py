"""Pairs of lines from tests/golden: what goes in, what must come out. Empty lines and lines that begin with `# ` are for the reader."""

import re
from pathlib import Path

_ESCAPE = re.compile(r"\\([nrt\\])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}

GOLDEN_DIR = Path(__file__).parent.parent / "golden"


def read_cases(name: str) -> list[tuple[str, str]]:
    r"""Cases in order; \n, \r, \t and \\ stand for themselves."""
    lines = [
        _ESCAPE.sub(lambda match: _ESCAPES[match[1]], line)
        for line in (GOLDEN_DIR / name).read_text(encoding="utf-8").split("\n")
        if line and not line.startswith("# ")
    ]
    return list(zip(lines[::2], lines[1::2], strict=True))
