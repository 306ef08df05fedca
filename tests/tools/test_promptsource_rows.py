"""Tests of tools/promptsource_rows.py on a made-up template file. Run: python3 tests/tools/test_promptsource_rows.py (77: no PyYAML or Jinja2)"""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

try:
    import jinja2  # noqa: F401
    import yaml  # noqa: F401
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import promptsource_rows  # noqa: E402

TEMPLATES = r"""
dataset: made_up
templates:
  1-a: !Template
    answer_choices: Yes ||| No
    id: 1-a
    jinja: 'Given {{premise}}

      Does "{{hypothesis}}" follow? ||| {% if label != -1 %}{{ answer_choices[label] }}{% endif %}'
    metadata: !TemplateMetadata
      choices_in_prompt: false
      metrics:
      - Accuracy
      original_task: true
    name: 'given '
    reference: ''
  2-b: !Template
    answer_choices: '{{premise}} ||| {{hypothesis}} ||| neither'
    id: 2-b
    jinja: '{{ ["Which?", "Which?"] | choice }} ||| {{ [answer_choices[0]] | most_frequent | first }}'
    metadata: !TemplateMetadata
      original_task: true
    name: which
  3-c: !Template
    answer_choices: null
    id: 3-c
    jinja: 'Go on: {{premise}} ||| {{hypothesis}}'
    metadata: !TemplateMetadata
      original_task: false
    name: open
  4-d: !Template
    answer_choices: a ||| b
    id: 4-d
    jinja: '{% if label == 0 %}Zero: {{hypothesis}} ||| a{% endif %}'
    metadata: !TemplateMetadata
      original_task: false
    name: other task
"""
DATA = 'index\tsentence1\tsentence2\tlabel\n0\tA "cat".\tb ||| c\tnot_entailment\n1\tD.\te\tentailment\n'


class Rows(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "templates.yaml").write_text(TEMPLATES, encoding="utf-8")
        (self.folder / "dev.tsv").write_text(DATA, encoding="utf-8")

    def run_tool(self, *more, rename=True):
        arguments = ["--templates", self.folder / "templates.yaml", "--data", self.folder / "dev.tsv", "--out", self.folder / "out.jsonl"]
        arguments += ["--rename", "sentence1=premise", "--rename", "sentence2=hypothesis"] if rename else []
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = promptsource_rows.main([str(a) for a in arguments] + list(more))
        return code, said.getvalue()

    def rows(self):
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]

    def test_templates_of_the_original_task(self):
        code, said = self.run_tool("--labels", "entailment,not_entailment")
        self.assertEqual(code, 0, said)
        self.assertEqual(self.rows(), [
            {"template": "given", "input": 'Given A "cat".\nDoes "b ||| c" follow?', "options": ["Yes", "No"], "target": 1},
            {"template": "given", "input": 'Given D.\nDoes "e" follow?', "options": ["Yes", "No"], "target": 0},
            {"template": "which", "input": "Which?", "options": ['A "cat".', "b ||| c", "neither"], "target": 0},
            {"template": "which", "input": "Which?", "options": ["D.", "e", "neither"], "target": 0},
        ])
        self.assertIn("left out: open: it has no answer choices", said)
        self.assertIn("left out: other task: it does not pose the original task", said)

    def test_all_templates_and_rows_to_which_one_does_not_apply(self):
        code, said = self.run_tool("--labels", "entailment,not_entailment", "--all-templates")
        self.assertEqual(code, 0, said)
        self.assertEqual(self.rows()[4:], [{"template": "other task", "input": "Zero: e", "options": ["a", "b"], "target": 0}])
        self.assertIn("left out: 1 rows to which other task does not apply", said)

    def test_what_is_wrong_is_said(self):
        code, said = self.run_tool("--labels", "yes,no")
        self.assertEqual((code, said), (2, "promptsource_rows.py: label 'not_entailment' is not one of yes, no\n"))
        code, said = self.run_tool("--labels", "entailment,not_entailment", rename=False)
        self.assertEqual(code, 2)
        self.assertIn("template 'given', row 0: 'premise' is undefined; the row has index, sentence1, sentence2, label: --rename COLUMN=NAME", said)
        code, said = self.run_tool()  # the label stays a text: answer_choices["not_entailment"]
        self.assertEqual(code, 2)
        (self.folder / "templates.yaml").write_text("a: !!python/object/apply:os.getcwd []", encoding="utf-8")
        code, said = self.run_tool()
        self.assertEqual(code, 2)
        self.assertIn("could not determine a constructor", said)
        (self.folder / "templates.yaml").write_text("a: 1", encoding="utf-8")
        self.assertIn("expected promptsource's templates.yaml", self.run_tool()[1])


if __name__ == "__main__":
    unittest.main()
