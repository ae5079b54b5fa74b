"""The shipped examples as the trainer gets them: token ids by the serving template and the cohort's prompt."""

from __future__ import annotations

from pathlib import Path

from adapters.packing import TokenRow
from appliance import base, import_file
from appliance.chat import ChatTemplate
from appliance.config import load
from appliance.engine import llama


def rows(model_path: Path, cohort: str) -> list[TokenRow]:
    """Those to train on."""
    llama.start()
    model = llama.Model(model_path)
    template = ChatTemplate(base.inspect(model_path).text("tokenizer.chat_template"), model)
    prompt = load(Path("cohorts.toml")).cohorts[cohort].system_prompt
    found = []
    for example in import_file.read(Path("examples") / cohort / "train.jsonl", cohort, "train").values():
        asked = template.encode(example.turns, prompt)
        ids = [*asked, *model.tokenize(example.completion or "", special=False), model.eos]
        found.append(TokenRow(ids, len(asked), "train"))
    model.close()
    return found
