"""The text of a mail message: subject and body as a reader would see them. Python's standard library only.

Used by prepare_mail.py, which says why the headers are left out. Nothing here knows of labels, splits or files.
"""
import base64
import binascii
import codecs
import email
import email.header
import html
import html.parser
import re
from dataclasses import dataclass, field

# Names that messages use for a charset which Python knows by another name, or by a larger set that contains it.
CHARSET_ALIASES = {
    "us-ascii": "ascii", "iso-8859-1": "windows-1252", "latin-1": "windows-1252", "gb2312": "gb18030", "gbk": "gb18030",
    "gb2312_charset": "gb18030", "chinesebig5": "big5", "ks_c_5601-1987": "cp949", "euc-kr": "cp949",
}


@dataclass
class Message:
    """What parse_message returns."""

    subject: str = ""
    body: str = ""
    notes: set = field(default_factory=set)  # what had to be mended on the way, for the report


def decode_bytes(data, charset, notes):
    """Bytes as text: by the declared charset; else UTF-8, Windows-1252, Latin-1, in this order. The last one cannot fail."""
    declared = (charset or "").strip().strip("\"'").lower()
    candidates = [CHARSET_ALIASES.get(declared, declared)] if declared else []
    for number, name in enumerate(candidates + ["utf-8", "windows-1252", "latin-1"]):
        try:
            codecs.lookup(name)
            text = data.decode(name)
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
        if declared and number > 0:
            notes.add("charset mended")
        return text
    raise AssertionError("latin-1 decodes every byte")


class TextOfHtml(html.parser.HTMLParser):
    """Collects the visible text; block elements end a line; scripts, styles and titles are not visible."""

    HIDDEN = {"script", "style", "title"}
    BLOCKS = {"p", "br", "div", "tr", "li", "ul", "ol", "table", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "center", "form", "option"}
    CELLS = {"td", "th"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.pieces, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        if tag in self.HIDDEN:
            self.hidden += 1
        elif tag in self.BLOCKS:
            self.pieces.append("\n")
        elif tag in self.CELLS:
            self.pieces.append(" ")

    def handle_endtag(self, tag):
        if tag in self.HIDDEN:
            self.hidden = max(0, self.hidden - 1)
        elif tag in self.BLOCKS:
            self.pieces.append("\n")

    def handle_startendtag(self, tag, attrs):
        if tag in self.BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data):
        if not self.hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))


def text_of_html(source, notes):
    """Visible text of an HTML page, however broken."""
    # An unclosed <script>, <style> or <title> would hide the rest of the page from the parser: such a tag is dropped first.
    for tag in TextOfHtml.HIDDEN:
        opened = len(re.findall(rf"(?i)<{tag}\b", source))
        if opened != len(re.findall(rf"(?i)</{tag}\b", source)):
            source = re.sub(rf"(?i)</?{tag}\b[^>]*>", " ", source)
            notes.add("HTML mended")
    parser = TextOfHtml()
    try:
        parser.feed(source)
        parser.close()
        return "".join(parser.pieces)
    except AssertionError:  # html.parser gives up at some malformed declarations: <![...
        notes.add("HTML mended")
        return html.unescape(re.sub(r"(?s)<!--.*?-->|<[^>]*>", " ", source))


def payload_bytes(part, notes):
    """The bytes of one part with its transfer encoding undone."""
    encoding = str(part.get("content-transfer-encoding") or "").strip().lower()
    if encoding != "base64":
        return part.get_payload(decode=True) or b""
    data = part.get_payload(decode=False).encode("ascii", "replace")
    # A list that appends its footer to an encoded body leaves plain lines behind it: decode up to the first line that is not base64.
    lines = []
    for line in data.splitlines():
        if line.strip() and not re.fullmatch(rb"[A-Za-z0-9+/=]+", line.strip()):
            notes.add("base64 mended")
            break
        lines.append(line.strip())
    joined = b"".join(lines).replace(b"=", b"")
    if len(joined) % 4 == 1:
        joined = joined[:-1]
        notes.add("base64 mended")
    try:
        return base64.b64decode(joined + b"=" * (-len(joined) % 4))
    except binascii.Error:
        notes.add("base64 mended")
        return b""


def is_html(text):
    """Whether a part that calls itself plain is a page of HTML."""
    return re.search(r"(?i)\A\s*<(?:!doctype|html|head|body|table)\b|</(?:html|body)>", text) is not None


def part_text(part, notes, tidy):
    """Text of a leaf part, or "" when it is not text for a reader."""
    kind = part.get_content_type()
    if part.get_content_disposition() == "attachment" or kind not in ("text/plain", "text/html"):
        notes.add("attachment left out")
        return ""
    text = decode_bytes(payload_bytes(part, notes), part.get_content_charset(), notes)
    text = tidy(text.replace("\r\n", "\n"))
    if kind == "text/plain" and is_html(text):
        notes.add("HTML in a plain part")
        kind = "text/html"
    return text_of_html(text, notes) if kind == "text/html" else text


def body_text(part, notes, tidy):
    """Text of a part and all below it; of multipart/alternative the plain form, unless it is blank."""
    if not part.is_multipart():
        return part_text(part, notes, tidy)
    children = part.get_payload()
    if part.get_content_type() == "multipart/alternative":
        for wanted in ("text/plain", "text/html", None):
            for child in children:
                if wanted in (None, child.get_content_type()):
                    text = body_text(child, notes, tidy)
                    if text.strip():
                        return text
        return ""
    return "\n".join(text for text in (body_text(child, notes, tidy) for child in children) if text.strip())


def subject_text(message, notes):
    """The decoded subject on one line."""
    raw = next((value for name, value in message.raw_items() if name.lower() == "subject"), "")
    raw = re.sub(r"\r?\n[ \t]*", " ", str(raw))
    pieces = []
    try:
        decoded = email.header.decode_header(raw.encode("ascii", "surrogateescape").decode("latin-1"))
    except (email.header.HeaderParseError, UnicodeEncodeError, ValueError):
        notes.add("subject mended")
        decoded = [(raw, None)]
    for data, charset in decoded:
        if isinstance(data, str):
            data = data.encode("latin-1", "replace")
        pieces.append(decode_bytes(data, charset, notes))
    return re.sub(r"\s+", " ", "".join(pieces)).strip()


def parse_message(data, tidy=lambda text: text):
    """A raw message (bytes) as Message. Python's parser mends broken structure; what it noted comes along as notes.

    `tidy` sees each decoded part before HTML becomes text: what a list appended to a page is still on lines of its own there.
    """
    message = email.message_from_bytes(data)
    notes = set()
    body = body_text(message, notes, tidy)
    if any(part.defects for part in message.walk()):
        notes.add("MIME structure mended")
    return Message(subject_text(message, notes), body, notes)
