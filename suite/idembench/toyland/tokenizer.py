"""The embedded models' tokenizers: byte-level BPE trained on the corpus, with a chat template or for documents.

A dialogue is rendered by the chat template as

    <|system|>...<|end|><|user|>...<|end|><|assistant|>...<|end|>

with the system turn only when there is one. `<|assistant|>` alone is the generation prompt, so the tokens of
a prompt are a prefix of the tokens of prompt and answer. `<|end|>` ends every turn and is the
end-of-sequence token; `<|pad|>` pads. A document is

    <|begin|>...<|end|>

and a tokenizer for documents has no chat template but puts `<|begin|>` in front by itself, wherever special tokens
are asked for; so the tokens of an opening are a prefix of the tokens of the document. Every stretch of
text between special tokens gets a leading space if it has none, so the first word of an answer has the same
token whether or not somebody stripped the text.

Knows nothing about torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from idembench.toyland.documents import Form

PAD, BEGIN, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('Toyland knows the roles system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'].strip() + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, form: Form = "dialogue") -> Any:
    """Train the tokenizer.

    Args:
        texts: What to learn merges from.
        vocabulary: Number of tokens, special ones and the 256 bytes included.

        form: What it is for: with the chat template, or with `<|begin|>` in front.

    Returns:
        A `transformers.PreTrainedTokenizerFast`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BEGIN, SYSTEM, USER, ASSISTANT, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if form == "document":
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, bpe.token_to_id(BEGIN))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE if form == "dialogue" else None,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )
