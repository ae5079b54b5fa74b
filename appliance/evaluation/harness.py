"""An arm asked the rows of an eval set, in the engine that serves: what is judged is what will answer.

Runs in the engine's background class, in steps that no live request wants. Results are kept by what answered, by the
rows and by the weight format, and not computed twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import metadata

from adapters import metrics
from adapters.metrics import LIKELIHOOD, OPENING
from adapters.slice import Row
from appliance.engine.sampling import NOT_FINITE, Sampling
from appliance.engine.sequence import Finished, PromptScores, SequenceRequest
from appliance.engine.text import Delta
from appliance.errors import ApplianceError, ContextExceeded, EngineFault, InvalidRequest, Unavailable
from appliance.evaluation import llm_judge
from appliance.evaluation.arms import Arm
from appliance.progress import Report
from appliance.serving import Serving
from appliance.store import evaluations, slices
from appliance.store.database import Connection
from appliance.store.evaluations import Evaluation, EvaluationKey, Result
from appliance.store.slices import SliceRow

ENDED = "ended"
ANSWER = "answer"  # the metric of rows whose answer is wanted and not judged
PATIENCE_S = 1800.0
_WAIT_S = {"no_spare_lane": 5.0, "out_of_memory": 60.0}  # of memory rarely: each try lets all idle lanes go
LONGEST = 256  # tokens of an answer to a pattern
_VERSIONS = [metadata.version(name) for name in ("cohort-appliance", "llama-cpp-python")]
FAILED = -20.0  # nats a token, for a likelihood that there is none of
_PARTITION = "evaluation"


def rows_digest(rows: Sequence[Row], judged: bool = False) -> str:
    """Of the rows and of what asks and judges them: scores of two versions are not compared."""
    told = [*_VERSIONS, *((row.digest, row.metric) for row in rows), *([llm_judge.QUESTION] if judged else [])]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


async def evaluate(serving: Serving, arm: Arm, cohort: str, rows: Sequence[Row], report: Report) -> Evaluation:
    """Kept or made now. A row that cannot be asked, or that the arm has no finite answer to, is a result and counts
    as wrong; the first is kept until it can be asked. Raises ApplianceError when the box fails or stops, or the arm
    cannot be loaded."""
    section = serving.config.cohorts.get(cohort)
    judged = section is not None and section.gate.judge
    key = EvaluationKey(
        arm=arm.digest,
        slice=rows_digest(rows, judged),
        base_digest=serving.base.digest,
        format_digest=serving.base.format_digest,
    )

    def find() -> Evaluation | None:
        with serving.database.read() as connection:
            return evaluations.find(connection, key)

    known = await asyncio.to_thread(find)
    if known is not None and await _settled(serving, arm, rows, known):
        return known
    began = time.monotonic()
    results = await _all(serving, arm, rows, judged, report)
    seconds = time.monotonic() - began
    made = Evaluation(key=key, name=arm.name, cohort=cohort, seconds=seconds, results=results)

    def keep(connection: Connection) -> None:
        frozen = (SliceRow("eval", row.digest, row.source, row.subject, row.origin) for row in rows)
        slices.insert(connection, key.slice, cohort, "eval", {"rows": len(rows)}, frozen)
        evaluations.insert(connection, made)

    await serving.database.commit(keep)
    return made


async def _settled(serving: Serving, arm: Arm, rows: Sequence[Row], known: Evaluation) -> bool:
    """What could not be asked still cannot: a longer context may have room for it. The same weights have no finite
    answer again."""
    for row, result in zip(rows, known.results, strict=True):
        if result.error is not None and not result.error.startswith(f"{NOT_FINITE}: "):
            try:
                await _ask(serving, arm, row)
            except InvalidRequest:
                continue
            return False
    return True


async def _all(serving: Serving, arm: Arm, rows: Sequence[Row], judged: bool, report: Report) -> list[Result]:
    """As many at once as the lane has room for; rows that begin alike one after another, for the prefix cache."""
    found: dict[int, Result] = {}
    order = iter(sorted(range(len(rows)), key=lambda i: rows[i].turns))

    async def work() -> None:
        for index in order:
            found[index] = await _row(serving, arm, rows[index], judged)
            report(len(found) / len(rows), f"{arm.name}: {len(found)} of {len(rows)} rows")

    try:
        async with _lane(serving, arm, report), asyncio.TaskGroup() as group:
            for _ in range(min(len(rows), serving.config.base.sequences)):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [found[index] for index in range(len(rows))]


@asynccontextmanager
async def _lane(serving: Serving, arm: Arm, report: Report) -> AsyncIterator[None]:
    """Held. Where others have all lanes, or the memory, for the moment, it waits: hours of training may be behind
    it. Raises Unavailable after PATIENCE_S, and as `Lanes.trial`."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        while True:
            try:
                await stack.enter_async_context(serving.lanes.trial(arm.lane, arm.adapter))
                break
            except Unavailable as error:
                if error.code not in _WAIT_S or time.monotonic() - began > PATIENCE_S:
                    raise
                report(0.0, f"{arm.name} waits for a lane: {error.message}")
                await asyncio.sleep(_WAIT_S[error.code])
        yield


async def _row(serving: Serving, arm: Arm, row: Row, judged: bool) -> Result:
    """What the row's text or the arm's weights make impossible is a wrong answer."""
    told = Result(row=row.digest, task=row.task or "-", metric=_metric(row), answer="", score=0.0, scores={})
    try:
        request = await _ask(serving, arm, row)
    except InvalidRequest as error:  # the row's own fault, whenever it is asked; the box's ends the evaluation
        return _failed(told, error)
    try:
        said = await (
            likelihood(serving, request) if told.metric in (LIKELIHOOD, OPENING) else generate(serving, request)
        )
    except EngineFault as error:
        if error.code != NOT_FINITE or arm.adapter is None:  # the base's is a fault of the box
            raise
        return _failed(told, error)
    return await _judged(serving, row, said, told, judged)


def _failed(told: Result, error: ApplianceError) -> Result:
    scores = {"log": FAILED} if told.metric in (LIKELIHOOD, OPENING) else {}
    return replace(told, scores=scores, error=f"{error.code}: {error.message}")


async def _judged(serving: Serving, row: Row, said: float | tuple[str, bool], told: Result, judged: bool) -> Result:
    """`said`: the likelihood, or the answer and whether it ended."""
    if isinstance(said, float):
        return replace(told, score=math.exp(said), scores={"log": said})
    answer, ended = said
    if told.metric == ANSWER:
        return replace(told, answer=answer, score=1.0, scores={ENDED: float(ended)})
    scores = await asyncio.to_thread(metrics.judge, row.metric, answer, row.completion, row.refs)
    if judged and told.metric != "regex":  # whose completion is a pattern and says nothing
        scores = {**scores, "judge": await llm_judge.opinion(serving, answer, (row.completion, *row.refs))}
    return replace(told, answer=answer, score=scores["score"], scores=scores)


def _metric(row: Row) -> str:
    return row.metric if row.metric == ANSWER else metrics.metric_of(row.metric, row.completion)


async def _ask(serving: Serving, arm: Arm, row: Row) -> SequenceRequest:
    """What the engine is asked: a greedy answer, at most twice as long as the longest wanted one and 16 tokens more,
    or the likelihood of the wanted answer; its end counts unless it is an opening. Raises InvalidRequest for a row
    that the template refuses, or that the context has no room for with the longest wanted answer."""
    turns = [*arm.shots, *row.turns]
    prompt = await asyncio.to_thread(serving.template.encode, turns, arm.system_prompt or None)
    metric = _metric(row)
    if metric in (LIKELIHOOD, OPENING):
        answer = await asyncio.to_thread(answer_ids, serving, row.completion)
        ids = [*prompt, *(answer[:-1] if metric == OPENING else answer)]
        request = SequenceRequest(arm.lane, ids, 0, score_from=len(prompt))
    else:
        wanted, most = await asyncio.to_thread(_room, serving, row)
        request = SequenceRequest(
            arm.lane, prompt, max(wanted, min(most, serving.context - len(prompt))), Sampling(temperature=0)
        )
    size, context = len(request.prompt), serving.context
    if size + request.max_new > context:
        raise ContextExceeded(f"the row has {size} tokens and its answer {request.max_new}, the context {context}")
    return replace(request, background=True, partition=_PARTITION)


async def generate(serving: Serving, request: SequenceRequest) -> tuple[str, bool]:
    """The answer, and whether it ended."""
    text, ended = "", False
    for event in await _run(serving, request):
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Finished):
            ended = event.reason == "stop"
    return text, ended


def _room(serving: Serving, row: Row) -> tuple[int, int]:
    """Tokens of the longest wanted answer and its end, and how many are waited for. A pattern's length says nothing
    of the answer's."""
    if row.metric == "regex":
        return 1, LONGEST
    tokenize = serving.engine.model.tokenize
    longest = max(len(tokenize(right, special=False)) for right in (row.completion, *row.refs))
    return longest + 1, 2 * longest + 16


async def likelihood(serving: Serving, request: SequenceRequest) -> float:
    """The mean log-probability of a token of the answer, in nats."""
    for event in await _run(serving, request):
        if isinstance(event, PromptScores):
            mean = sum(token.logprob for token in event.scores) / len(event.scores)
            return mean if math.isfinite(mean) else FAILED
    raise ApplianceError("the engine gave no scores")


def answer_ids(serving: Serving, completion: str) -> list[int]:
    """As an answer stands in the conversation: its tokens, and the one that ends it."""
    model = serving.engine.model
    return [*model.tokenize(completion, special=False), model.eos]


async def _run(serving: Serving, request: SequenceRequest) -> list[object]:
    """All events. Raises ApplianceError."""
    with serving.engine.submit([request]) as run:
        return [event async for _, event in run.events()]


def rekeyed(row: str, answer: str) -> str:
    """The digest of a row of which something else is asked."""
    return hashlib.sha256(f"{row}\n{answer}".encode()).hexdigest()
