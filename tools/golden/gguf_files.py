"""Writes tests/golden/gguf with the gguf package; transformers, tokenizers and sentencepiece say what must come out.

    .venv-peers/bin/python tools/golden/gguf_files.py

- blocks.gguf: one tensor of each type that can be read, random bytes with scales of every kind; blocks.safetensors: gguf.dequantize of each.
- llama.gguf, qwen2.gguf, qwen3.gguf: tiny models of mixed types. NAME.safetensors: transformers' state_dict after reading them with `gguf_file=`, and
  `ids`, `logits` of one sequence. llama3.gguf: another, with the frequency factors of LLaMA 3 as a tensor.
- tokens-NAME.gguf: a tokenizer as metadata; tokens.json: texts and their ids by the tokenizer that the metadata was taken from.
"""
import hashlib
import io
import json
import os
import pathlib
import tempfile
from importlib.metadata import version

import gguf
import numpy as np
import sentencepiece
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

SEED = 20261122
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/gguf"
PACKAGES = ("gguf", "numpy", "torch", "transformers", "tokenizers", "sentencepiece")
BLOCK_TYPES = (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q4_K, Type.Q5_K, Type.Q6_K)
# Where a block keeps its half-precision scales, in bytes.
SCALES = {Type.Q8_0: (0,), Type.Q4_0: (0,), Type.Q4_1: (0, 2), Type.Q5_0: (0,), Type.Q5_1: (0, 2), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
SPECIAL_HALVES = np.array([0.0, -0.0, 6e-8, -6e-8, 3e-5, 65504.0, -65504.0, 1.0, -0.33], dtype=np.float16)   # 6e-8 and 3e-5 are subnormal
TEXTS = ["Hello world", "the cat sat on the mat, and it's 12345 o'clock!", "  two  spaces\n\n\nand\tlines \n", "I'LL say: don't, WE'RE 99bottles",
         "caf\u00e9 na\u00efve \u00fcber", "\u4f60\u597d\uff0c\u4e16\u754c 2024\u5e74", "\U0001f600 emoji \U0001f469\u200d\U0001f4bb", "<|im_start|>user\nhi<|im_end|>\n",
         "e\u0301 combining, \u00bd and \u2167", "foo_bar(x) { return x*x; } // 3.14159", "<s>raw</s>", ""]


def random_blocks(kind, rng):
    """[2, row] bytes of one type, its special scales first."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    if kind == Type.F32:
        numbers = rng.standard_normal((2, 64), dtype=np.float32)
        numbers[0, :4] = (0, -0.0, 1e-42, -3e38)
        return numbers
    if kind in (Type.F16, Type.BF16):
        numbers = rng.standard_normal((2, 64)).astype(np.float16)
        numbers[0, :len(SPECIAL_HALVES)] = SPECIAL_HALVES
        if kind == Type.F16:
            return numbers
        return gguf.quantize(numbers.astype(np.float32), Type.BF16)
    per_row = 8 if values == 32 else 5
    blocks = rng.integers(0, 256, (2 * per_row, size), dtype=np.uint8)
    for place in SCALES[kind]:
        scales = (rng.standard_normal(len(blocks)) * 0.1).astype(np.float16)
        picked = SPECIAL_HALVES[rng.permutation(len(SPECIAL_HALVES))]
        scales[:len(picked)] = picked
        blocks[:, place:place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(2, per_row * size)


def write_blocks(rng):
    writer = gguf.GGUFWriter(FOLDER / "blocks.gguf", "none")
    expected = {}
    for kind in BLOCK_TYPES:
        data = random_blocks(kind, rng)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = torch.from_numpy(np.copy(gguf.dequantize(data, kind)))
    finish(writer)
    save_file(expected, FOLDER / "blocks.safetensors")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weight, heads):
    """Rows of a query or key layer in the order of ggml's rotary positions: pairs (i, i + D/2) of a head become neighbours."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}


def gguf_name(name):
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        module, leaf = rest.rsplit(".", 1)
        return f"blk.{layer}.{NAMES[module]}.{leaf}"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[name]


def write_model(name, model, architecture, kinds, extra=lambda writer: None):
    """A GGUF file of `model`; kinds: part of a tensor's name -> type, float32 for the others."""
    config = model.config
    writer = gguf.GGUFWriter(FOLDER / f"{name}.gguf", architecture)
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    if architecture == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if architecture in ("llama", "qwen3"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(3)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages }}")
    writer.add_quantization_version(2)
    extra(writer)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight, stored = tensor.float().numpy(), gguf_name(key)
        if architecture == "llama" and ".attn_q." in stored:
            weight = interleaved(weight, config.num_attention_heads)
        if architecture == "llama" and ".attn_k." in stored:
            weight = interleaved(weight, config.num_key_value_heads)
        kind = next((kind for part, kind in kinds.items() if part in stored), Type.F32)
        if weight.ndim == 1:
            kind = Type.F32
        writer.add_tensor(stored, gguf.quantize(weight, kind), raw_dtype=kind)
    finish(writer)


def expected_model(name, model_class):
    """What transformers makes of the file."""
    model = model_class.from_pretrained(FOLDER, gguf_file=f"{name}.gguf", dtype=torch.float32).eval()
    tensors = {key: value.detach().clone() for key, value in model.state_dict().items() if not (key == "lm_head.weight" and model.config.tie_word_embeddings)}
    ids = torch.tensor([[1, 17, 5, 39, 8, 8, 21, 2]])
    with torch.no_grad():
        tensors["logits"] = model(ids).logits[0].clone()
    tensors["ids"] = ids[0].clone()
    save_file(tensors, FOLDER / f"{name}.safetensors")


def write_models():
    torch.manual_seed(SEED)
    sizes = dict(vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=64, initializer_range=0.5)
    llama = LlamaForCausalLM(LlamaConfig(**sizes, rope_theta=10000.0, rms_norm_eps=1e-5, head_dim=8, tie_word_embeddings=True)).eval()
    for parameter in llama.parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(1, 0.2)
    write_model("llama", llama, "llama", {"token_embd": Type.Q8_0, "attn_q": Type.Q4_1, "attn_k": Type.Q5_0, "attn_v": Type.F16, "attn_output": Type.Q4_0,
                                          "ffn_gate": Type.Q5_1, "ffn_up": Type.BF16, "ffn_down": Type.Q8_0})
    expected_model("llama", LlamaForCausalLM)
    qwen = Qwen2ForCausalLM(Qwen2Config(**dict(sizes, num_hidden_layers=1), rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=False)).eval()
    for parameter in qwen.parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(0.5, 0.2)
    write_model("qwen2", qwen, "qwen2", {"token_embd": Type.F16, "attn_q": Type.Q8_0, "ffn": Type.Q4_0})
    expected_model("qwen2", Qwen2ForCausalLM)
    # LLaMA 3's frequencies: what its converter stores beside the weights, from transformers' own angles.
    scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    small = dict(sizes, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, intermediate_size=32)
    plain = LlamaForCausalLM(LlamaConfig(**small, head_dim=32, rope_theta=500000.0, tie_word_embeddings=False)).eval()
    stretched = LlamaForCausalLM(LlamaConfig(**small, head_dim=32, rope_theta=500000.0, tie_word_embeddings=False, rope_scaling=scaling)).eval()
    factors = (plain.model.rotary_emb.inv_freq / stretched.model.rotary_emb.inv_freq).float().numpy()
    write_model("llama3", plain, "llama", {"": Type.Q8_0}, lambda writer: writer.add_tensor("rope_freqs.weight", factors, raw_dtype=Type.F32))
    torch.manual_seed(SEED + 1)
    # Heads of 128 rows, as transformers takes every Qwen3 file to have, whatever its key_length.
    heads = dict(num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=128)
    qwen3 = Qwen3ForCausalLM(Qwen3Config(**dict(sizes, **heads), rope_theta=1e6, tie_word_embeddings=True)).eval()
    for parameter in qwen3.parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(1, 0.2)
    write_model("qwen3", qwen3, "qwen3", {"token_embd": Type.Q8_0, "attn_k.": Type.F16, "ffn": Type.Q5_0})
    expected_model("qwen3", Qwen3ForCausalLM)


def trained_bpe(normalizer, pre_tokenizer, specials):
    corpus = (TEXTS + ["the mat and the cat; it's a hat, isn't it? I'll do 1234567 things we're doing. return x*x; caf\u00e9 \u4e16\u754c"]) * 3
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def split(digits):
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def own_tokenizers():
    """The tokenizers of four models' families, small: name -> (tokenizer, tokenizer.ggml.pre, whether the file says add_bos_token)."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made = {"gpt2": (trained_bpe(None, pre_tokenizers.ByteLevel(add_prefix_space=False), specials), "gpt-2", None),
            "smollm": (trained_bpe(None, pre_tokenizers.ByteLevel(add_prefix_space=False), specials), "smollm", False),
            "qwen2": (trained_bpe(normalizers.NFC(), split(""), specials), "qwen2", False)}
    made["smollm"][0].pre_tokenizer = digits   # after the training, so that there are tokens of several digits for it to prevent
    llama3 = trained_bpe(None, split("{1,3}"), specials)
    fields = json.loads(llama3.to_str())
    fields["model"]["ignore_merges"] = True
    # A token that no merge makes: found only because merges are ignored.
    assert "\u0120combining" not in fields["model"]["vocab"]
    fields["model"]["vocab"]["\u0120combining"] = len(fields["model"]["vocab"])
    llama3 = Tokenizer.from_str(json.dumps(fields))
    llama3.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    llama3.add_tokens([AddedToken("foo_bar", normalized=False)])
    made["llama-bpe"] = (llama3, "llama-bpe", None)
    return made


def bpe_metadata(writer, tokenizer, pre, add_bos):
    fields = json.loads(tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    added = {token["content"]: token["special"] for token in fields["added_tokens"]}
    kinds = [gguf.TokenType.NORMAL if t not in added else gguf.TokenType.CONTROL if added[t] else gguf.TokenType.USER_DEFINED for t, _ in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in fields["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)


def spm_metadata(writer, processor, add_space_prefix, order):
    """order: the piece of each id of the file."""
    kind = lambda i: (gguf.TokenType.UNKNOWN if processor.is_unknown(i) else gguf.TokenType.CONTROL if processor.is_control(i) else
                      gguf.TokenType.BYTE if processor.is_byte(i) else gguf.TokenType.UNUSED if processor.is_unused(i) else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(i) for i in order])
    writer.add_token_scores([processor.get_score(i) for i in order])
    writer.add_token_types([kind(i) for i in order])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if add_space_prefix is not None:
        writer.add_add_space_prefix(add_space_prefix)


def write_tokenizers():
    cases = {}
    for name, (tokenizer, pre, add_bos) in own_tokenizers().items():
        writer = gguf.GGUFWriter(FOLDER / f"tokens-{name}.gguf", "llama")
        bpe_metadata(writer, tokenizer, pre, add_bos)
        finish(writer)
        cases[name] = {"ids": [tokenizer.encode(text).ids for text in TEXTS],
                       "decoded": [tokenizer.decode(tokenizer.encode(text).ids) for text in TEXTS]}
    for name, prefix in (("spm", True), ("spm-plain", False)):
        corpus = [line for text in TEXTS * 3 for line in text.split("\n") if line and "<" not in line]
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, vocab_size=500, model_type="bpe", byte_fallback=True,
                                                 normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
                                                 split_digits=True, minloglevel=2, num_threads=1)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        writer = gguf.GGUFWriter(FOLDER / f"tokens-{name}.gguf", "llama")
        # Without a prefix also with the pieces turned round, so that scores and ids disagree.
        fixed = [i for i in range(processor.get_piece_size()) if processor.is_unknown(i) or processor.is_control(i) or processor.is_byte(i)]
        order = fixed + sorted(set(range(processor.get_piece_size())) - set(fixed), reverse=not prefix)
        spm_metadata(writer, processor, None if prefix else False, order)
        finish(writer)
        texts = [text for text in TEXTS if "<s>" not in text]   # sentencepiece takes these for plain text, a tokenizer.json does not
        cases[name] = {"texts": texts, "ids": [[1] + [order.index(i) for i in processor.encode(text)] for text in texts], "decoded": [processor.decode(processor.encode(text)) for text in texts]}
    (FOLDER / "tokens.json").write_text(json.dumps({"texts": TEXTS, "cases": cases}, indent=None) + "\n")


def main():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_blocks(np.random.Generator(np.random.PCG64(SEED)))
    write_models()
    write_tokenizers()
    files = sorted(p for p in FOLDER.iterdir() if p.is_file() and p.name != "manifest.json")
    for file in files:
        file.chmod(0o644)
    manifest = {"made_by": "tools/golden/gguf_files.py", "seed": SEED, **{name: version(name) for name in PACKAGES},
                "sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}}
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
