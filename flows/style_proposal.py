"""The style sheet that a run proposes: `style.proposed.toml` in its folder, and what is said of it."""

from itertools import count
from typing import Any

from chunkers.paths import AnyPath
from chunkers.style import NO_STYLE, Style
from flows.runs import write_file
from flows.styles import read_styles, style_of
from postprocess.style_proposal import Proposal, propose_style
from postprocess.style_survey import Survey
from postprocess.style_toml import render_proposal

PROPOSED_NAME = "style.proposed.toml"


def write_proposal(folder: AnyPath, survey: Survey) -> dict[str, Any]:
    """Write the sheet, with a number where a file is there with other content, which may be a person's; returns its file and counts for
    the manifest.
    """
    proposal = propose_style(survey, _find_base(folder))
    content, language = render_proposal(proposal), proposal.language
    path = folder / PROPOSED_NAME
    for number in count(2):
        if not path.exists() or path.read_bytes() == content.encode():
            break
        path = folder / PROPOSED_NAME.replace(".toml", f"-{number}.toml")
    write_file(path, content)
    return {
        "file": path.name,
        "to_decide": _count_open(proposal),
        "words": len(proposal.words),
        "casing": sum(entry.is_clear for entry in proposal.casing),
        "variants": sum(entry.is_clear for entry in proposal.variants),
        "language": str(language.value) if language is not None and language.is_clear else None,
        "spelling": language.note if language is not None else None,
    }


def _find_base(folder: AnyPath) -> Style:
    """The sheet in force where all documents that have one have the same."""
    sheets = {row.style: row for row in read_styles(folder).values()}
    return style_of(next(iter(sheets.values()))) if len(sheets) == 1 else NO_STYLE


def _count_open(proposal: Proposal) -> int:
    return sum(not entry.is_clear for entry in [*proposal.casing, *proposal.variants, *proposal.conventions])
