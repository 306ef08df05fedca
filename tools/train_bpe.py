#!/usr/bin/env python3
"""Trains a small byte-level BPE tokenizer by RoBERTa's rules with Hugging Face `tokenizers`, and writes it as tokenizer.json.

    python tools/train_bpe.py --out DIR/tokenizer.json --vocab-size 8000 FILE...

Ids 0..4 are <s>, <pad>, </s>, <unk>, <mask>, as in RoBERTa; <mask> takes the space before it along; texts get no prefix space; offsets leave out spaces.
The training is deterministic: the same files in the same order give the same tokenizer.
"""
import argparse

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def lines_of(paths):
    """Every line of every file that is valid UTF-8."""
    for path in paths:
        with open(path, "rb") as f:
            for line in f:
                try:
                    yield line.rstrip(b"\n").decode("utf-8")
                except UnicodeDecodeError:
                    continue


def train(lines, vocab_size, min_frequency=2, add_prefix_space=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[AddedToken(t, special=True, normalized=False, lstrip=t == "<mask>") for t in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), trim_offsets=True, add_prefix_space=add_prefix_space)
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="texts, read line by line")
    parser.add_argument("--out", required=True)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--min-frequency", type=int, default=2)
    parser.add_argument("--add-prefix-space", action="store_true")
    args = parser.parse_args()
    tokenizer = train(lines_of(args.files), args.vocab_size, args.min_frequency, args.add_prefix_space)
    tokenizer.save(args.out)
    print(f"{args.out}: {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
