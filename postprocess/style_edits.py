"""The changes that a style sheet asks for, as edits that stand alone: the user decided, so nobody judges them."""

from chunkers.candidates import find_decided
from chunkers.records import Document
from postprocess.records import Edit, EditStatus, name_edit

STYLE_CONFIDENCE = 0.99
"""Of a change that the user asked for; the rest is for a form that means another thing in its place."""


def edits_of_style(document: Document) -> list[Edit]:
    """One edit for each place where the document's text is not as its style sheet wants it, in order of places."""
    return [
        Edit(
            edit_id=name_edit(found.doc_id, found.start, found.end, found.original, found.replacement, found.detector),
            doc_id=found.doc_id,
            start=found.start,
            end=found.end,
            original=found.original,
            replacement=found.replacement,
            category=found.category,
            message=found.message,
            proposer=found.detector,
            row_key=None,
            score=None,
            confidence=STYLE_CONFIDENCE,
            status=EditStatus.ANCHORED,
            reason=None,
        )
        for found in find_decided(document)
    ]
