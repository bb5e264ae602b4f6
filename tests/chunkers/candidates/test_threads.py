"""Shards are searched in threads of one process; a linter serves one thread at a time."""

from concurrent.futures import ThreadPoolExecutor

from chunkers.candidates import find_candidates
from chunkers.readers import parse_document


def test_documents_may_be_searched_at_once() -> None:
    document = parse_document(("He recieved an letter and and went to the the house. " * 400).encode(), "letters.md")
    expected = find_candidates(document)
    assert expected
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(find_candidates, [document] * 8)) == [expected] * 8
