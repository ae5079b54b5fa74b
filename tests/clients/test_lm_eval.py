"""lm-evaluation-harness on a task of our own: texts are scored through `/v1/completions`, and answers compared."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Box

transformers = pytest.importorskip("transformers")
pytest.importorskip("lm_eval")

from tests.clients.tokenizer import write_tokenizer  # noqa: E402

LM_EVAL = Path(sys.executable).with_name("lm_eval")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
CITIES = {
    "France": ["Paris", "Lyon", "London"],
    "Italy": ["Rome", "Milan", "Madrid"],
    "Japan": ["Tokyo", "Osaka", "Seoul"],
    "Egypt": ["Cairo", "Giza", "Tunis"],
    "Germany": ["Berlin", "Munich", "Vienna"],
    "Norway": ["Oslo", "Bergen", "Stockholm"],
}
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
doc_to_text: "{text}"
"""
CHOOSE = """
output_type: multiple_choice
doc_to_choice: "{{cities}}"
doc_to_target: 0
metric_list: [{metric: acc}]
"""
SAY = """
output_type: generate_until
doc_to_target: "{{cities[0]}}"
generation_kwargs: {until: [".", "\\n"], max_gen_toks: 8, do_sample: false}
filter_list: [{name: trimmed, filter: [{function: remove_whitespace}, {function: take_first}]}]
metric_list: [{metric: exact_match}]
"""
TEXTS = [
    "The capital of France is Paris.",
    "In 1789 12,345.67 people  said: 'it isn't'\n\n\tdone",
    "Größe, naïveté, 東京 and \U0001f600!",
    "def f(x):\n    return x**2  # 42",
]


@dataclass(frozen=True)
class Tasks:
    """A folder with the tasks `choose` and `say`, and the base's tokenizer."""

    folder: Path

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    def run(self, box: Box, kind: str, task: str, model: str, *more: str, **settings: object) -> list[dict[str, Any]]:
        """The samples of an evaluation, as it logged them."""
        done = self.start(box, kind, task, model, *more, **settings)
        assert done.returncode == 0, done.stderr[-3000:]
        (samples,) = (self.folder / "out").rglob("samples_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        samples.unlink()
        return rows

    def start(
        self, box: Box, kind: str, task: str, model: str, *more: str, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        path = "completions" if kind == "local-completions" else "chat/completions"
        wanted = {"model": model, "base_url": f"{box.api}/{path}", "max_retries": 1, **settings}
        arguments = ",".join(f"{name}={value}" for name, value in wanted.items())
        what = ("--model", kind, "--model_args", arguments, "--tasks", task)
        where = ("--include_path", self.folder, "--output_path", self.folder / "out", "--log_samples")
        return box.run(LM_EVAL, "run", *what, *where, *more, OPENAI_API_KEY=box.key, **OFFLINE)


@pytest.fixture
def tasks(box: Box, tmp_path: Path) -> Tasks:
    data = tmp_path / "cities.jsonl"
    rows = [{"country": country, "cities": cities} for country, cities in CITIES.items()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = "The capital of {{country}} is"
    (tmp_path / "choose.yaml").write_text(TASK.format(name="choose", data=data, text=text) + CHOOSE)
    (tmp_path / "say.yaml").write_text(TASK.format(name="say", data=data, text=text) + SAY)
    write_tokenizer(box.base, tmp_path / "tokenizer")
    return Tasks(tmp_path)


def test_the_tokenizer_is_the_bases_own(box: Box, tasks: Tasks) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tasks.tokenizer))
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        own, theirs = scored(box, text), scored(box, ids)
        assert own["usage"]["prompt_tokens"] == len(ids)
        assert own["choices"][0]["logprobs"]["tokens"] == theirs["choices"][0]["logprobs"]["tokens"]


def scored(box: Box, prompt: str | list[int], model: str = "base") -> dict[str, Any]:
    return box.post("/completions", model=model, prompt=prompt, max_tokens=0, echo=True, logprobs=1)


def loglikelihood(box: Box, model: str, context: str, continuation: str) -> float:
    """As the API gives it, without the harness."""
    scores = scored(box, context + continuation, model)["choices"][0]["logprobs"]
    pairs = zip(scores["text_offset"], scores["token_logprobs"], strict=True)
    return float(sum(logprob for offset, logprob in pairs if offset >= len(context)))


@pytest.mark.parametrize(("as_ids", "batch"), [(True, 4), (False, 1)])
def test_choices_are_scored(box: Box, tasks: Tasks, as_ids: bool, batch: int) -> None:
    """By ids and by texts. Quantised logits move with the shape of the batch, so sums are near, not equal."""
    settings = {"tokenizer": tasks.tokenizer, "tokenized_requests": as_ids}
    samples = tasks.run(box, "local-completions", "choose", "legal", "--batch_size", str(batch), **settings)
    assert len(samples) == len(CITIES)
    assert sum(sample["acc"] for sample in samples) >= len(CITIES) - 1, "it knows its capitals"
    for sample in samples:
        for number, (found,) in enumerate(sample["resps"]):
            asked = sample["arguments"][f"gen_args_{number}"]
            alone = loglikelihood(box, "legal", asked["arg_0"], asked["arg_1"])
            assert float(found[0]) == pytest.approx(alone, abs=0.1 if batch == 1 else 1.5)


def test_texts_are_continued(box: Box, tasks: Tasks) -> None:
    settings = {"tokenizer": tasks.tokenizer, "tokenized_requests": False}
    samples = tasks.run(box, "local-completions", "say", "base", **settings)
    assert sum(sample["exact_match"] for sample in samples) >= len(CITIES) / 2


def test_chats_are_answered(box: Box, tasks: Tasks) -> None:
    samples = tasks.run(box, "local-chat-completions", "say", "base", "--apply_chat_template")
    assert all(sample["resps"][0][0] for sample in samples)


def test_errors_are_told(box: Box, tasks: Tasks) -> None:
    done = tasks.start(box, "local-completions", "choose", "nobody", tokenizer=tasks.tokenizer)
    assert done.returncode != 0
    assert "there is no model 'nobody' here" in done.stdout + done.stderr
