"""Wraps the paragraphs and list items of Markdown pages that have a line beyond 130 columns, to 120.

    wrap_docs.py PAGE...          in place

Tables, blocks of code, headings and comments stay as they are, and so does what stands between backquotes.
"""
import pathlib
import re
import sys
import textwrap

LONGEST, WIDTH = 130, 120
FENCE = re.compile(r"^\s*(```|~~~)")
ITEM = re.compile(r"^(\s*)([-*+]|\d+[.)]) +")
KEPT = re.compile(r"^\s*(\||#|<!--|>|$)")
STARTS_SOMETHING = re.compile(r"([-*+#>|]|\d+[.)])(\s|$)")
GLUE = "\x00"   # stands for a blank where no line may break


def glued(text):
    """No break within `code`, nor before a word that would begin a list, a heading or a table there."""
    text = re.sub(r"`[^`]*`", lambda code: code.group().replace(" ", GLUE), text)
    words = text.split(" ")
    return words[0] + "".join((GLUE if STARTS_SOMETHING.match(word) else " ") + word for word in words[1:])


def wrapped(lines):
    """One paragraph or list item, `lines` without their ends."""
    if max(map(len, lines)) <= LONGEST:
        return lines
    item = ITEM.match(lines[0])
    first = item.group() if item else re.match(r"\s*", lines[0]).group()
    rest = " " * len(first)
    text = " ".join([lines[0][len(first):].strip()] + [line.strip() for line in lines[1:]])
    filled = textwrap.wrap(glued(text), WIDTH, initial_indent=first, subsequent_indent=rest,
                           break_long_words=False, break_on_hyphens=False)
    return [line.replace(GLUE, " ") for line in filled]


def wrap_page(text):
    out, paragraph, in_code = [], [], False

    def flush():
        if paragraph:
            out.extend(wrapped(paragraph))
            paragraph.clear()

    for line in text.splitlines():
        is_fence = FENCE.match(line)
        if is_fence or in_code or KEPT.match(line):
            flush()
            out.append(line)
            in_code ^= bool(is_fence)
            continue
        if ITEM.match(line):
            flush()
        paragraph.append(line)
    flush()
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for name in sys.argv[1:]:
        page = pathlib.Path(name)
        page.write_text(wrap_page(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
