"""Small models with random weights for bench/decoder_runs.py, and the synthetic tasks of its mixtures. Everything is drawn from fixed seeds.

Rows of the tasks are {input: "VERB a b c ...", target: "..."} over twenty letters. The trunk learns verbs that it is told by name (copy, back, ...); the adapters then
learn commands t1, t2, ... that it never saw, one for each verb, all together: what one command asks for is wrong for the others.
"""
import random

LETTERS = [chr(ord("a") + i) for i in range(20)]
VERBS = {
    "copy": lambda s: s,
    "back": lambda s: s[::-1],
    "next": lambda s: [LETTERS[(LETTERS.index(c) + 1) % 20] for c in s],
    "swap": lambda s: [c for i in range(0, len(s), 2) for c in reversed(s[i : i + 2])],
    "turn": lambda s: s[1:] + s[:1],
    "mirror": lambda s: [LETTERS[19 - LETTERS.index(c)] for c in s],
}
COMMANDS = {f"t{i + 1}": verb for i, verb in enumerate(VERBS)}


def verb_rows(count, seed, commands):
    """commands: name -> verb; each row draws one, and 3 to 6 letters."""
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        name = draw.choice(sorted(commands))
        letters = [draw.choice(LETTERS) for _ in range(draw.randint(3, 6))]
        rows.append({"id": i, "command": name, "input": " ".join([name, *letters]), "target": " ".join(VERBS[commands[name]](letters))})
    return rows


def make_t5(folder):
    """T5 v1.1's blocks: width 64, two layers each side, four heads; a Unigram tokenizer with a piece a word."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import T5Config, T5ForConditionalGeneration
    pieces = ["<pad>", "</s>", "<unk>", *("▁" + word for word in [*LETTERS, *VERBS, *COMMANDS]), "▁"]
    words = Tokenizer(models.Unigram([(piece, 0.0 if i < 3 else -1.0 if i < len(pieces) - 1 else -20.0) for i, piece in enumerate(pieces)], unk_id=2, byte_fallback=False))
    words.add_special_tokens(pieces[:3])
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(
        vocab_size=len(pieces), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=4, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, relative_attention_num_buckets=32, relative_attention_max_distance=64))
    model.save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    return folder


def make_gpt2(folder, texts, vocabulary=1500):
    """GPT-2's blocks: width 128, four layers, four heads; a byte-level BPE trained on the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=words.get_vocab_size(), n_positions=256, n_embd=128, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0, pad_token_id=0,
                                       resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
    model.save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    return folder
