"""A tiny Llama with the embedded model's tokenizer, for tests of finding and loading models."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from idembench import loading, models
from idembench.files import parse_json

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = models.embedded()["toyland/instruct"]
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write_tiny(folder: Path) -> Path:
    """Write the model into `folder`; its weights are random, from a fixed seed."""
    vocabulary = len(loading.load_tokenizer(models.resolve("toyland/instruct")))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(SHIPPED / name, folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    content = {**parse_json(path.read_bytes(), where=str(path)), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
