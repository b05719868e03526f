"""Contracts over causal language models of ``transformers``, as they come from a small config.

    python -m benchmarks.gate.causal_models [--only llama,mamba] [--reference]

Each is built by ``AutoModelForCausalLM.from_config`` with random weights and asked all contracts at the sizes at which
the smoke preset asks them. A contract that fails is either a defect that a reader of the model's code confirms, or a
false failure of ours; ``benchmarks/results/causal_models.json`` lists every one. With ``--reference`` the same for the
reference architectures of this package.
"""

from __future__ import annotations

import argparse
import functools
import os
import pkgutil
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import reference_archs
from benchmarks.record import update
from pytest_mad import settings
from pytest_mad.architectures.architecture import Architecture, from_factory
from pytest_mad.architectures.targets import from_target
from pytest_mad.contracts.base import contracts
from pytest_mad.evaluation.contract import run_contract
from pytest_mad.evaluation.options import ContractOptions
from pytest_mad.presets.setting import Setting

#: Chosen before any was tried: what is much used, and every kind of mixer, position, gate and router that there is.
MODELS = (
    *("gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "openai-gpt", "opt", "bloom", "mpt", "codegen", "xglm"),
    *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "gemma", "gemma2"),
    *("gemma3_text", "phi", "phi3", "phimoe", "falcon", "olmo", "olmo2", "olmoe", "deepseek_v2", "deepseek_v3"),
    *("granite", "granitemoe", "cohere", "cohere2", "stablelm", "starcoder2", "glm", "glm4", "smollm3", "nemotron"),
    *("persimmon", "gpt_oss", "llama4_text", "ernie4_5", "ernie4_5_moe", "helium", "diffllama", "doge", "minimax"),
    *("mamba", "mamba2", "falcon_mamba", "bamba", "jamba", "zamba", "zamba2", "recurrent_gemma", "rwkv", "xlstm"),
    *("lfm2", "falcon_h1", "granitemoehybrid", "nemotron_h", "modernbert-decoder", "bert", "roberta", "roformer"),
    *("big_bird", "electra", "xlnet", "ctrl", "biogpt", "reformer"),
)

#: What makes a config small, under the names that configs give it.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "embedding_size", "dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "kv_channels", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "d_ff", "dff", "moe_intermediate_size"), 64),
    **dict.fromkeys(("shared_expert_intermediate_size", "intermediate_size_mlp"), 64),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k"), 2),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "state_size", "ssm_state_size", "mamba_d_state"), 16),
    **dict.fromkeys(("attention_hidden_size", "lru_width", "mamba_d_ssm"), 32),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 4),
    **dict.fromkeys(("is_decoder",), True),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
    **dict.fromkeys(("partial_rotary_factor",), 1.0),
}
#: Where sizes must fit each other in a way of its own.
OWN: dict[str, dict[str, Any]] = {
    "bamba": {"num_hidden_layers": 4, "attn_layer_indices": [1, 3]},
    "codegen": {"rotary_dim": 4},
    "deepseek_v2": {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4},
    "deepseek_v3": {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "mpt": {"expansion_ratio": 2},
    "nemotron_h": {"layers_block_type": ["mamba", "attention"], "mamba_head_dim": 16, "n_groups": 1},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds": False},
    "xlstm": {"chunkwise_kernel": "chunkwise--native_autograd", "sequence_kernel": "native_sequence__native"},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "hybrid"], "attention_hidden_size": 64},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "hybrid_layer_ids": [1], "attention_hidden_size": 64},
}


def small_model(kind: str, vocab_size: int, max_length: int) -> torch.nn.Module:
    """A causal language model of this kind for a setting: width 32, two layers, random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    known = AutoConfig.for_model(kind).to_dict()
    sizes = {key: value for key, value in SMALL.items() if key in known and not isinstance(known[key], list)}
    lengths = dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), max(64, max_length))
    sizes |= {key: value for key, value in lengths.items() if key in known}
    dropouts = {key: 0.0 for key, value in known.items() if "drop" in key and isinstance(value, float)}
    config = AutoConfig.for_model(kind, **(sizes | dropouts | {"vocab_size": vocab_size} | OWN.get(kind, {})))
    model: torch.nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return model


def architectures(only: set[str] | None, reference: bool) -> Iterator[Architecture]:
    if reference:
        for module in pkgutil.iter_modules(reference_archs.__path__):
            if not module.name.startswith("_") and (only is None or module.name in only):
                yield from_target(f"reference_archs.{module.name}:make_model")
        return
    for kind in MODELS:
        if only is None or kind in only:
            yield from_factory(_factory(kind), name=kind.replace(" ", "_"), source=kind)


def _factory(kind: str) -> Callable[..., torch.nn.Module]:
    return functools.partial(small_model, kind)


def telling_setting() -> Setting:
    """At whose sizes the smoke preset asks: the longest sequences that are no autoencoder's."""
    found = [setting for setting in settings("smoke").values() if not setting.task.bottleneck]
    return max(found, key=lambda setting: setting.task.input_length(setting.params))


def ask_all(architecture: Architecture) -> dict[str, Any]:
    """Verdict and detail of every contract that does not simply hold."""
    found: dict[str, Any] = {}
    started, options = time.monotonic(), ContractOptions()
    for name in contracts():
        result, _ = run_contract(architecture, telling_setting(), name, options, torch.device("cpu"))
        if result.verdict != "pass" or result.said:
            found[name] = f"{result.verdict}: {result.said}"
    return {"seconds": round(time.monotonic() - started, 1), "said": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: set(text.split(",")), help="names with commas between them")
    parser.add_argument("--reference", action="store_true", help="the reference architectures of this package")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    part: dict[str, Any] = {}
    for architecture in architectures(arguments.only, arguments.reference):
        part[architecture.name] = found = ask_all(architecture)
        bad = {name: text for name, text in found["said"].items() if text.startswith(("fail", "error"))}
        told = "; ".join(f"{name}: {text}" for name, text in bad.items()) or "holds"
        print(f"{architecture.name:20} {found['seconds']:6.1f} s  {told}", flush=True)
    if arguments.only is None:
        update("causal_models", **{"reference" if arguments.reference else "transformers": part})


if __name__ == "__main__":
    main()
