"""A base's tokenizer as Hugging Face's libraries read it, for clients that count tokens themselves.

    python -m tests.clients.tokenizer BASE.gguf FOLDER

writes FOLDER/tokenizer.json and tokenizer_config.json. Nothing is fetched. For bases like the packaged one, of
byte-level BPE that splits numbers into digits (`tokenizer.ggml.pre` is `smollm`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gguf import GGUFReader, TokenType
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE


def write_tokenizer(base: Path, folder: Path) -> None:
    fields = GGUFReader(base).fields

    def told(name: str) -> Any:  # noqa: ANN401 - of the header's own types
        return fields[f"tokenizer.ggml.{name}"].contents()

    if told("pre") != "smollm":
        raise SystemExit(f"{base} splits text like {told('pre')!r}: only 'smollm' is written here")
    tokens = told("tokens")
    merges = [tuple(merge.split(" ")) for merge in told("merges")]
    tokenizer = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, told("token_type"), strict=True)
    tokenizer.add_special_tokens([token for token, kind in kinds if kind == TokenType.CONTROL])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {name: tokens[told(f"{name}_id")] for name in ("bos_token", "eos_token")}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    write_tokenizer(Path(sys.argv[1]), Path(sys.argv[2]))
