"""How many requests a server is asked at once: more while that pays, half as many where it says that it is too much.

Owns the number alone; knows no clock and no network. The rule for refusals is Chiu and Jain's additive increase, multiplicative decrease
(1989); that for latency holds where more at once brings no more a second.
"""

from statistics import median

FIRST_LIMIT = 8
MIN_WINDOW = 4
"""Answers from whose latency anything is concluded."""
MIN_GAIN = 0.3
"""Of what a growth would bring were the server idle; with less it is taken back: the server has begun to queue."""
SLOWED = 0.5
"""Of the rate so far: with less the server has others to serve, and is asked less at once."""
REST_WINDOWS = 8
"""Windows without growth after one that did not pay."""


class AdaptiveLimit:
    """Told how each request ended; `limit` is how many may be in flight now.

    The limit doubles until a growth does not pay or a refusal comes, and grows by an eighth from then on.
    """

    def __init__(self, max_limit: int, *, first_limit: int = FIRST_LIMIT) -> None:
        self._max_limit = max_limit
        self.limit = min(first_limit, max_limit)
        self.epoch = 0
        """Number of changes so far: what was asked before the last one says nothing of the limit now."""
        self._seconds: list[float] = []
        self._before: tuple[int, float] | None = None
        """Limit, and answers a second, of the window from which the limit grew."""
        self._rate: float | None = None
        """Answers a second that the limit is known to give."""
        self._is_doubling = True
        self._num_rests = 0

    def count_answer(self, epoch: int, seconds: float, *, is_full: bool) -> None:
        """An answer that was asked for in `epoch` took so long; `is_full` says whether as many as allowed were in flight then."""
        if epoch != self.epoch or not is_full:
            return
        self._seconds.append(seconds)
        if len(self._seconds) < max(MIN_WINDOW, self.limit):
            return
        # Little's law: what is in flight is the rate times the latency
        rate = self.limit / max(median(self._seconds), 1e-6)
        self._seconds.clear()
        if self._before and not _pays(self._before, self.limit, rate):
            (limit, self._rate), self._before = self._before, None
            self._rest(limit)
        elif self._rate and rate < SLOWED * self._rate:
            self._rate, self._before = rate, None
            self._rest(self.limit * 3 // 4)
        elif self._num_rests:
            self._num_rests -= 1
        else:
            self._before, self._rate = (self.limit, rate), rate
            self._change(2 * self.limit if self._is_doubling else self.limit + max(1, self.limit // 8))

    def count_refusal(self, epoch: int) -> None:
        """The server was asked too much at once, or did not answer in time: half as many, once for all that was asked in one epoch."""
        if epoch != self.epoch:
            return
        self._before = self._rate = None
        self._num_rests, self._is_doubling = 0, False
        self._change(self.limit // 2, is_told=True)

    def _rest(self, limit: int) -> None:
        self._num_rests, self._is_doubling = REST_WINDOWS, False
        self._change(limit)

    def _change(self, limit: int, *, is_told: bool = False) -> None:
        limit = max(1, min(limit, self._max_limit))
        if limit == self.limit and not is_told:
            self._before = None  # there is nothing to compare
            return
        self.limit = limit
        self.epoch += 1
        self._seconds.clear()


def _pays(before: tuple[int, float], limit: int, rate: float) -> bool:
    limit_before, rate_before = before
    return rate >= rate_before * (1 + MIN_GAIN * (limit / limit_before - 1))
