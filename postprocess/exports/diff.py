"""Findings as a unified diff that `patch` and `git apply` take.

Hunks are cut straight from the findings: a general diff of a novel is slow and may find other lines than those that changed.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from postprocess.assemble import Replacement, order_findings

NUM_CONTEXT_LINES = 3
_NO_NEWLINE = "\\ No newline at end of file\n"


@dataclass(slots=True, kw_only=True)
class _Region:
    """Old lines `[first, last]` and what stands there instead."""

    first: int
    last: int
    new: list[str]


def render_diff(name: str, text: str, findings: Iterable[Replacement]) -> str:
    """Unified diff from `a/name` to `b/name`, empty where nothing changes; lines end with \\n alone, a \\r before it belongs to the line.

    Raises AssembleError where findings overlap or do not stand in the text.
    """
    lines = split_lines(text)
    regions = _find_regions(text, lines, order_findings(text, findings))
    if not regions:
        return ""
    pieces = [f"--- {_quote_name('a/' + name)}\n+++ {_quote_name('b/' + name)}\n"]
    shift = 0
    for hunk in _group_hunks(regions):
        first = max(0, hunk[0].first - NUM_CONTEXT_LINES)
        end = min(len(lines), hunk[-1].last + 1 + NUM_CONTEXT_LINES)
        body, position, grown = [], first, 0
        for region in hunk:
            body += [_mark(" ", line) for line in lines[position : region.first]]
            old = lines[region.first : region.last + 1]
            body += [_mark("-", line) for line in old]
            body += [_mark("+", line) for line in region.new]
            position = region.first + len(old)
            grown += len(region.new) - len(old)
        body += [_mark(" ", line) for line in lines[position:end]]
        num_old = max(position, end) - first
        pieces.append(f"@@ -{_range(first, num_old)} +{_range(first + shift, num_old + grown)} @@\n")
        pieces += body
        shift += grown
    return "".join(pieces)


def split_lines(text: str) -> list[str]:
    """Lines with their \\n; joined they are the text. No other character ends a line for `patch`."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _find_regions(text: str, lines: list[str], findings: list[Replacement]) -> list[_Region]:
    starts = [0]
    starts += accumulate(len(line) for line in lines)
    regions: list[_Region] = []
    group: list[Replacement] = []
    first = last = -1
    for finding in findings:
        if finding.original == finding.replacement:
            continue
        line = _find_line(starts, lines, finding.start)
        if group and line > last:
            regions += _make_region(text, lines, starts, first, last, group)
            group = []
        if not group:
            first = last = line
        group.append(finding)
        last = max(last, _find_line(starts, lines, finding.end))
    if group:
        regions += _make_region(text, lines, starts, first, last, group)
    return regions


def _find_line(starts: list[int], lines: list[str], position: int) -> int:
    """Index of the line that holds the position; after a last \\n it is one past the last line."""
    line = bisect_right(starts, position) - 1
    if line == len(lines) and lines and not lines[-1].endswith("\n"):
        return line - 1
    return line


def _make_region(text: str, lines: list[str], starts: list[int], first: int, last: int, group: list[Replacement]) -> list[_Region]:
    pieces, position = [], starts[first]
    for finding in group:
        pieces += [text[position : finding.start], finding.replacement]
        position = finding.end
    end = starts[min(last + 1, len(lines))]
    new = split_lines("".join([*pieces, text[position:end]]))
    old = lines[first : last + 1]
    if old == new:
        return []
    return [_Region(first=first, last=last, new=new)]


def _group_hunks(regions: list[_Region]) -> list[list[_Region]]:
    hunks = [[regions[0]]]
    for region in regions[1:]:
        if region.first - hunks[-1][-1].last - 1 <= 2 * NUM_CONTEXT_LINES:
            hunks[-1].append(region)
        else:
            hunks.append([region])
    return hunks


def _mark(sign: str, line: str) -> str:
    return sign + line if line.endswith("\n") else f"{sign}{line}\n{_NO_NEWLINE}"


def _range(first: int, num_lines: int) -> str:
    """As `diff` counts: from 1, the number left out when it is 1, the line before when there are none."""
    if num_lines == 1:
        return str(first + 1)
    return f"{first + 1 if num_lines else first},{num_lines}"


def _quote_name(name: str) -> str:
    """As git writes names: quoted where a quote, a backslash or a control character is in them, ended by a tab where a space is."""
    if any(char in '"\\' or ord(char) < 32 or ord(char) == 127 for char in name):
        quoted = "".join(
            f"\\{char}" if char in '"\\' else f"\\{ord(char):03o}" if ord(char) < 32 or ord(char) == 127 else char for char in name
        )
        return f'"{quoted}"'
    return f"{name}\t" if " " in name else name
