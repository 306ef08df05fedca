#!/usr/bin/env python3
"""Makes tests/golden/text/rows.json: rows of text tasks as transformers and tokenizers make tokens of them.

    python tools/golden/text_rows.py --out tests/golden/text/rows.json      # reads tests/golden/text/families

Pinned: transformers 4.57.6, tokenizers 0.22.2. Tokenizers are those of the families, some with another pre-tokenizer or normalizer
and with the marks of a chat format as special tokens: `sections` take the place of theirs, `added` tokens come to their own.

- `chats`: ids of apply_chat_template, and `behind` them those of a generation prompt. `answer`: 1 for the assistant's tokens, where
  transformers itself says which they are (return_assistant_tokens_mask over the same template with generation marks).
- `follow`: a prompt and a target after it. `ids`: of both as a whole; `prompt_ids`: of the prompt alone; `alone`: of the target by the
  same tokenizer without what it puts before a text. No special tokens.
- `cut`: a text, or a pair, cut to max_length at either side, special tokens included.
"""
import argparse
import copy
import json
import os
import sys

import transformers
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from chat import CONVERSATIONS, FORMATS, S, U, A  # noqa: E402

FAMILIES = os.path.join(HERE, "..", "..", "tests", "golden", "text", "families")
MARKS = {"chatml": ["<|im_start|>", "<|im_end|>"], "smollm2": ["<|im_start|>", "<|im_end|>"], "qwen2": ["<|im_start|>", "<|im_end|>"],
         "llama-2": ["<s>", "</s>"], "llama-3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
         "zephyr": ["</s>"], "mistral": ["<s>", "</s>"], "mistral-v0.1": ["<s>", "</s>"], "gemma": ["<bos>", "<start_of_turn>", "<end_of_turn>"]}
META = {"type": "Metaspace", "replacement": "\u2581", "split": False}
# name: (family, sections)
TOKENIZERS = {
    "prepend": ("llama-2", {}),
    "metaspace first": ("llama-2-new", {}),
    "metaspace always": ("llama-2", {"normalizer": None, "pre_tokenizer": {**META, "prepend_scheme": "always"}}),
    "metaspace always, split": ("llama-2", {"normalizer": None, "pre_tokenizer": {**META, "prepend_scheme": "always", "split": True}}),
    "metaspace never": ("llama-2", {"normalizer": None, "pre_tokenizer": {**META, "prepend_scheme": "never"}}),
    "replace alone": ("llama-2", {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}}),
    "unigram": ("t5", {"post_processor": None}),
    "byte-level": ("smollm2", {}),
    "byte-level, split": ("llama-3", {}),
    "byte-level, prefix": ("gpt-2", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}),
}
CHATS = [c for c in CONVERSATIONS if all(r != S for r, _ in c[1:])] + [
    [(U, "Where is the river?"), (A, "In the valley."), (U, "And the road?"), (A, " Beside it."), (U, "Thanks"), (A, "Good night.")],
    [(S, "Be brief."), (U, "a"), (A, "the sea"), (U, "b"), (A, "the road")],
    [(U, "(first)"), (A, "(second)"), (U, "](third)["), (A, "](fourth)[")],
    [(U, "x\n"), (A, "\ny"), (U, "\n\nz"), (A, "\n\n  w")],
    [(U, "the"), (A, "the"), (U, " the"), (A, " the"), (U, "the "), (A, "the ")],
    [(U, "1987"), (A, "1,250"), (U, "22 33"), (A, "44")],
    [(U, "Der Flu\u00df"), (A, "\u00fcber die Stra\u00dfe"), (U, "\u6cb3"), (A, "\u5ddd\U0001f30a")],
    [(U, "\u2581a"), (A, "\u2581b \u2581"), (U, "\u2581\u2581"), (A, "c")],
    [(U, "tabs\tand"), (A, "\tend\t"), (U, "it's"), (A, "don't")],
    [(U, "a  b"), (A, "  c  d"), (U, " "), (A, "   ")],
    [(S, "  "), (U, "first"), (A, ""), (U, "second"), (A, ".")],
    [(U, "one"), (A, "two"), (U, "three"), (A, "four"), (U, "five"), (A, "six"), (U, "seven"), (A, "eight")],
]
SOME = ["llama-2", "mistral", "chatml"]   # the formats of tokenizers that differ little from another one
DIFFER_LITTLE = ["metaspace always, split", "metaspace never", "replace alone", "unigram", "byte-level, prefix"]
FOLLOW = [("over", " the sea"), ("over", "the sea"), ("over ", "the sea"), ("over ", " the sea"), ("", "the sea"), ("", " the sea"), ("over", ""), ("over\n", "the sea"), ("over\n", "\nthe sea"),
          ("the road and the ri", "ver"), ("In 19", "87"), ("Q: x\nA:", " yes"), ("Q: x\nA: ", "yes"), ("  over", "  the"), ("l'\u00e9t", "\u00e9"), ("e", "\u0301"), ("\u6cb3", "\u5ddd"), ("it", "'s"),
          ("over.", "\u2581the"), ("a </s>", " b"), ("a </s>", "b"), ("over <s> the", " road"), ("over\t", "\tthe")]
CUTS = {"t5": ("t5", {}), "bart": ("gpt-2", {"post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False}}),
        "bert": ("wordpiece", {}), "decoder": ("llama-3", {})}
LETTERS = " ".join("abcdefghijklmnopqrst")
TEXTS = [(LETTERS, None), ("The river rose in the night, and by morning the lower road was under water.", None), (LETTERS, "the road"), ("the road", LETTERS), (LETTERS, LETTERS[::-1]), ("x", None), ("", LETTERS)]


def section_file(family, sections, marks):
    folder = os.path.join(FAMILIES, "..", family) if family == "wordpiece" else os.path.join(FAMILIES, family)
    with open(os.path.join(folder, "tokenizer.json")) as f:
        data = json.load(f)
    data = {**data, **copy.deepcopy(sections)}
    own = len(data["added_tokens"])
    vocab = data["model"]["vocab"]
    known = set(vocab) if isinstance(vocab, dict) else {t for t, _ in vocab}
    added = {t["content"] for t in data["added_tokens"]}
    free = max([len(vocab) - 1] + [t["id"] for t in data["added_tokens"]]) + 1
    for mark in marks:
        if mark in added:
            continue
        assert mark not in known, mark
        data["added_tokens"].append({"id": free, "content": mark, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True})
        free += 1
    return data, data["added_tokens"][own:]


def without_prefix(data):
    """The tokenizer without the step that puts a space before a text."""
    data = copy.deepcopy(data)
    steps = lambda part, key: part[key] if part and part["type"] == "Sequence" else [part] if part else []
    kept = [s for s in steps(data["normalizer"], "normalizers") if s["type"] != "Prepend"]
    data["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    for step in steps(data["pre_tokenizer"], "pretokenizers"):
        if step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
        elif step["type"] == "ByteLevel":
            step["add_prefix_space"] = False
    return data


def with_generation(name):
    """The format's template with transformers' marks around what the assistant says."""
    template = FORMATS[name][0][0]
    begin, end = "{% generation %}", "{% endgeneration %}"
    pieces = {
        "llama-2": ("{{ ' '  + content.strip() + ' ' + eos_token }}",) * 2,
        "mistral": ("{{ message['content'] + eos_token }}",) * 2,
        "mistral-v0.1": ("{{ message['content'] + eos_token + ' ' }}", "{{ message['content'] + eos_token }}" + end + "{{ ' ' }}"),
        "zephyr": ("{{ '<|assistant|>\n'  + message['content'] + eos_token }}", "{{ '<|assistant|>\n' }}" + begin + "{{ message['content'] + eos_token }}"),
    }
    if name not in pieces:
        return None
    old, new = pieces[name]
    assert template.count(old) == 1, name
    new = new if begin in new else begin + new
    new = new if end in new else new + end
    return template.replace(old, new)


def chats(data, name):
    template, bos, eos = FORMATS[name][0][0], FORMATS[name][1], FORMATS[name][2]
    # transformers sets the pre-tokenizer's add_prefix_space to this argument, whatever the file says.
    has_prefix = (data["pre_tokenizer"] or {}).get("add_prefix_space", False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), bos_token=bos, eos_token=eos, add_prefix_space=has_prefix)
    assert json.loads(tokenizer._tokenizer.to_str())["pre_tokenizer"] == data["pre_tokenizer"]
    rows = []
    for turns in CHATS:
        messages = [{"role": r, "content": c} for r, c in turns]
        try:
            row = {"turns": turns, "ids": tokenizer.apply_chat_template(messages, chat_template=template)}
            asked = tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True)
        except Exception:   # a role that this format refuses; chat.json has those
            continue
        if asked != row["ids"]:
            row["behind"] = asked[len(row["ids"]):]   # what asks for an answer
            assert asked[:len(row["ids"])] == row["ids"]
        marked = with_generation(name)
        is_whole = data["post_processor"] is None or data["post_processor"]["type"] == "TemplateProcessing"   # offsets with their white space
        if marked and is_whole and any(r == A for r, _ in turns) and all(c for r, c in turns if r == A):
            found = tokenizer.apply_chat_template(messages, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True)
            mask = "".join(str(m) for m in found["assistant_masks"])
            # Where the first character of an answer lies in no token, a blank that the normalizer took, transformers stops marking.
            is_marked = len(mask.replace("0", " ").split()) == sum(r == A for r, _ in turns)
            if found["input_ids"] == row["ids"] and is_marked:
                row["answer"] = mask
        rows.append(row)
    return rows


def cuts(data):
    tokenizer = Tokenizer.from_str(json.dumps(data))
    rows = []
    for text, pair in TEXTS:
        for side in ("right", "left"):
            for length in (5, 7, 12, 200):
                tokenizer.enable_truncation(length, direction=side)
                rows.append({"text": text, "pair": pair, "side": side, "max_length": length, "ids": tokenizer.encode(text, pair).ids})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    rows = []
    for name, (family, sections) in TOKENIZERS.items():
        for format_name, marks in MARKS.items():
            if name in DIFFER_LITTLE and format_name not in SOME:
                continue
            data, added = section_file(family, sections, marks)
            rows.append({"kind": "chats", "tokenizer": name, "base": family, "sections": sections, "added": added, "format": format_name,
                         "cases": chats(data, format_name)})
        data, added = section_file(family, sections, ["<s>", "</s>"])
        whole, plain = Tokenizer.from_str(json.dumps(data)), Tokenizer.from_str(json.dumps(without_prefix(data)))
        ids = lambda text, tokenizer=whole: tokenizer.encode(text, add_special_tokens=False).ids
        rows.append({"kind": "follow", "tokenizer": name, "base": family, "sections": sections, "added": added,
                     "cases": [{"prompt": p, "target": t, "prompt_ids": ids(p), "ids": ids(p + t), "alone": ids(t, plain)} for p, t in FOLLOW]})
    for name, (family, sections) in CUTS.items():
        data, added = section_file(family, sections, [] if family in ("t5", "wordpiece", "llama-3") else ["<s>", "<pad>", "</s>"])
        if name == "bart":
            own = {t["content"]: t["id"] for t in data["added_tokens"]}
            data["post_processor"].update(sep=["</s>", own["</s>"]], cls=["<s>", own["<s>"]])
        rows.append({"kind": "cut", "tokenizer": name, "base": family, "sections": {"post_processor": data["post_processor"]}, "added": added, "cases": cuts(data)})
    with open(out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=True, separators=(",", ":")) for r in rows) + "\n]\n")
    print(os.path.getsize(out), "bytes,", sum(len(r["cases"]) for r in rows), "cases,", sum("answer" in c for r in rows for c in r["cases"]), "with masks")


if __name__ == "__main__":
    main()
