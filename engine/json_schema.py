"""Whether an answer is JSON of the schema that it was asked for, whoever should have seen to it."""

import json
import re
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import SchemaError, best_match  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from engine.outcomes import find_json, strip_reasoning

_SHOWN_CHARS = 200


@lru_cache(maxsize=256)
def find_fault(json_schema: str) -> str | None:
    """Why this is no JSON schema that an answer can be checked by; None where it is one."""
    try:
        Draft202012Validator.check_schema(json.loads(json_schema))
    except (ValueError, RecursionError, re.error) as error:
        return f"the schema is no JSON ({error}); an answer cannot be checked by it; mend it."
    except SchemaError as error:
        return f"the schema is none of JSON Schema 2020-12 ({_shorten(error.message)}); an answer cannot be checked by it; mend it."
    return None


def find_violation(answer: str, json_schema: str) -> str | None:
    """What is wrong with an answer, in words that a model can be shown; None where it is JSON of the schema.

    Reasoning before it, a Markdown fence around it and words beside it are allowed. References to other schemas are never fetched.
    """
    try:
        value = json.loads(find_json(strip_reasoning(answer)))
        problem = best_match(_validator(json_schema).iter_errors(value))
    except Unresolvable as error:
        return f"the schema refers to {error.ref}, which is not in it; an answer cannot be checked by it."
    except (ValueError, RecursionError) as error:
        return f"the answer: {error}; an answer is one JSON value and nothing else; answer again in that form."
    if problem is None:
        return None
    place = ".".join(str(part) for part in problem.absolute_path) or "the answer"
    return f"{place}: {_shorten(problem.message)}; an answer follows the schema that was given; answer again in that form."


def _shorten(message: str) -> str:
    return message if len(message) <= _SHOWN_CHARS else f"{message[:_SHOWN_CHARS]}…"


@lru_cache(maxsize=256)
def _validator(json_schema: str) -> Any:
    return Draft202012Validator(json.loads(json_schema), registry=Registry())
