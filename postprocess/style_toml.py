"""A proposed style sheet as the TOML file that a person copies and mends."""

import json
from collections.abc import Iterable, Iterator

from chunkers.style import Style
from postprocess.style_proposal import Entry, Proposal

_HEAD = """\
# A style sheet proposed from the text itself. Copy it beside the document as NAME.style.toml, or as style.toml for all documents of
# the folder, mend it, and run again. What stands after a # holds only once the # is taken away; numbers are how often each form stands.
"""


def render_proposal(proposal: Proposal) -> str:
    """The sheet, which `parse_style` takes as it is: what was in force before, then what is clear, then as comments what is not."""
    base = proposal.base
    lines = [_HEAD]
    if base.language != "auto":
        lines += [f"language = {_quote(base.language)}", ""]
    elif proposal.language is not None:
        lines += [_line(proposal.language), ""]
    lines += _list_words(base, proposal.words)
    casing = [f"{_quote(term)} = {_quote(right)}" for term, right in base.casing.items()]
    lines += _list_table("casing", casing, proposal.casing)
    variants = [f"{_quote(right)} = {_array(forms)}" for right, forms in base.variants.items()]
    lines += _list_table("variants", variants, proposal.variants)
    conventions = [f"{key} = {_value(value)}" for key, value in base.conventions.model_dump(exclude_none=True).items()]
    lines += _list_table("conventions", conventions, proposal.conventions)
    lines += _list_protected(base, proposal.num_verse)
    return "\n".join(lines).rstrip("\n") + "\n"


def _list_words(base: Style, entries: list[Entry]) -> Iterator[str]:
    if not base.words and not entries:
        return
    yield "words = ["
    yield from (f"  {_quote(word)}," for word in base.words)
    yield from (f"  {_quote(entry.key)},  # {entry.note}" for entry in entries)
    yield "]"
    yield ""


def _list_table(name: str, decided: list[str], entries: list[Entry]) -> Iterator[str]:
    if decided or entries:
        yield f"[{name}]"
        yield from decided
        yield from map(_line, entries)
        yield ""


def _list_protected(base: Style, num_verse: int) -> Iterator[str]:
    own = base.protected
    has_verse = num_verse > 0 and "verse" not in own.kinds
    if not (own.text or own.headings or own.kinds or has_verse):
        return
    yield "[protected]"
    for key, values in (("text", own.text), ("headings", own.headings), ("kinds", tuple(kind.value for kind in own.kinds))):
        if values:
            yield f"{key} = {_array(values)}"
    if has_verse:
        told = "1 paragraph looks" if num_verse == 1 else f"{num_verse} paragraphs look"
        yield f"# kinds = {_array([*(kind.value for kind in own.kinds), 'verse'])}  # {told} like verse"


def _line(entry: Entry) -> str:
    key = entry.key if entry.key.isascii() and entry.key.replace("_", "").isalnum() else _quote(entry.key)
    return f"{'' if entry.is_clear else '# '}{key} = {_value(entry.value)}  # {entry.note}"


def _value(value: str | tuple[str, ...] | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quote(value) if isinstance(value, str) else _array(value)


def _array(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_quote, values))}]"


def _quote(text: str) -> str:
    """A basic string of TOML: JSON escapes what it must, but for U+007F."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
