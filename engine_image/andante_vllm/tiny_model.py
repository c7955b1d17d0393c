"""Makes a tiny model without network: tokenizer, config and, on request, random weights.

The virtual GPU needs only the tokenizer and the config. With weights, vLLM's CPU backend computes real numerics: tests
use this to show that a resumed request continues correctly. Uses the standard library, tokenizers, numpy and
safetensors, but not torch, so that it takes a fraction of a second.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

BEGIN: Final = "<|begin|>"
END: Final = "<|end|>"
PAD: Final = "<|pad|>"
MARKS: Final = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Visible marks that vLLM's reasoning and tool parsers look for."""

# Each word with its leading space is one token: N words are N tokens, and a stream reads as text.
WORDS: Final = tuple(
    """the of and to in is was for on that with as it at by from be this which or an are not have but one had their been
    were all they when there more who would some other can time only like into than then its over also after first new
    two water most people great day part life number way down long little very still place old year work three small
    home read find here thing many same sound good light night house world school story rest song river road wind stone
    tree walk slow calm gentle pace even quiet morning evening window garden summer winter letter paper voice answer
    question reason simple clear near far high low deep wide open close begin end hold keep give take make come go see
    hear know think feel turn move stand sit wait watch start finish always often never again once each every between
    under above before behind through across along toward within without""".split()  # noqa: SIM905  prose is easier to keep than 180 quoted strings
)

# Only the contents of the messages: the virtual GPU repeats exactly the client's text.
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['content'] }}{% if not loop.last %}\n{% endif %}{% endfor %}"
)

_WEIGHT_DEVIATION = 0.15  # the usual 0.02 makes a random model repeat one token


def make_model(
    directory: Path,
    *,
    random_weights: bool = False,
    hidden_size: int = 128,
    layers: int = 2,
    max_model_len: int = 32_768,
    seed: int = 0,
) -> Path:
    """Write a Llama-shaped model with `layers` layers and `hidden_size` (a multiple of 64) into `directory`; return it.

    The directory is complete or does not exist: it is written beside and then moved. An existing one is replaced.
    """
    if hidden_size % 64 or hidden_size <= 0:
        raise ValueError(f"hidden_size must be a multiple of 64, got {hidden_size}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        tokenizer = _tokenizer()
        tokenizer.save(str(scratch / "tokenizer.json"))
        config = _config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=hidden_size,
            layers=layers,
            max_model_len=max_model_len,
        )
        _write_json(scratch / "config.json", config)
        _write_json(scratch / "tokenizer_config.json", _tokenizer_config(max_model_len))
        _write_json(scratch / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2})
        if random_weights:
            _write_weights(scratch / "model.safetensors", config, seed=seed)
        scratch.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        scratch.replace(directory)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return directory


def _tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer for any text: each of WORDS is one token, other text has about a token per byte."""
    alphabet = sorted(ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((BEGIN, END, PAD, *MARKS, *alphabet))}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = "Ġ"  # a space in the byte-level alphabet
        for letter in word:
            if left + letter not in vocabulary:
                vocabulary[left + letter] = len(vocabulary)
                merges.append((left, letter))
            left += letter
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (BEGIN, END, PAD)])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    return tokenizer


def _tokenizer_config(max_model_len: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": max_model_len,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _config(*, vocab_size: int, hidden_size: int, layers: int, max_model_len: int) -> dict[str, Any]:
    heads = hidden_size // 32
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(2, heads // 2),
        "head_dim": 32,
        "max_position_embeddings": max_model_len,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "torch_dtype": "float32",
    }


def _write_weights(path: Path, config: dict[str, Any], *, seed: int) -> None:
    # vLLM's transformers bring tokenizers and safetensors; only this function needs safetensors.
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    key_value = config["num_key_value_heads"] * config["head_dim"]

    def matrix(rows: int, columns: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return (random.standard_normal((rows, columns)) * _WEIGHT_DEVIATION).astype(np.float32)

    ones = np.ones(hidden, dtype=np.float32)
    weights = {"model.embed_tokens.weight": matrix(vocab, hidden), "model.norm.weight": ones}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        weights |= {
            f"{prefix}.input_layernorm.weight": ones.copy(),
            f"{prefix}.post_attention_layernorm.weight": ones.copy(),
            f"{prefix}.self_attn.q_proj.weight": matrix(hidden, hidden),
            f"{prefix}.self_attn.k_proj.weight": matrix(key_value, hidden),
            f"{prefix}.self_attn.v_proj.weight": matrix(key_value, hidden),
            f"{prefix}.self_attn.o_proj.weight": matrix(hidden, hidden),
            f"{prefix}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"{prefix}.mlp.up_proj.weight": matrix(inner, hidden),
            f"{prefix}.mlp.down_proj.weight": matrix(hidden, inner),
        }
    weights["lm_head.weight"] = matrix(vocab, hidden)
    save_file(weights, path, metadata={"format": "pt"})


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
