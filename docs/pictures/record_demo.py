#!/usr/bin/env python3
"""Records `lazyload demo` as a moving picture, docs/pictures/demo.svg: what it really prints, shown at a pace at which it can be read.

    cargo build && docs/pictures/record_demo.py target/debug/lazyload

Python's standard library is all that it needs. The picture is an SVG without scripts; who asks for no motion sees its end.
"""

import os
import pty
import re
import sys
from html import escape
from pathlib import Path

COLUMNS, ROWS = 118, 30
CHARACTER, LINE, MARGIN, BAR = 7.25, 17, 14, 30
# Seconds for each line, before a chapter, before a command or what came of it, and at the end.
PACE, CHAPTER, COMMAND, END = 0.09, 1.6, 0.9, 6.0
STYLE = re.compile(r"\x1b\[([0-9;]*)m")
# Folder, ports and times of day are others each time, and say nothing.
VARYING = [(re.compile(r"\[20\d\d-[^]]*\] "), ""), (re.compile(r"/\S*lazyload-demo-\w+"), "/tmp/lazyload-demo"), (re.compile(r"(127\.\d+\.\d+\.\d+):\d{5}"), r"\1:0")]


def record(program):
    """What the demo prints on a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS))
        os.environ.pop("NO_COLOR", None)
        os.execv(program, [program, "demo"])
    output = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        output += piece
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{program} demo failed:\n{output.decode()}")
    return output.decode().replace("\r", "").rstrip("\n").split("\n")


def runs(line):
    """Pieces of a line with the classes of their style."""
    style, place = set(), 0
    for code in STYLE.finditer(line):
        if code.start() > place:
            yield line[place : code.start()], style
        place = code.end()
        for number in (code[1] or "0").split(";"):
            style = set() if number in ("0", "") else style | {f"s{number}"}
    if place < len(line):
        yield line[place:], style


def spans(line):
    """The same as SVG; a line that is too long is cut at its end, but for what stands out, which is what matters."""
    pieces = list(runs(line))
    for index, (piece, style) in reversed(list(enumerate(pieces))):
        excess = sum(len(shown) for shown, _ in pieces) - COLUMNS
        if excess > 0 and not style:
            pieces[index] = (piece[: max(len(piece) - excess - 2, 0)] + "… ", style)
    text = ""
    for piece, style in pieces:
        words = escape(piece, quote=False)
        text += f'<tspan class="{" ".join(sorted(style))}">{words}</tspan>' if style else words
    return text


def times(lines):
    """When each line is there."""
    at, moments = 0.6, []
    for line in lines:
        plain = STYLE.sub("", line)
        at += PACE
        if plain.startswith("── "):
            at += CHAPTER
        elif plain.startswith(("$ ", "  ✓ ")):
            at += COMMAND
        moments.append(at)
    return moments


def keyframes(name, moments, duration, place):
    """Where something is after each line; it jumps."""
    frames = [f"0%{{transform:translateY({place(0)}px)}}"]
    frames += [f"{100 * at / duration:.2f}%{{transform:translateY({place(index + 1)}px)}}" for index, at in enumerate(moments)]
    return f"@keyframes {name}{{{''.join(frames)}}}"


def picture(lines):
    """The whole SVG."""
    moments = times(lines)
    duration = moments[-1] + END
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), BAR + ROWS * LINE + MARGIN
    scrolled = lambda shown: -max(shown - ROWS, 0) * LINE
    hidden = lambda shown: min(shown, ROWS) * LINE
    texts = "\n".join(f'<text y="{(index + 1) * LINE - 4}">{spans(line)}</text>' for index, line in enumerate(lines) if line)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="A recording of lazyload demo: a service is fenced, its first calls go through the global-sidecar, are learned, and the next ones are direct">
<!-- Made by docs/pictures/record_demo.py from what `lazyload demo` prints. -->
<style>
text{{font-family:ui-monospace,'SF Mono','DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:12px;fill:#c9d1d9;white-space:pre}}
.s1{{font-weight:700;fill:#fff}}.s2{{fill:#8b949e}}.s31{{fill:#ff7b72}}.s32{{fill:#3fb950}}.s33{{fill:#d29922}}.s34{{fill:#58a6ff}}.s35{{fill:#bc8cff}}.s36{{fill:#39c5cf}}
#page{{transform:translateY({scrolled(len(lines))}px);animation:page {duration:.1f}s step-end infinite}}
#cover{{transform:translateY({hidden(len(lines))}px);animation:cover {duration:.1f}s step-end infinite}}
{keyframes("page", moments, duration, scrolled)}
{keyframes("cover", moments, duration, hidden)}
@media (prefers-reduced-motion:reduce){{#page,#cover{{animation:none}}}}
</style>
<rect width="{width}" height="{height}" rx="9" fill="#0d1117"/>
<circle cx="20" cy="15" r="5" fill="#ff5f56"/><circle cx="38" cy="15" r="5" fill="#ffbd2e"/><circle cx="56" cy="15" r="5" fill="#27c93f"/>
<text x="{width / 2:.0f}" y="19" text-anchor="middle" style="fill:#8b949e">lazyload demo (two seconds, slowed down)</text>
<svg x="{MARGIN}" y="{BAR}" width="{width - 2 * MARGIN}" height="{ROWS * LINE}"><g id="page" xml:space="preserve">
{texts}
</g><rect id="cover" width="{width}" height="{ROWS * LINE}" fill="#0d1117"/></svg>
</svg>
"""


def main():
    """Records and writes."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lines = record(os.path.abspath(sys.argv[1]))
    for pattern, fixed in VARYING:
        lines = [pattern.sub(fixed, line) for line in lines]
    Path(__file__).with_name("demo.svg").write_text(picture(lines), encoding="utf-8")


main()
