"""One line of an OpenAI batch file: what is asked by it. Knows nothing of files, models or answers."""

import json
from dataclasses import dataclass
from typing import Any

from engine.batch_bodies import Prompt, Url, nearest, read_body, shown
from engine.prompts import Conversation


class RowError(ValueError):
    """A line that cannot be answered: which part of it, what was met, the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """What one line asks."""

    custom_id: str
    url: Url
    model: str | None
    """The model that the line names, which need not be the one that answers."""
    conversation: Conversation | None
    """None for a completion."""
    prompts: tuple[Prompt, ...]
    """Of a completion, one at least; each is answered `num_samples` times."""
    num_samples: int
    sampling: dict[str, Any]
    """Fields of Sampling that the line gives; where it gives no `max_tokens` there is none."""


_ENVELOPE = ("custom_id", "method", "url", "body")


def parse_row(line: bytes) -> BatchRow:
    """The row that a line holds. Raises RowError with everything that is wrong with it."""
    row = _read_json(line)
    custom_id, url = row.get("custom_id"), row.get("url")
    problems = [f"{name!r} is unknown{nearest(name, _ENVELOPE)}" for name in row if name not in _ENVELOPE]
    if not isinstance(custom_id, str) or not custom_id:
        problems.append(f"custom_id is {shown(custom_id)}; it must be a text that no other line has")
    if row.get("method") != "POST":
        problems.append(f"method is {shown(row.get('method'))}; it must be POST")
    if url not in list(Url):
        problems.append(f"url is {shown(url)}, which is not supported; there are {' and '.join(Url)}")
    body = row.get("body")
    if not isinstance(body, dict):
        problems.append(f"body is {shown(body)}; it must be an object")
    if problems or not (isinstance(custom_id, str) and isinstance(url, str) and isinstance(body, dict)):
        raise RowError("; ".join(problems))
    try:
        read = read_body(Url(url), body)
    except ValueError as error:
        raise RowError(str(error)) from error
    return BatchRow(
        custom_id=custom_id,
        url=Url(url),
        model=read.model,
        conversation=read.conversation(),
        prompts=read.prompts(),
        num_samples=read.n or 1,
        sampling=read.sampling(),
    )


def find_custom_id(line: bytes) -> str | None:
    """The custom_id of a line that may have been refused."""
    try:
        found = _read_json(line).get("custom_id")
    except RowError:
        return None
    return found if isinstance(found, str) else None


def _read_json(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is valid JSON and no text
    except UnicodeError as error:
        raise RowError(f"the line is no UTF-8 text ({error})") from error
    except (ValueError, RecursionError) as error:
        raise RowError(f"the line is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise RowError("the line is no JSON object; it has custom_id, method, url and body")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
