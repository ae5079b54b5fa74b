"""Log-probabilities as OpenAI's replies have them: by the text of each token. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.engine.sampling import TokenScore
from appliance.wire.replies import ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob


@dataclass(frozen=True, slots=True)
class Echo:
    """The prompt to repeat before the answer; empty without `echo`."""

    tokens: Sequence[int] = ()
    text: str = ""


class Offsets:
    """Where each token's text begins in the text of its choice, in characters, however the stream is cut."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def next(self, piece: bytes) -> int:
        """The offset of the token with these bytes. Bytes of an unfinished character count as one."""
        unfinished = bool(self._decoder.getstate()[0])
        offset = self._characters + unfinished
        self._characters += len(self._decoder.decode(piece))
        return offset


class Vocabulary:
    """The text of tokens, for log-probabilities."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def text(self, token: int) -> str:
        return self._pieces[token].decode("utf-8", "replace")

    def chat(self, scores: Sequence[TokenScore]) -> ChatLogprobs:
        return ChatLogprobs(
            content=[
                TokenLogprob(
                    token=self.text(score.token),
                    logprob=score.logprob,
                    bytes=list(self._pieces[score.token]),
                    top_logprobs=[
                        TopLogprob(token=self.text(t), logprob=p, bytes=list(self._pieces[t])) for t, p in score.top
                    ],
                )
                for score in scores
            ]
        )

    def echo(self, tokens: Sequence[int]) -> Echo:
        return Echo(tokens, b"".join(self._pieces[t] for t in tokens).decode("utf-8", "replace"))

    def completion(self, echo: Echo, scores: Sequence[TokenScore], offsets: Offsets) -> CompletionLogprobs:
        """The legacy shape: the echoed prompt's tokens, the first without a probability, then the answer's."""
        tokens = [self.text(token) for token in echo.tokens[:1]]
        logprobs: list[float | None] = [None] * len(tokens)
        tops: list[dict[str, float] | None] = [None] * len(tokens)
        for score in scores:
            tokens.append(self.text(score.token))
            logprobs.append(score.logprob)
            best: dict[str, float] = {}
            for alternative, logprob in score.top:  # best first: two tokens may look alike
                best.setdefault(self.text(alternative), logprob)
            tops.append(best)
        ids = (*echo.tokens[:1], *(score.token for score in scores))
        return CompletionLogprobs(
            tokens=tokens,
            token_logprobs=logprobs,
            top_logprobs=tops,
            text_offset=[offsets.next(self._pieces[t]) for t in ids],
        )
