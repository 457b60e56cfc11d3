"""Tiny seeded checkpoints of encoders, encoder-decoders and decoders with heads: two layers, float32, a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "</s>", "<s>"]
LABELS = ("negative", "neutral", "positive")
TAGS = ("O", "B-PER", "I-PER", "B-LOC")

_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 130,
    "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip
_STYLES = {"xlnet": "xlnet", "t5": "text_to_text", "bart": "text_to_text", "marian": "text_to_text", "gpt2": "plain", "llama": "plain"}
"""Of special tokens; BERT's for all others."""


def make_tokenizer(style: str, **more: Any) -> Any:
    """One token a byte, for text to text one a character, so that any tokens are a text; special tokens as the style wants them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    is_text = style == "text_to_text"
    alphabet = (
        [*map(chr, range(32, 127)), *map(chr, range(0x4E00, 0x4E00 + 161))] if is_text else sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    vocab = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="[UNK]"))
    if is_text:
        core.decoder = decoders.Fuse()
    else:
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
    templates = {
        "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
        "xlnet": ("$A [SEP] [CLS]:2", "$A [SEP] $B:1 [SEP]:1 [CLS]:2"),
        "text_to_text": ("$A </s>", "$A $B </s>"),
    }
    if style in templates:
        single, pair = templates[style]
        ids = [(t, vocab[t]) for t in ("[CLS]", "[SEP]", "</s>")]
        core.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "eos_token": "</s>",
    }
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if style in ("bert", "xlnet") else ["input_ids", "attention_mask"]
    if style == "xlnet":
        more = {"padding_side": "left", "pad_token_type_id": 3, **more}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=inputs, **{**names, **more})


def make_config(family: str, **more: Any) -> Any:
    """The configuration of a family: the eleven of the curriculum and MacBERT, which is a BERT by name and layout."""
    import transformers as t

    size = len(SPECIAL) + 256
    encoder = {"vocab_size": size, **_SMALL, **more}
    match family:
        case "bert" | "macbert":
            return t.BertConfig(**encoder)
        case "roberta":
            return t.RobertaConfig(**{**encoder, "type_vocab_size": 3})
        case "albert":
            return t.AlbertConfig(**encoder, embedding_size=16)
        case "electra":
            return t.ElectraConfig(**encoder, embedding_size=16)
        case "ernie":
            return t.ErnieConfig(**encoder)
        case "xlnet":
            return t.XLNetConfig(
                vocab_size=size, d_model=32, n_layer=2, n_head=4, d_inner=64, initializer_range=0.3, pad_token_id=0, **more
            )
        case "gpt2":
            return t.GPT2Config(
                vocab_size=size,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=130,
                initializer_range=0.3,
                bos_token_id=5,
                eos_token_id=5,
                **more,
            )
        case "llama":
            return t.LlamaConfig(**{**encoder, "num_key_value_heads": 2, "bos_token_id": 6, "eos_token_id": 5})
        case "t5":
            shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "n_positions": 130}
            marks = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 5}
            return t.T5Config(**{"vocab_size": size, **shape, **marks, **more})
        case "bart" | "marian":
            config = t.BartConfig if family == "bart" else t.MarianConfig
            return config(
                vocab_size=size,
                d_model=32,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                max_position_embeddings=130,
                init_std=0.3,
                pad_token_id=0,
                bos_token_id=6,
                eos_token_id=5,
                decoder_start_token_id=5 if family == "bart" else 0,
                forced_eos_token_id=None,
                scale_embedding=True,
                **more,
            )
    raise ValueError(family)


def make_checkpoint(folder: Path, family: str, auto: str, *, seed: int = 0, tokenizer: dict[str, Any] | None = None, **more: Any) -> Path:
    """A folder as save_pretrained writes it: a model of `family`, by the Auto class `auto`, with seeded weights."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, auto).from_config(make_config(family, **more)).float().eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # heads and biases too: zeros would hide mistakes
            if weight.dim() == 1 and "norm" not in name.lower():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
            elif auto == "AutoModelForSeq2SeqLM" and weight.dim() == 2 and not {"shared", "embed_positions"} & set(name.split(".")):
                weight.copy_(torch.randn(weight.shape, generator=generator))  # with small ones it would repeat its first token for ever
    model.save_pretrained(folder)
    make_tokenizer(_STYLES.get(family, "bert"), **(tokenizer or {})).save_pretrained(folder)
    return folder


def label_names(names: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of a configuration for a head with these labels."""
    return {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
