"""Finds the functions of a C++ source and where they start and end. Part of scripts/tidy.py.

Not a parser: it removes comments, literals and preprocessor lines, then follows the braces and
looks at the text before each one. That is exact for code that clang-format has laid out, where the
brace of a body stands after a blank and the brace of an initialiser does not. A lambda or a local
class counts as a part of the function around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Raw strings first: they may hold anything. The quote of a digit separator (1'000) follows a digit.
NOISE = re.compile(
    r'R"(?P<mark>[^()\s\\]*)\(.*?\)(?P=mark)"'
    r"|//[^\n]*"
    r"|/\*.*?\*/"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"\s*#\s*(\w+)")
SCOPE = re.compile(
    r"^(?:(?:public|private|protected)\s*:\s*|template\s*<[^;{}]*>\s*|typedef\s+|inline\s+|export\s+)*"
    r"(?:namespace|class|struct|union|enum|extern)\b"
)
NAME = re.compile(r"(~?\w+|operator\s*[^\s\w]+)\s*\(")


@dataclass
class Brace:
    """An open brace: the body of a function, a scope, or anything else."""

    kind: str
    name: str
    line: int
    parentheses: int  # how many were open before it


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line (where the declaration starts) and last line of each function."""
    code = without_directives(without_noise(text))
    open_braces: list[Brace] = []
    header_start = 0
    line = 1
    parentheses = 0
    for position, character in enumerate(code):
        if character == "\n":
            line += 1
        elif character in "()":
            parentheses += 1 if character == "(" else -1
        elif character == ";" and parentheses == 0:
            header_start = position + 1
        elif character == "{":
            header = code[header_start:position]
            brace = classify(header, line, parentheses)
            open_braces.append(brace)
            parentheses = 0
            if brace.kind != "initialiser":
                header_start = position + 1
        elif character == "}" and open_braces:
            brace = open_braces.pop()
            parentheses = brace.parentheses
            if brace.kind != "initialiser":
                header_start = position + 1
            if brace.kind == "function" and all(b.kind == "scope" for b in open_braces):
                yield brace.name, brace.line, line


def classify(header: str, line: int, parentheses: int) -> Brace:
    declaration = header.strip()
    first_line = line - header.lstrip().count("\n")
    if parentheses or (header and not header[-1].isspace()):
        return Brace("initialiser", "", line, parentheses)
    if SCOPE.match(declaration):
        return Brace("scope", "", line, parentheses)
    name = NAME.search(declaration)
    if name is None:
        return Brace("initialiser", "", line, parentheses)
    return Brace("function", name[1], first_line, parentheses)


def without_noise(text: str) -> str:
    """The same text and the same lines, without comments and the contents of literals."""

    def blank(match: re.Match[str]) -> str:
        lines = "\n" * match[0].count("\n")
        return lines or ("0" if match[0][0] in "\"'R" else "")

    return NOISE.sub(blank, text)


def without_directives(text: str) -> str:
    """Without preprocessor lines and #else branches, whose braces would count twice."""
    kept: list[str] = []
    branches: list[bool] = []  # for each open #if: are we in an #else branch?
    continued = False
    for line in text.split("\n"):
        directive = DIRECTIVE.match(line)
        if directive is not None and not continued:
            follow_branches(branches, directive[1])
        in_directive = continued or directive is not None
        continued = in_directive and line.endswith("\\")
        kept.append("" if in_directive or any(branches) else line)
    return "\n".join(kept)


def follow_branches(branches: list[bool], directive: str) -> None:
    if directive.startswith("if"):
        branches.append(False)
    elif directive.startswith("el") and branches:
        branches[-1] = True
    elif directive == "endif" and branches:
        branches.pop()
