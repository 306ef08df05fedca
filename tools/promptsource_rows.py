#!/usr/bin/env python3
"""Renders promptsource's templates of a data set into rows {template, input, options, target} for rank classification (tasks/choice.yaml).

    promptsource_rows.py --templates templates.yaml --data RTE/dev.tsv --out rte.jsonl --rename sentence1=premise --rename sentence2=hypothesis \\
                         --labels entailment,not_entailment

promptsource 0.2.3 itself asks for Python 3.7 and is not needed: unpack its source package (pip download --no-deps --ignore-requires-python
promptsource==0.2.3) and name a templates.yaml of promptsource/templates/. Templates are rendered with Jinja2 as promptsource's own apply() does,
with its filters and "|||" rules, but without its default cut of variables to 2,048 characters. Needs PyYAML and Jinja2.

By default only templates that pose the data set's original task and have answer choices are rendered (the zero-shot protocol of T0, MoV and
MoLoRA); --all-templates takes every template with answer choices. Templates without choices are for generation and are named on standard error,
as are rows to which a template does not apply (it renders no target).
"""
import argparse
import collections
import csv
import json
import pathlib
import random
import sys

import jinja2
import yaml

PROTECTED = "3ed2dface8203c4c9dfb1a5dc58e41e0"  # stands for a "|||" of the data while a rendered text is cut at "|||"


class Input(Exception):
    """The user's files or flags are wrong."""


class Loader(yaml.SafeLoader):
    """Reads !Template and !TemplateMetadata as plain maps; no other tag, no Python objects."""


for tag in ("!Template", "!TemplateMetadata"):
    Loader.add_constructor(tag, lambda loader, node: loader.construct_mapping(node, deep=True))


def most_frequent(items):
    counts = collections.Counter(items).most_common()
    return [item for item, count in counts if count == counts[0][1]] if counts else None


def environment(rng):
    """The names that templates may use: Jinja2's own, zip, choice and most_frequent."""
    env = jinja2.Environment(undefined=jinja2.StrictUndefined)
    env.globals["zip"] = zip
    env.filters["choice"] = rng.choice
    env.filters["most_frequent"] = most_frequent
    return env


def read_templates(path, only_original):
    """The templates to render, by name; and the names of those that are left out, with the reason."""
    content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    if not isinstance(content, dict) or not isinstance(content.get("templates"), dict):
        raise Input(f"{path}: expected promptsource's templates.yaml, with a section templates")
    chosen, left_out = {}, {}
    for template in content["templates"].values():
        name = template["name"].strip()
        if name in chosen or name in left_out:
            raise Input(f"{path}: two templates are called {name!r}")
        if not template.get("answer_choices"):
            left_out[name] = "it has no answer choices"
        elif only_original and not (template.get("metadata") or {}).get("original_task"):
            left_out[name] = "it does not pose the original task; --all-templates takes it"
        else:
            chosen[name] = template
    if not chosen:
        raise Input(f"{path}: no template is left: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    return chosen, left_out


def read_rows(path):
    """The rows of a TSV with a header (quotes are letters), a CSV, a JSONL or a JSON list."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        if path.suffix == ".json":
            return json.load(file)
        if path.suffix not in (".tsv", ".csv"):
            raise Input(f"{path}: expected a file ending in .tsv, .csv, .jsonl or .json")
        kind = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {"strict": True}
        reader = csv.DictReader(file, **kind)
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise Input(f"{path}:{reader.line_num}: expected {len(reader.fieldnames)} fields")
            rows.append(row)
        return rows


def as_promptsource_sees(row, renames, label_column, labels):
    """The row with columns renamed and the label as an index, as the data set's own loader would give it."""
    out = {renames.get(key, key): value for key, value in row.items()}
    if labels:
        label = str(out[label_column])
        if label in labels:
            out["label"] = labels.index(label)
        elif label.isdigit() and int(label) < len(labels):
            out["label"] = int(label)
        else:
            raise Input(f"label {label!r} is not one of {', '.join(labels)}")
    if "answer_choices" in out:
        raise Input("a column is called answer_choices, a name that templates use for themselves")
    return out


def render(env, template, row):
    """(input, options, target) of one row, or None where the template makes no target for it."""
    protected = {key: value.replace("|||", PROTECTED) if isinstance(value, str) else value for key, value in row.items()}
    parts_of = lambda text: [part.strip().replace(PROTECTED, "|||") for part in text.split("|||")]
    options = parts_of(env.from_string(template["answer_choices"]).render(**protected))
    parts = parts_of(env.from_string(template["jinja"]).render(**protected, answer_choices=options))
    if len(parts) != 2 or not parts[1]:
        return None
    return parts[0], options, parts[1]


def rendered_rows(templates, rows, env):
    """One row of output for every template and row, template by template; and how many rows each template does not apply to."""
    out, skipped = [], collections.Counter()
    for name, template in templates.items():
        for number, row in enumerate(rows):
            try:
                made = render(env, template, row)
            except jinja2.UndefinedError as error:
                raise Input(f"template {name!r}, row {number}: {error}; the row has {', '.join(row)}: --rename COLUMN=NAME gives one the name that the template uses")
            if made is None:
                skipped[name] += 1
                continue
            text, options, target = made
            if options.count(target) != 1:
                raise Input(f"template {name!r}, row {number}: the target {target!r} stands {options.count(target)} times among the options {options}")
            out.append({"template": name, "input": text, "options": options, "target": options.index(target)})
    return out, skipped


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=pathlib.Path, required=True, help="a templates.yaml of promptsource")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="TSV with a header, CSV, JSONL or JSON")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the JSONL to write")
    parser.add_argument("--rename", action="append", default=[], metavar="COLUMN=NAME", help="a column's name in the templates")
    parser.add_argument("--labels", default="", metavar="NAME,NAME", help="the labels in the order of the data set's indices")
    parser.add_argument("--label-column", default="label", help="the column of the label (default: label)")
    parser.add_argument("--all-templates", action="store_true", help="also those that do not pose the original task")
    parser.add_argument("--seed", type=int, default=0, help="of templates that draw among phrasings (default: 0)")
    options = parser.parse_args(arguments)
    try:
        renames = dict(pair.split("=", 1) for pair in options.rename if "=" in pair)
        if len(renames) != len(options.rename):
            raise Input("--rename: expected COLUMN=NAME, each column once")
        templates, left_out = read_templates(options.templates, not options.all_templates)
        labels = options.labels.split(",") if options.labels else []
        rows = [as_promptsource_sees(row, renames, options.label_column, labels) for row in read_rows(options.data)]
        made, skipped = rendered_rows(templates, rows, environment(random.Random(options.seed)))
    except (Input, OSError, ValueError, yaml.YAMLError, jinja2.TemplateSyntaxError) as error:
        print(f"promptsource_rows.py: {error}", file=sys.stderr)
        return 2
    options.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    for name, why in left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    for name, count in skipped.items():
        print(f"left out: {count} rows to which {name} does not apply", file=sys.stderr)
    print(f"wrote {len(made)} rows of {len(templates)} templates to {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
