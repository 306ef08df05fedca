"""Makes tests/golden/generation_settings: what generate() of `transformers` writes where a model's own files say how.

One JSON file a model of tests/golden/trunks. A case adds keys to its config.json (null: absent there) and may bring a generation_config.json;
`flags` are what the user asks for over that, by transformers' names and by Graft's. Every choice must survive float64 and weights a
millionth off.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

import common
import generation
import trunk_models

MODELS = ["gpt2-tiny", "llama-grouped", "qwen2-tiny", "t5-tiny", "bart-tiny", "bart-scaled"]
OURS = {"num_beams": "beams", "no_repeat_ngram_size": "no_repeat_ngram", "encoder_no_repeat_ngram_size": "encoder_no_repeat_ngram"}


def cases_of(kind, ends, met):
    """name -> (generation_config.json or None, changes of config.json, flags). `met`: tokens that greedy texts have, the most frequent first."""
    a, b, c, d = met[:4]
    ten, eos = {"max_new_tokens": 10}, {"eos_token_id": ends[0]}
    summary = {"num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "early_stopping": True, "min_length": 9, "max_length": 14,
               "forced_bos_token_id": 0, "forced_eos_token_id": ends[0]}
    cases = {
        "summary": ({**summary, **eos}, {}, {}),
        "summary-in-config": (None, {**summary, **eos}, {}),
        "config-counts": ({"_from_model_config": True, "num_beams": 2, **eos}, {"num_beams": 3, "max_length": 12, **eos}, {}),
        "config-says-nothing": ({"_from_model_config": True, "num_beams": 2, **eos}, {"num_beams": 1, "do_sample": False}, ten),
        "file-counts": ({"num_beams": 2, **eos}, {"num_beams": 3, "max_length": 12}, ten),
        "no-settings": (None, {"forced_eos_token_id": "absent", **eos}, {"max_new_tokens": 6}),
        "old-forced-first": (None, {"force_bos_token_to_be_generated": True, "forced_eos_token_id": "absent", **eos}, {"max_new_tokens": 6}),
        "old-forced-first-said": (None, {"force_bos_token_to_be_generated": True, "forced_bos_token_id": b, **eos}, {"max_new_tokens": 6, "num_beams": 2}),
        "forced-first": ({"forced_bos_token_id": a, **eos}, {}, ten),
        "forced-last": ({"forced_eos_token_id": ends[0], **eos}, {}, {"max_new_tokens": 5}),
        "forced-last-one-of": ({"forced_eos_token_id": [a, ends[1]], "eos_token_id": ends[:2]}, {}, {"max_new_tokens": 5}),
        "forced-both-beams": ({"forced_bos_token_id": a, "forced_eos_token_id": ends[0], "num_beams": 3, **eos}, {}, ten),
        "forced-last-total": ({"forced_eos_token_id": ends[0], "max_length": 11, **eos}, {}, {}),
        "forced-only-token": ({"forced_bos_token_id": a, "forced_eos_token_id": b, **eos}, {}, {"max_new_tokens": 1}),
        "suppressed": ({"suppress_tokens": [a, b], "begin_suppress_tokens": [c, d], **eos}, {}, ten),
        "suppressed-beams": ({"suppress_tokens": [a], "begin_suppress_tokens": [b, c], "num_beams": 3, **eos}, {}, ten),
        "suppressed-after-forced": ({"forced_bos_token_id": a, "begin_suppress_tokens": [b, c, d], **eos}, {}, ten),
        "suppressed-beyond": ({"suppress_tokens": [-1, 4000, a], **eos}, {}, ten),
        "bad-words": ({"bad_words_ids": [[a], [b, b], [c, d], [b, c, a, d], [ends[0]]], **eos}, {}, ten),
        "bad-words-beams": ({"bad_words_ids": [[b, a], [a, a, a], [c]], "num_beams": 3, **eos}, {}, ten),
        "not-of-the-prompt": ({"encoder_no_repeat_ngram_size": 1, **eos}, {}, ten),
        "no-bigram-of-the-prompt": ({"encoder_no_repeat_ngram_size": 2, "num_beams": 2, **eos}, {}, ten),
        "repetition": ({"repetition_penalty": 1.5, **eos}, {}, ten),
        "penalties-beams": ({"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "num_beams": 2, "length_penalty": 0.2, **eos}, {}, ten),
        "least-new": ({"min_new_tokens": 6, "max_new_tokens": 8, "eos_token_id": ends}, {}, {}),
        "least-total": ({"min_length": 8, "max_length": 16, "eos_token_id": ends}, {}, {}),
        "least-new-counts": ({"min_length": 15, "min_new_tokens": 2, "max_length": 16, "eos_token_id": ends}, {}, {}),
        "most-new-counts": ({"max_length": 30, "max_new_tokens": 4, **eos}, {}, {}),
        "most-total": ({"max_length": 10}, {}, {}),
        "most-total-beams": ({"max_length": 10, "num_beams": 3, "eos_token_id": ends, "early_stopping": "never", "length_penalty": 1.5}, {}, {}),
        "usual-length": ({"max_length": 20, **eos}, {}, {}),
        "one-beam-of-many": ({**summary, **eos}, {}, {"num_beams": 1, "max_new_tokens": 7}),
        "flags-beams": ({**summary, **eos}, {}, {"num_beams": 2, "no_repeat_ngram_size": 0, "length_penalty": 0.3, "early_stopping": False}),
        "flags-least": ({"min_length": 12, "max_length": 16, "eos_token_id": ends}, {}, {"min_new_tokens": 2}),
        "least-beyond-most": ({"min_new_tokens": 12, "eos_token_id": ends}, {}, {"max_new_tokens": 5}),
        "draws-not-asked-for": ({"do_sample": False, "temperature": 0.3, "top_p": 0.5, "top_k": 3, **eos}, {}, ten),
        "draws-of-one": ({"do_sample": True, "temperature": 0.7, "top_k": 1, "top_p": 0.9, "repetition_penalty": 1.3, **eos}, {}, ten),
        "draws-forced": ({"do_sample": True, "top_k": 1, "forced_bos_token_id": b, "suppress_tokens": [a], **eos}, {}, ten),
        "several-ends": ({"eos_token_id": ends, "num_beams": 2}, {}, ten),
        "all-neutral": ({"num_beam_groups": 1, "diversity_penalty": 0.0, "typical_p": 1.0, "use_cache": True, "renormalize_logits": False,
                         "encoder_repetition_penalty": 1.0, "epsilon_cutoff": 0.0, "num_return_sequences": 1, **eos}, {}, ten),
    }
    return cases if kind == "bart" else {name: case for name, case in cases.items() if not name.startswith("old-")}


def written(folder, case, out):
    """A folder with the files of the case: config and generation config as the library takes them from there."""
    settings, changes, _ = case
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    config = {key: value for key, value in {**config, **changes}.items() if value != "absent"}
    (out / "config.json").write_text(json.dumps(config))
    (out / "generation_config.json").unlink(missing_ok=True)
    if settings is not None:
        (out / "generation_config.json").write_text(json.dumps(settings))


def generate(model, prompt, loaded, flags, ends):
    """The text's new tokens, the end token included."""
    model.config, model.generation_config = loaded.config, loaded.generation_config
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), use_cache=False, pad_token_id=39, **flags)
    row = out[0, 1 if model.config.is_encoder_decoder else len(prompt):].tolist()
    at = [i for i, token in enumerate(row) if token in ends]
    return row[: at[0] + 1] if at else row


def make(name, seed, models):
    kind = trunk_models.CASES[name][0][0]
    folder, random = models / name, np.random.default_rng(seed)
    plain, off = trunk_models.load(folder, kind), [generation.nudged(folder, kind, seed + i) for i in range(2)]
    exact = trunk_models.load(folder, kind, torch.float64)
    plain.generation_config = generation.GenerationConfig()
    prompts = generation.choose_prompts(plain, random)
    greedy = [token for prompt in prompts for token in generation.generate(plain, prompt, generation.settings_of("greedy", []))[0][0]]
    met = sorted(set(greedy), key=lambda token: (-greedy.count(token), token))
    met += [token for token in range(4, 39) if token not in met]
    ends = generation.choose_ends(plain, prompts, random)
    told = {}
    for case, entry in cases_of(plain.config.model_type, ends, met).items():
        settings, changes, flags = entry
        if settings is not None and plain.config.is_encoder_decoder:   # the library asks for it there
            settings["decoder_start_token_id"] = plain.config.decoder_start_token_id
        with tempfile.TemporaryDirectory() as temp:
            written(folder, entry, Path(temp) / "model")
            loaded = kind.from_pretrained(Path(temp) / "model", attn_implementation="eager")
        own = settings if settings is not None else changes
        case_ends = own.get("eos_token_id", [])
        case_ends = [case_ends] if isinstance(case_ends, int) else case_ends
        if not case_ends:   # the family's own would come in
            loaded.generation_config.eos_token_id = None
        results = []
        for prompt in prompts:
            tokens = generate(plain, prompt, loaded, flags, case_ends)
            others = [generate(model, prompt, loaded, flags, case_ends) for model in (exact, *off)]
            assert all(tokens == other for other in others), f"{name} {case}: a choice hangs on rounding; take another seed"
            results.append({"prompt": prompt, "tokens": tokens})
        early = {False: "no", True: "yes"}
        given = {OURS.get(key, key): early[value] if key == "early_stopping" else value for key, value in flags.items()}
        told[case] = {"generation_config": settings, "config": changes, "flags": given, "ends": case_ends, "results": results}
    return {"model": name, "seed": seed, "cases": told}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/trunks")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/generation_settings")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    manifest = {"command": common.command_line(), "versions": versions, "models": {},
                "values": "tokens; float32, float64 and slightly wrong weights choose the same"}
    for index, name in enumerate(MODELS):
        made = make(name, 7100 + index, args.models)
        (args.out / f"{name}.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
        manifest["models"][name] = {"file": f"{name}.json"}
        print(name, json.dumps({case: [len(result["tokens"]) for result in entry["results"]] for case, entry in made["cases"].items()}))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
