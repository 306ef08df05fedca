"""Makes tests/golden/generation: what `transformers` generates with the tiny models of tests/golden/trunks, and scores of answer options.

One JSON file a model: settings, prompts, new tokens and scores of greedy and beam search, one prompt at a time (no padding); sums of
log-probabilities of answer options for rank classification. Every choice must survive float64 and weights a millionth off.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, NoRepeatNGramLogitsProcessor, StoppingCriteria, StoppingCriteriaList

import common
import draws
import trunk_models

MODELS = ["gpt2-tiny", "gpt2-bare", "llama-grouped", "smollm2-tiny", "qwen2-tiny", "t5-tiny", "t5-gated", "bart-tiny", "bart-scaled"]
PROMPT_LENGTHS, OPTION_LENGTHS = [1, 3, 6], [1, 2, 4]
NEW = 10
# "eos": how many of the model's chosen end tokens count. early_stopping, length_penalty, ... as in GenerationConfig.
CASES = {
    "greedy": {"eos": 0},
    "greedy-one-eos": {"eos": 1},
    "greedy-several-eos": {"eos": 3},
    "greedy-least": {"eos": 3, "min_new_tokens": 6},
    "greedy-repetition": {"eos": 1, "repetition_penalty": 1.4},
    "greedy-no-bigram-twice": {"eos": 1, "no_repeat_ngram_size": 2},
    "greedy-no-token-twice": {"eos": 0, "no_repeat_ngram_size": 1},
    "greedy-all": {"eos": 3, "min_new_tokens": 4, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
    "beam-2": {"eos": 1, "num_beams": 2},
    "beam-2-no-eos": {"eos": 0, "num_beams": 2},
    "beam-3-early": {"eos": 3, "num_beams": 3, "length_penalty": 0.5, "early_stopping": True},
    "beam-3-short": {"eos": 3, "num_beams": 3, "length_penalty": 0.5},
    "beam-4": {"eos": 3, "num_beams": 4},
    "beam-4-long": {"eos": 3, "num_beams": 4, "length_penalty": 2.0},
    "beam-4-never": {"eos": 3, "num_beams": 4, "length_penalty": 2.0, "early_stopping": "never"},
    "beam-3-never": {"eos": 2, "num_beams": 3, "early_stopping": "never"},
    "beam-3-least": {"eos": 3, "num_beams": 3, "min_new_tokens": 5},
    "beam-3-all": {"eos": 2, "num_beams": 3, "min_new_tokens": 3, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
    # Only of what is new: the library's processor, shown the new tokens alone.
    "greedy-no-new-bigram-twice": {"eos": 1, "new_no_repeat_ngram_size": 2},
    "beam-3-no-new-token-twice": {"eos": 2, "num_beams": 3, "new_no_repeat_ngram_size": 1},
    # A text that ends with one of the model's chosen pairs of tokens is at its end, as one with a stop string is.
    "beam-3-stops": {"eos": 1, "num_beams": 3, "stops": 3},
    "beam-4-stops-early": {"eos": 1, "num_beams": 4, "stops": 3, "length_penalty": 0.5, "early_stopping": True},
    # Beams drawn by the numbers of draws.py.
    "drawn-2": {"eos": 1, "num_beams": 2, "do_sample": True, "temperature": 1.0, "seed": 3},
    "drawn-3-cut": {"eos": 3, "num_beams": 3, "do_sample": True, "temperature": 1.5, "top_k": 5, "top_p": 0.8, "length_penalty": 0.5, "seed": 4},
    "drawn-4-nucleus": {"eos": 2, "num_beams": 4, "do_sample": True, "temperature": 0.7, "top_p": 0.3, "repetition_penalty": 1.2, "seed": 5},
}


def start_of(model):
    """What an encoder-decoder's decoder begins with; nothing for one that stands alone."""
    return [model.config.decoder_start_token_id] if model.config.is_encoder_decoder else []


class OfNewTokens(LogitsProcessor):
    """no_repeat_ngram over the new tokens."""

    def __init__(self, size, skip):
        self.own, self.skip = NoRepeatNGramLogitsProcessor(size), skip

    def __call__(self, input_ids, scores):
        return self.own(input_ids[:, self.skip:], scores)


class EndsWith(StoppingCriteria):
    def __init__(self, ends, skip):
        self.ends, self.skip = ends, skip

    def __call__(self, input_ids, scores, **kwargs):
        return torch.tensor([row[self.skip:][-2:] in self.ends for row in input_ids.tolist()])


def settings_of(case, eos, stops=()):
    """The case as GenerationConfig and as the file tells it."""
    told = {"max_new_tokens": NEW, "num_beams": 1, "length_penalty": 1.0, "early_stopping": False, "repetition_penalty": 1.0,
            "no_repeat_ngram_size": 0, "min_new_tokens": 0, **CASES[case]}
    told["eos_ids"] = eos[: told.pop("eos")]
    if "stops" in told:
        told["stops"] = list(stops)[: told["stops"]]
    return told


def generate(model, prompt, told, example=0):
    """Every sequence of the beam, best first: new tokens with their end token, and the library's score (None for greedy).

    Without the library's cache, whose number of layers is the encoder's even where the decoder has more.
    """
    own = ("eos_ids", "min_new_tokens", "new_no_repeat_ngram_size", "stops", "seed", "do_sample")
    wanted = {key: value for key, value in told.items() if key not in own}
    if told.get("do_sample"):
        wanted.setdefault("top_k", 0)
    skip = 1 if model.config.is_encoder_decoder else len(prompt)
    processors = [OfNewTokens(told["new_no_repeat_ngram_size"], skip)] if "new_no_repeat_ngram_size" in told else []
    stopping = [EndsWith(told["stops"], skip)] if "stops" in told else []
    pad = 1 if model.config.model_type == "bart" else 0
    config = GenerationConfig(**wanted, min_new_tokens=told["min_new_tokens"] or None, eos_token_id=told["eos_ids"] or None, pad_token_id=pad,
                              do_sample=told.get("do_sample", False), use_cache=False, num_return_sequences=told["num_beams"], return_dict_in_generate=True, output_scores=True,
                              decoder_start_token_id=(start_of(model) or [None])[0])
    ids = torch.tensor([prompt])
    with torch.no_grad(), draws.of_beams(told.get("seed", 0), example, model.config.vocab_size):
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=LogitsProcessorList(processors),
                             stopping_criteria=StoppingCriteriaList(stopping))
    found = []
    for row in out.sequences[:, skip:].tolist():
        ends = [i for i, token in enumerate(row) if token in told["eos_ids"] or row[max(0, i - 1): i + 1] in told.get("stops", [])]
        found.append(row[: ends[0] + 1] if ends else row)
    scores = out.sequences_scores.tolist() if told["num_beams"] > 1 else [None] * len(found)
    return found, scores


def log_probability(model, prompt, tokens):
    """Sum of log p(token) under the bare model: teacher forcing, no processors."""
    start = start_of(model)
    stream = start + tokens if start else prompt + tokens
    inputs = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([stream])} if start else {"input_ids": torch.tensor([stream])}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[0]
    first = len(stream) - len(tokens)
    log_p = torch.log_softmax(logits[first - 1 : len(stream) - 1].double(), -1)
    return log_p[range(len(tokens)), tokens].sum().item()


def nudged(folder, kind, seed):
    """The model with every weight off by about a millionth: what it generates must not depend on that."""
    model, random = trunk_models.load(folder, kind), np.random.default_rng(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.mul_(1 + 1e-6 * torch.from_numpy(random.normal(size=tuple(parameter.shape))).float())
    return model


def choose_prompts(model, random):
    """Of eight random prompts of each length the one with the most varied greedy answer: small random models like to repeat a token."""
    chosen = []
    for length in PROMPT_LENGTHS:
        some = [random.integers(4, model.config.vocab_size, length).tolist() for _ in range(8)]
        chosen.append(max(some, key=lambda prompt: len(set(generate(model, prompt, settings_of("greedy", []))[0][0]))))
    return chosen


def choose_ends(model, prompts, random):
    """Of eight random triples of tokens that decoding meets the one under which answers have the most different lengths."""
    def answers(case, ends):
        return [tokens for prompt in prompts for tokens in generate(model, prompt, settings_of(case, ends))[0]]

    met = sorted({token for case in ("greedy", "beam-3-all") for tokens in answers(case, []) for token in tokens[1:]})
    triples = [random.permutation(met)[:3].tolist() for _ in range(8)]
    return max(triples, key=lambda ends: sum(len({len(tokens) for tokens in answers(case, ends)}) for case in
                                             ("greedy-one-eos", "greedy-several-eos", "beam-3-all", "beam-4")))


def choose_stops(model, prompts, ends):
    """The three pairs of tokens that beams without them write most often, but not at their very beginning."""
    counts = {}
    for prompt in prompts:
        for tokens in generate(model, prompt, settings_of("beam-4", ends))[0]:
            for pair in {tuple(tokens[i: i + 2]) for i in range(1, len(tokens) - 1)} - {tuple(tokens[:2])}:
                if not set(pair) & set(ends):
                    counts[pair] = counts.get(pair, 0) + 1
    return [list(pair) for pair in sorted(counts, key=lambda pair: (-counts[pair], pair))[:3]]


def make(name, seed, models):
    """The contents of one file, and by how much float32 scores lie off."""
    kind = trunk_models.CASES[name][0][0]
    folder, random = models / name, np.random.default_rng(seed)
    plain, off = trunk_models.load(folder, kind), nudged(folder, kind, seed)
    exact = trunk_models.load(folder, kind, torch.float64)
    for model in (plain, off, exact):
        model.generation_config = GenerationConfig()   # no settings but those of the case
    prompts = choose_prompts(plain, random)
    ends = choose_ends(plain, prompts, random)
    stops = choose_stops(plain, prompts, ends)
    deviation, cases = 0.0, {}
    for case in CASES:
        told = settings_of(case, ends, stops)
        results = []
        for example, prompt in enumerate(prompts):
            tokens, scores = generate(plain, prompt, told, example)
            nudged_tokens, _ = generate(off, prompt, told, example)
            with trunk_models.exactly(True):
                trunk_models.fresh_rotary(exact)
                exact_tokens, exact_scores = generate(exact, prompt, told, example)
                log_probabilities = [log_probability(exact, prompt, each) for each in exact_tokens]
            assert tokens == nudged_tokens == exact_tokens, f"{name} {case}: a choice hangs on rounding; take another seed"
            if told["num_beams"] > 1:
                deviation = max(deviation, common.max_difference(scores, exact_scores))
            result = {"prompt": prompt, "tokens": exact_tokens, "log_probabilities": log_probabilities}
            if told["num_beams"] > 1:
                result["scores"] = exact_scores
            results.append(result)
        cases[case] = {"settings": told, "results": results}

    ranks = []
    for prompt in prompts:
        options = [random.integers(4, plain.config.vocab_size, length).tolist() + ends[:1] for length in OPTION_LENGTHS]
        with trunk_models.exactly(True):
            sums = [log_probability(exact, prompt, option) for option in options]
        ranks.append({"input": prompt, "options": options, "log_probabilities": sums, "best": int(np.argmax(sums)),
                      "best_mean": int(np.argmax([total / len(option) for total, option in zip(sums, options)]))})
    start = {"decoder_start_id": start_of(plain)[0]} if start_of(plain) else {}
    return {"model": name, "seed": seed, **start, "cases": cases, "ranks": ranks}, deviation


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/trunks")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/generation")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    manifest = {"command": common.command_line(), "versions": versions, "models": {},
                "values": "float64 from the stored weights, one prompt at a time; float32 and slightly wrong weights choose the same tokens"}
    for index, name in enumerate(MODELS):
        made, deviation = make(name, 7000 + index, args.models)
        (args.out / f"{name}.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
        manifest["models"][name] = {"file": f"{name}.json", "float32_score_deviation": float(f"{deviation:.2e}")}
        lengths = {case: [[len(t) for t in result["tokens"]] for result in entry["results"]] for case, entry in made["cases"].items()}
        print(name, deviation, json.dumps(lengths))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
