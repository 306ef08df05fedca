#!/usr/bin/env python3
"""Trains a small tokenizer by a model family's rules, and writes it as that family publishes it.

    python tools/train_tokenizer.py --family llama-3 --out DIR --vocab-size 8000 FILE...

    gpt-2, llama-3, qwen2, smollm2,    byte-level BPE: their splits, normalizers and special tokens          DIR/tokenizer.json
    modernbert
    llama-2, llama-2-new               BPE with byte fallback: Prepend and Replace, or Metaspace              DIR/tokenizer.json, DIR/tokenizer.model
    t5                                 Unigram                                                                DIR/tokenizer.json, DIR/spiece.model

The last two are trained by `sentencepiece` on one thread, and converted by the rules of transformers' converters. All of it is deterministic: the same
files in the same order give the same tokenizer. --rules FILE: normalization rules (sentencepiece's TSV) in place of nmt_nfkc, for T5.
"""
import argparse
import io
import json
import os

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from train_bpe import lines_of

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = {
    "gpt-2": ["<|endoftext|>"],
    "llama-3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "smollm2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "modernbert": ["<|padding|>", "<|endoftext|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"],
}


def split_and_bytes(numbers):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT.replace("NUMBERS", numbers)), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(family, lines, vocab_size, min_frequency=2):
    """A Tokenizer of one of the families in SPECIAL."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=family == "llama-3"))
    if family in ("gpt-2", "modernbert"):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif family == "smollm2":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                           pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    else:
        tokenizer.pre_tokenizer = split_and_bytes("{1,3}" if family == "llama-3" else "")
    if family in ("qwen2", "modernbert"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, show_progress=False,
                                                             initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL[family]])
    trim = processors.ByteLevel(trim_offsets=family != "gpt-2")
    if family == "llama-3":
        bos = SPECIAL[family][0]
        trim = processors.Sequence([trim, processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))])])
    if family == "modernbert":  # GPT-NeoX's: runs of spaces are tokens, behind the vocabulary
        tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in range(24, 1, -1)])
        tokenizer.add_special_tokens([AddedToken("[MASK]", special=True, normalized=False, lstrip=True)])
        ends = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
        trim = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends)
    tokenizer.post_processor = trim
    return tokenizer


def sentencepiece_model(family, lines, vocab_size, rules=None):
    """The bytes of a spiece.model (t5) or tokenizer.model (llama-2)."""
    common = {"vocab_size": vocab_size, "num_threads": 1, "minloglevel": 2, "hard_vocab_limit": False}
    if family == "t5":
        own = {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "character_coverage": 0.9995}
        own.update({"normalization_rule_tsv": rules} if rules else {"normalization_rule_name": "nmt_nfkc"})
    else:
        own = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "split_digits": True,
               "allow_whitespace_only_pieces": True, "character_coverage": 0.9995, "unk_id": 0, "bos_id": 1, "eos_id": 2}
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, **common, **own)
    return out.getvalue()


def converted(path, family):
    """The tokenizer that transformers makes of a SentencePiece file. family: t5, llama-2 or llama-2-new."""
    from transformers import LlamaTokenizerFast, T5TokenizerFast
    if family == "t5":
        return T5TokenizerFast(vocab_file=path, legacy=True, add_prefix_space=True)
    return LlamaTokenizerFast(vocab_file=path, legacy=family == "llama-2", add_prefix_space=True, from_slow=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="texts, read line by line")
    parser.add_argument("--family", required=True, choices=[*SPECIAL, "llama-2", "llama-2-new", "t5"])
    parser.add_argument("--out", required=True, help="a folder")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--rules")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    path = os.path.join(args.out, "tokenizer.json")
    if args.family in SPECIAL:
        byte_level(args.family, lines_of(args.files), args.vocab_size).save(path)
        return
    model = os.path.join(args.out, "spiece.model" if args.family == "t5" else "tokenizer.model")
    with open(model, "wb") as f:
        f.write(sentencepiece_model(args.family, lines_of(args.files), args.vocab_size, args.rules))
    with open(path, "w") as f:
        json.dump(json.loads(converted(model, args.family)._tokenizer.to_str()), f, ensure_ascii=False)


if __name__ == "__main__":
    main()
