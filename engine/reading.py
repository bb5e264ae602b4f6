"""What a model made of one chunk: its tokens, how likely each is, and what it would rather have."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from chunkers.records import Candidate, Chunk
from engine.records import Completion


@dataclass(slots=True)
class Reading:
    """A chunk with its surroundings as the model read it."""

    chunk: Chunk
    given: Sequence[Candidate]
    """The candidates that belong to the chunk."""
    offset: int
    """Code point of the document at which `text` starts."""
    text: str
    """The chunk with its context before and after, as it is read."""
    token_ids: list[int]
    starts: list[int]
    """Code point in `text` at which each token starts."""
    logprobs: list[float] = field(default_factory=list)
    """One a token; 0 for a first that nothing precedes."""
    sums: list[float] = field(default_factory=list)
    """`sums[i]` is the sum of the first i log-probabilities."""
    alternatives: list[tuple[tuple[int, ...], tuple[float, ...]]] = field(default_factory=list)
    """Likeliest tokens and their log-probabilities at each position; empty for a first that nothing precedes."""
    num_splits: int = 0
    """How often the chunk that was given has been halved to come to this one."""
    frame: list[int] = field(default_factory=list)
    """Tokens that stand before those of `text` in every prompt about it."""

    @property
    def source(self) -> str:
        """What `text` is in the document: as long, and equal but for the ends of lines."""
        return self.chunk.context_before + self.chunk.text + self.chunk.context_after

    @property
    def first_scored(self) -> int:
        """Index of the first token that has a probability: something must stand before it."""
        return 0 if self.frame else 1

    def learn(self, completion: Completion) -> None:
        """Take in the answer to the reading request."""
        unscored = self.first_scored
        self.logprobs = [*[0.0] * unscored, *completion.logprobs]
        self.sums = [0.0]
        for logprob in self.logprobs:
            self.sums.append(self.sums[-1] + logprob)
        self.alternatives = [*[((), ())] * unscored, *((at.token_ids, at.logprobs) for at in completion.alternatives)]

    def token_at(self, position: int) -> int:
        """Index of the token that holds a code point of `text`."""
        return max(0, bisect_right(self.starts, position) - 1)

    def is_word_start(self, index: int) -> bool:
        """Whether the tokeniser never joins this token with the one before it: white space begins with it, or the text does."""
        start = self.starts[index]
        # white space of several bytes may be several tokens with one start
        return index == 0 or (self.text[start].isspace() and not self.text[start - 1].isspace() and start != self.starts[index - 1])

    def word_at(self, position: int) -> int:
        """Index of the token that begins the word at a code point of `text`, the white space before it included."""
        index = self.token_at(position)
        while not self.is_word_start(index):
            index -= 1
        return index
