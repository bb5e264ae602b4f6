"""Requests out of a source, as many as an engine has room for: the half of the Engine protocol that every engine shares."""

from collections.abc import Iterable

from engine.records import Request


class Puller:
    """Pulls lazily from a source that may have to wait for an answer."""

    def __init__(self, requests: Iterable[Request | None]) -> None:
        self._source = iter(requests)
        self.is_exhausted = False
        self.has_more = True
        """Whether the last pull ended because enough were held, and not because there was nothing to be had."""

    def pull(self, num_in_flight: int, max_in_flight: int) -> list[Request]:
        """Requests until `max_in_flight` are held, or the source ends, or says None because it has nothing to add yet.

        Raises RuntimeError where it says so although nothing is in flight: it would wait for ever.
        """
        taken: list[Request] = []
        self.has_more = not self.is_exhausted
        while not self.is_exhausted and num_in_flight + len(taken) < max_in_flight:
            try:
                request = next(self._source)
            except StopIteration:
                self.is_exhausted, self.has_more = True, False
                break
            if request is None:
                if not num_in_flight and not taken:
                    raise RuntimeError("The source has nothing to add although every request is answered; it would wait for ever.")
                self.has_more = False
                break
            taken.append(request)
        return taken
