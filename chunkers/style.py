"""The style sheet of a book: what its people decided, in a file of their own.

Owns the form of `style.toml` and what is said of one that cannot be used. What the decisions mean for a change of the text is for
decisions.py, where protected passages stand is for passages.py.
"""

import re
import tomllib
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator


class StyleError(ValueError):
    """A style sheet that cannot be used: what was met, the rule, what to do."""


class PassageKind(StrEnum):
    """Passages that can be protected without quoting them."""

    VERSE = "verse"
    DIALOGUE = "dialogue"
    """What stands in quotation marks, the marks included."""
    QUOTATIONS = "quotations"
    """Block quotations."""
    HEADINGS = "headings"
    FOOTNOTES = "footnotes"
    TABLES = "tables"


Language = Literal["auto", "en-GB", "en-US"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Protected(_Table):
    """The `[protected]` table: what no edit may touch."""

    text: tuple[str, ...] = ()
    """Passages as they stand in the book; the length of white space and the form of quotation marks do not matter."""
    headings: tuple[str, ...] = ()
    """Headings whose whole section is protected."""
    kinds: tuple[PassageKind, ...] = ()


class Conventions(_Table):
    """The `[conventions]` table: the one way of writing what can be written in several; None leaves all as they are."""

    dash: Literal["—", " — ", " – ", "--"] | None = None
    """Between words, with the spaces around it."""
    ellipsis: Literal["…", "..."] | None = None
    quotes: Literal["curly", "straight"] | None = None
    """The form of quotation marks and apostrophes."""
    serial_comma: StrictBool | None = None
    """Whether a comma stands before the «and» or «or» of a list of three or more."""


def _find_twice(texts: Iterable[str], key: Callable[[str], Any]) -> str | None:
    seen = set()
    for text in texts:
        if key(text) in seen:
            return text
        seen.add(key(text))
    return None


class Style(_Table):
    """A style sheet; two that decide the same are equal, whatever their comments and order of tables."""

    language: Language = "auto"
    """Whose spelling; `auto` is what the book itself has."""
    words: tuple[str, ...] = ()
    """Invented words and names, spelled so on purpose. One in small letters may also be capitalised."""
    casing: dict[str, str] = Field(default_factory=dict)
    """Each term, in whatever capitals, to the one right casing of it."""
    variants: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Each preferred form to the forms that are changed to it."""
    protected: Protected = Field(default_factory=Protected)
    conventions: Conventions = Field(default_factory=Conventions)

    @model_validator(mode="after")
    def _check(self) -> "Style":
        changed = [form for forms in self.variants.values() for form in forms]
        entries = [*self.words, *self.casing, *self.casing.values(), *self.variants, *changed]
        for entry in [*entries, *self.protected.text, *self.protected.headings]:
            if not re.search(r"\w", entry):
                raise ValueError(f"«{entry}» holds no letter; an entry is a word, a term or a passage; remove it")
        for entry in entries:
            if entry != " ".join(entry.split()):
                raise ValueError(f"«{entry}» has odd white space; an entry is a word, or words with one space between; mend it")
        for term, right in self.casing.items():
            if term.casefold() != right.casefold():
                raise ValueError(
                    f"casing: «{term}» and «{right}» differ in more than capitals; another form belongs into [variants]; move it"
                )
        if twice := _find_twice(self.casing.values(), str.casefold):
            raise ValueError(f"casing: «{twice}» is decided twice; a term has one right casing; keep one")
        if twice := _find_twice(changed, str):
            raise ValueError(f"variants: «{twice}» is changed to two forms, or named twice; a form has one preferred form; keep one")
        right_forms = {*self.words, *self.casing.values(), *self.variants}
        if clash := [form for form in changed if form in right_forms]:
            raise ValueError(f"«{clash[0]}» is both right and to be changed by [variants]; a form is one of the two; remove one")
        return self

    @cached_property
    def is_empty(self) -> bool:
        """Whether nothing is decided."""
        return self == Style()

    def to_json(self) -> str:
        """What is decided, in one form for equal sheets; empty for a sheet that decides nothing."""
        if self.is_empty:
            return ""
        sorted_tables = {"casing": dict(sorted(self.casing.items())), "variants": dict(sorted(self.variants.items()))}
        return self.model_copy(update=sorted_tables).model_dump_json(exclude_defaults=True)


NO_STYLE = Style()
"""Decides nothing."""


def restore_style(text: str) -> Style:
    """The sheet that `Style.to_json` wrote."""
    return Style.model_validate_json(text) if text else NO_STYLE


def parse_style(data: bytes, name: str) -> Style:
    """The sheet in a TOML file's bytes; `name` is what errors call it. Raises StyleError."""
    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise StyleError(f"{name} is not UTF-8 ({error}); a style sheet is TOML, which is UTF-8; save it so.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StyleError(f"{name} is no TOML: {error}. Mend that place; a word with a space or a mark in it needs quotes.") from error
    try:
        return Style.model_validate(content)
    except ValidationError as error:
        raise StyleError(f"{name}: {_describe(error)}") from error


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        table: type[BaseModel] = Style
        for part in first["loc"][:-1]:
            table = cast("type[BaseModel]", table.model_fields[str(part)].annotation)
        known = list(table.model_fields)
        nearest = get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)[0]
        return f"{place} is no key of a style sheet; did you mean {nearest}? There are {', '.join(known)}."
    met = str(first["input"])
    shown = "" if first["type"] == "value_error" or len(met) > 60 else f" ({met!r})"
    message = first["msg"].removeprefix("Value error, ").replace("valid tuple", 'list, such as ["Zorp"]')
    return f"{place}: {message}{shown}." if place else f"{message}."
