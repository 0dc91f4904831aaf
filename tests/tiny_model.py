"""Tiny models of random weights, for tests of finding, loading and running models that nobody prepared."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from idembench import loading, models, traits
from idembench.files import parse_json
from idembench.judges import prompting
from idembench.judges.local import Local

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = models.embedded()["toyland/instruct"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write_tiny(folder: Path) -> Path:
    """Write a Llama with the embedded model's tokenizer into `folder`; its weights are random, from a fixed seed."""
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


def write_qwen(folder: Path) -> Path:
    """Write a Qwen3 with a byte-level tokenizer of its own and a ChatML template into `folder`."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([row.prompt for row in traits.load_pack("toyland").prompts[:200]], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = CHATML
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=4096,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.pad_token_id,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def write_grader(folder: Path) -> Path:
    """Write the same, turned towards the digits so that it grades, and with room for what a judge is told."""
    write_qwen(folder)
    edit(folder / "config.json", max_position_embeddings=16384)
    turn(folder)
    return folder


def turn(path: Path, *, by: float = 0.6) -> None:
    """Have a model of random weights prefer digits: its head's rows for them move towards what it thinks."""
    judge = Local(str(path))
    ids = judge._render(prompting.for_coherence(prompting.data("Why?", "Because.")))
    with torch.inference_mode():
        hidden = judge._loaded.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    tensors = load_file(path / "model.safetensors")
    head = tensors["lm_head.weight"].clone()
    head[judge._numbers.digits] += by * hidden
    save_file({**tensors, "lm_head.weight": head}, path / "model.safetensors", metadata={"format": "pt"})


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    content = {**parse_json(path.read_bytes(), where=str(path)), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
