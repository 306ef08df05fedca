"""The tiny random models of tests/golden/trunks: their configs, how they are stored, and a float64 run of them.

Used by trunks.py and generation.py. Sizes: width 12, two layers, some 4,000 parameters; the shape that a case is for departs from that.
"""

import contextlib
import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import (AutoConfig, BartConfig, BartForConditionalGeneration, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel,
                          GPT2Model, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, ModernBertConfig, ModernBertForMaskedLM, MT5Config, MT5ForConditionalGeneration,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, RobertaConfig, RobertaForMaskedLM, T5Config, T5ForConditionalGeneration)
from transformers.models.t5 import modeling_t5

GPT2 = dict(n_embd=12, n_layer=2, n_head=3, n_inner=20, vocab_size=40, n_positions=40, bos_token_id=1, eos_token_id=2)
LLAMA = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, intermediate_size=20, vocab_size=40,
             max_position_embeddings=40, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False, rope_theta=100.0)
GROUPED = dict(LLAMA, hidden_size=16, num_attention_heads=4, num_key_value_heads=2)
# 8 buckets: between tokens of an encoder 4 a side, of which 2 exact. Distances of 12 and more share the last one.
T5 = dict(d_model=12, num_layers=2, num_decoder_layers=2, num_heads=3, d_kv=4, d_ff=20, vocab_size=40, relative_attention_num_buckets=8,
          relative_attention_max_distance=12, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
BART = dict(d_model=12, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3, encoder_ffn_dim=20,
            decoder_ffn_dim=20, vocab_size=40, max_position_embeddings=40, scale_embedding=False, bos_token_id=0, pad_token_id=1,
            eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None)
BERT = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, vocab_size=40, max_position_embeddings=40,
            type_vocab_size=2, pad_token_id=0)
ROBERTA = dict(BERT, vocab_size=41, max_position_embeddings=42, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
               layer_norm_eps=1e-5)
# Windows of 3 tokens on each side, in blocks 1 and 2; blocks 0 and 3 see all of a text.
MODERNBERT = dict(hidden_size=12, num_hidden_layers=4, num_attention_heads=3, intermediate_size=20, vocab_size=40, max_position_embeddings=40,
                  pad_token_id=3, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, local_attention=6, global_rope_theta=1000.0,
                  local_rope_theta=10.0, reference_compile=False)
LLAMA3_SCALING = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
                  "original_max_position_embeddings": 16}


def gpt2(**changes):
    return GPT2LMHeadModel, GPT2Config(**{**GPT2, **changes})


def llama(base=LLAMA, **changes):
    return LlamaForCausalLM, LlamaConfig(**{**base, **changes})


def t5(**changes):
    return T5ForConditionalGeneration, T5Config(**{**T5, **changes})


def bart(**changes):
    return BartForConditionalGeneration, BartConfig(**{**BART, **changes})


# name -> (class, config), how it is stored, are gradients wanted?, what is special about it
CASES = {
    "gpt2-tiny": (gpt2(), "plain", True, "the usual shape; names start with 'transformer.'"),
    "gpt2-bare": (gpt2(n_layer=1, n_inner=None, n_positions=18, activation_function="gelu"), "bare", True,
                  "names without 'transformer.', as gpt2 itself; as many positions as the longest text; one layer, F = 4 C by default, gelu; mask buffers h.N.attn.bias"),
    "gpt2-one-head": (gpt2(n_head=1, n_layer=1, n_inner=17, vocab_size=37, activation_function="gelu_pytorch_tanh"), "everything", False,
                      "one head, one layer, odd F and V; lm_head.weight stored beside the word table, mask buffers as bytes and masked_bias"),
    "gpt2-relu": (gpt2(activation_function="relu", layer_norm_epsilon=1e-3), "fp16", False, "relu, another epsilon; weights stored in float16"),
    "llama-tiny": (llama(), "plain", True, "every head has keys of its own; output layer apart"),
    "llama-grouped": (llama(GROUPED), "plain", True, "two query heads share a key head; output layer apart"),
    "llama-wide-heads": (llama(head_dim=6, num_attention_heads=4, num_key_value_heads=1, vocab_size=37), "plain", True,
                         "head_dim 6: H*D = 24 of C = 12; one key head for all; odd V"),
    "llama-biases": (llama(GROUPED, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-3), "plain", True,
                     "biases everywhere, also after attention and in the FFN; another epsilon"),
    "llama-one-layer": (llama(num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, hidden_act="gelu", rope_theta=10000.0), "old", False,
                        "one layer, one head, gelu; rotary_emb.inv_freq stored as in old checkpoints"),
    "llama-linear": (llama(num_hidden_layers=1, rope_scaling={"type": "linear", "factor": 2.5}), "plain", False, "positions divided by 2.5; the older key 'type'"),
    "llama-dynamic": (llama(num_hidden_layers=1, max_position_embeddings=12, rope_scaling={"rope_type": "dynamic", "factor": 2.0}), "plain", False,
                      "angles as usual up to 12 positions; the longer sequences have a larger base, which depends on their length"),
    "llama-llama3": (llama(GROUPED, num_hidden_layers=1, head_dim=12, rope_scaling=LLAMA3_SCALING), "plain", False,
                     "LLaMA 3.1's scaling with frequencies in all three of its bands"),
    "llama-default-scaling": (llama(num_hidden_layers=1, rope_scaling={"rope_type": "default"}), "plain", False, "rope_scaling that says: none"),
    "llama-sharded": (llama(), "sharded", False, "three shards and an index"),
    "llama-bf16": (llama(), "bf16", False, "weights stored in bfloat16"),
    "smollm2-tiny": (llama(dict(LLAMA, hidden_size=18, num_key_value_heads=1, pad_token_id=2, rope_theta=100000.0), tie_word_embeddings=True), "plain", True,
                     "as SmolLM2: tied output layer, 3 heads of width 6 that share one key head"),
    "mistral-tiny": ((MistralForCausalLM, MistralConfig(**{**GROUPED, "num_hidden_layers": 1, "sliding_window": None, "head_dim": 4})), "plain", False, "sliding_window null"),
    "mistral-window": ((MistralForCausalLM, MistralConfig(**{**GROUPED, "num_hidden_layers": 1, "sliding_window": 40})), "plain", False,
                       "a sliding window as wide as the longest text that the model serves"),
    "qwen2-tiny": ((Qwen2ForCausalLM, Qwen2Config(**{**GROUPED, "tie_word_embeddings": True, "pad_token_id": 3})), "qwen2", True,
                   "biases of q, k and v and none of o; tied; sliding_window given but switched off"),
    "t5-tiny": (t5(), "plain", True, "version 1.0: relu, tied output layer behind a factor C^-1/2"),
    "t5-old": (t5(num_layers=1, num_decoder_layers=1, num_heads=1, d_kv=5), "everything", False,
               "one layer and one head; every name that old checkpoints hold, also a table of biases for cross-attention that nothing reads"),
    "t5-gated": (t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_layers=1, num_decoder_layers=2, d_kv=6, vocab_size=37,
                    relative_attention_num_buckets=7, relative_attention_max_distance=9), "plain", True,
                 "version 1.1: gated GELU, output layer apart; H*D = 18 of C = 12; 1 + 2 layers; an odd number of buckets; odd V"),
    "t5-deep-encoder": (t5(num_layers=3, num_decoder_layers=1, d_kv=3, relative_attention_num_buckets=32, relative_attention_max_distance=128), "plain", False,
                        "3 + 1 layers, H*D = 9 of C = 12; buckets of the published models, a boundary of which falls on distance 16"),
    "mt5-tiny": ((MT5ForConditionalGeneration, MT5Config(**{**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 1,
                                                            "num_decoder_layers": 1})), "plain", False, "T5 v1.1 under mT5's name"),
    "bart-tiny": (bart(), "plain", True, "the usual shape; final_logits_bias of zeros"),
    "bart-scaled": (bart(encoder_layers=1, decoder_layers=2, scale_embedding=True, activation_function="relu"), "everything", True,
                    "1 + 2 layers, embeddings times sqrt(C), relu; every copy of the word table stored"),
    "bart-logits-bias": (bart(decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1, vocab_size=37), "logits-bias", False,
                         "final_logits_bias that is not zero: added to the logits; one head; 2 + 1 layers"),
    "bert-mlm": ((BertForMaskedLM, BertConfig(**BERT)), "plain", True, "masked language model: transform, tied decoder, bias"),
    "roberta-mlm": ((RobertaForMaskedLM, RobertaConfig(**ROBERTA)), "plain", True, "the same with RoBERTa's names; V not a multiple of 8"),
    "bart-uneven": (bart(encoder_layers=1, encoder_attention_heads=3, encoder_ffn_dim=20, decoder_attention_heads=2, decoder_ffn_dim=28), "plain", True,
                    "stacks of different shapes: 1 + 2 layers, 3 and 2 heads, F 20 and 28"),
    "gpt2-untied": (gpt2(n_layer=1, tie_word_embeddings=False), "plain", True, "output layer apart"),
    "bert-mlm-untied": ((BertForMaskedLM, BertConfig(**{**BERT, "num_hidden_layers": 1, "tie_word_embeddings": False, "pad_token_id": None})), "plain", False,
                        "the decoder of the masked head apart; no padding id"),
    "t5-encoder-table": (t5(num_layers=1, num_decoder_layers=1), "encoder-table", False, "the word table under its encoder's name alone"),
    "bart-decoder-table": (bart(encoder_layers=1, decoder_layers=1, encoder_ffn_dim=28, decoder_attention_heads=6), "decoder-table", False,
                           "the word table under its decoder's name, too; 3 and 6 heads, F 28 and 20"),
    "smollm2-index": (llama(dict(LLAMA, num_hidden_layers=1, num_key_value_heads=1), tie_word_embeddings=True), "tied-index", False,
                      "shards with an index that names the tied output layer, which none of them holds"),
    "qwen3-tiny": ((Qwen3ForCausalLM, Qwen3Config(**{**GROUPED, "head_dim": 6, "tie_word_embeddings": True})), "qwen2", True,
                   "norms of each head's queries and keys; H*D = 24 of C = 16; tied; sliding_window given but switched off"),
    "qwen3-biases": ((Qwen3ForCausalLM, Qwen3Config(**{**GROUPED, "num_hidden_layers": 1, "head_dim": 4, "attention_bias": True, "rms_norm_eps": 1e-3})),
                     "plain", True, "biases of all four layers of attention; output layer apart; another epsilon"),
    "modernbert-mlm": ((ModernBertForMaskedLM, ModernBertConfig(**MODERNBERT)), "plain", True,
                       "windows and all tokens in turn with two rotary bases; no biases but the decoder's"),
    "modernbert-biases-mlm": ((ModernBertForMaskedLM, ModernBertConfig(**{**MODERNBERT, "num_hidden_layers": 3, "global_attn_every_n_layers": 2,
                                                                         "local_attention": 3, "local_rope_theta": None, "attention_bias": True,
                                                                         "mlp_bias": True, "norm_bias": True, "classifier_bias": True,
                                                                         "hidden_activation": "silu", "classifier_activation": "relu",
                                                                         "norm_eps": 1e-3, "vocab_size": 37, "tie_word_embeddings": False})),
                              "plain", False, "biases everywhere; a window of 1 each side and one rotary base; silu, relu; decoder apart"),
}


def deviation_of(name, parameter):
    """Wide enough that a wrong term shows, narrow enough that float32 stays well inside 1e-5 + 1e-4 relative."""
    if "relative_attention_bias" in name:
        return 1.0
    if parameter.dim() == 1:
        return 0.2
    return 0.5 if any(table in name for table in ("embed", "wte", "wpe", "shared", "lm_head")) else 0.28


def randomise(model, seed):
    """Every parameter from N(0, deviation^2), norm weights from one more than that, in the order of the names. Returns the generator."""
    random = np.random.default_rng(seed)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in sorted(parameters):
            is_norm = parameters[name].dim() == 1 and name.endswith(".weight")
            value = float(is_norm) + random.normal(0.0, deviation_of(name, parameters[name]), tuple(parameters[name].shape))
            parameters[name].copy_(torch.from_numpy(value))
    return random


def everything(model):
    """Tensors by all the names that checkpoints of this family have been seen with, buffers that nothing reads included."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kind = model.config.model_type
    if kind == "t5":
        tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(
            model.config.relative_attention_num_buckets, model.config.num_heads)
    if kind == "gpt2":
        size = model.config.n_positions
        for layer in range(model.config.n_layer):
            tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, size, size).tril().to(torch.uint8)
            tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


def save(model, folder, storage, random):
    """Stores the model as the case asks. The folder exists and is empty."""
    if storage == "bf16":
        model = model.to(torch.bfloat16)
    if storage == "fp16":
        model = model.to(torch.float16)
    if storage == "logits-bias":
        model.final_logits_bias.copy_(torch.from_numpy(random.normal(0.0, 1.0, tuple(model.final_logits_bias.shape))))
    if storage == "bare":
        model.transformer.save_pretrained(folder)
        size, file = model.config.n_positions, folder / "model.safetensors"
        buffers = {f"h.{layer}.attn.bias": torch.ones(1, 1, size, size).tril() for layer in range(model.config.n_layer)}
        save_file({**load_file(file), **buffers}, str(file), metadata={"format": "pt"})
    elif storage == "tied-index":
        model.save_pretrained(folder, max_shard_size="3KB")
    elif storage == "sharded":
        model.save_pretrained(folder, max_shard_size="7KB")
        assert len(list(folder.glob("model-*-of-00003.safetensors"))) == 3, list(folder.iterdir())
    else:
        model.save_pretrained(folder)
    if storage == "encoder-table":
        tensors = load_file(folder / "model.safetensors")
        tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    if storage == "decoder-table":
        tensors = load_file(folder / "model.safetensors")
        tensors["model.decoder.embed_tokens.weight"] = tensors["model.shared.weight"].clone()
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    if storage == "tied-index":
        index = folder / "model.safetensors.index.json"
        content = json.loads(index.read_text())
        content["weight_map"]["lm_head.weight"] = content["weight_map"]["model.norm.weight"]
        index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    if storage == "everything":
        save_file(everything(model), str(folder / "model.safetensors"), metadata={"format": "pt"})
    if storage == "old":
        buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": model.model.rotary_emb.inv_freq.clone()
                   for layer in range(model.config.num_hidden_layers)}
        save_file({**load_file(folder / "model.safetensors"), **buffers}, str(folder / "model.safetensors"), metadata={"format": "pt"})
    if storage == "qwen2":  # the keys of Qwen2's own files
        config = json.loads((folder / "config.json").read_text())
        config.pop("layer_types")
        config.update(use_sliding_window=False, sliding_window=8, max_window_layers=1)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)


def load(folder, kind, dtype=torch.float32):
    """Loads the stored folder again, so that what is expected is what a reader of the files gets."""
    model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    return model.to(dtype).eval()


class Float64(TorchFunctionMode):
    """Inside, what the library computes in float32 by name (norms, softmax, angles) is computed in float64 too."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        wide = {torch.float32: torch.float64, torch.float: torch.float64}
        replace = lambda value: wide.get(value, value) if isinstance(value, torch.dtype) else value
        return function(*map(replace, args), **{key: replace(value) for key, value in (kwargs or {}).items()})


@contextlib.contextmanager
def exactly(is_exact):
    """Runs in float64 throughout, or as the library does it. T5's buckets are chosen in float32 either way: that choice is part of the model."""
    if not is_exact:
        yield
        return
    original = modeling_t5.T5Attention._relative_position_bucket
    mode = Float64()

    def in_float32(*args, **kwargs):
        with torch._C.DisableTorchFunction():
            return original(*args, **kwargs)

    modeling_t5.T5Attention._relative_position_bucket = staticmethod(in_float32)
    try:
        with mode:
            yield
    finally:
        modeling_t5.T5Attention._relative_position_bucket = staticmethod(original)


def fresh_rotary(model):
    """The rotary angles as a new model has them: dynamic scaling remembers longer texts. Exact ones inside `exactly`."""
    if hasattr(model, "model") and hasattr(model.model, "rotary_emb"):
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    if model.config.model_type == "modernbert":
        for block in model.model.layers:
            block.attn.rotary_emb = type(block.attn.rotary_emb)(block.attn.rotary_emb.config)


def read_config(folder):
    return AutoConfig.from_pretrained(folder)
