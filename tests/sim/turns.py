"""Wrong turns in the product's own functions, taken for a while and taken back exactly.

Owns how a mutant is made: one function's text with some words replaced, compiled anew and put in
place of its code. The function object stays the same, so that every module which imported it by
name takes the wrong turn too. Must not know what any mutant means: that is mutants.py's.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

HEAD = "from __future__ import annotations\n"
"""Annotations are not evaluated, as in the modules that the functions come from."""


class TurnLost(AssertionError):
    """The words that a mutant replaces no longer stand in the product: find the rule anew."""


@dataclass(frozen=True)
class Turn:
    """In `function` (a method or a property will do), `new` for `old`, which stands there once."""

    function: Any
    old: str
    new: str

    def target(self) -> FunctionType:
        """The function itself, whose code is replaced."""
        function: Any = self.function.fget if isinstance(self.function, property) else self.function
        if not isinstance(function, FunctionType):
            raise TurnLost(f"{function!r} is no function whose code could be replaced")
        return function


@dataclass(frozen=True)
class Mutant:
    """A rule removed: its name, the trace that asks for the rule (0: none), what goes wrong.

    `caught_by`: the invariant of invariants.py that is there to notice.
    """

    name: str
    trace: int
    text: str
    caught_by: str
    turns: tuple[Turn, ...]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The product without the rule, until the block ends. Raises TurnLost before any change."""
        codes = _turned_codes(self)
        kept = [(function, function.__code__) for function, _ in codes]
        try:
            for function, code in codes:
                function.__code__ = code
            yield
        finally:
            for function, code in kept:
                function.__code__ = code


def _turned_codes(mutant: Mutant) -> list[tuple[FunctionType, CodeType]]:
    """Each function that the mutant changes, with its new code."""
    texts: dict[int, tuple[FunctionType, str]] = {}
    for turn in mutant.turns:
        target = turn.target()
        source = textwrap.dedent(inspect.getsource(target))
        _, text = texts.get(id(target), (target, source))
        if text.count(turn.old) != 1:
            times = text.count(turn.old)
            raise TurnLost(f"{mutant.name}: {turn.old!r} stands {times} times in {target.__name__}")
        texts[id(target)] = (target, text.replace(turn.old, turn.new))
    return [(target, _compiled(target, text)) for target, text in texts.values()]


def _compiled(target: FunctionType, text: str) -> CodeType:
    """The code of the changed text, with the lines that it has where the function stands."""
    tree = ast.parse(HEAD + text)
    ast.increment_lineno(tree, target.__code__.co_firstlineno - 2)
    module = compile(tree, target.__code__.co_filename, "exec", dont_inherit=True)
    for const in module.co_consts:
        if isinstance(const, CodeType) and const.co_name == target.__name__:
            return const.replace(co_qualname=target.__code__.co_qualname)
    raise TurnLost(f"{target.__name__} was not found in its own text")
