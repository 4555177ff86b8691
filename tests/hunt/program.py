"""What a program of the hunt is: data that prints as Python and can be pasted back.

A Program has a few actors (a TCP connection, a datagram endpoint, a set of timers, ...) and steps.
A step says one actor what to do; between steps the loop is turned until nothing moves, so that a
trace does not depend on time. A hook says what a protocol does inside one of its own callbacks.

`build` makes a program out of numbers that `pick` chooses: hypothesis picks them in the tests (and
shrinks towards zero, which is why the plain choices come first), a seeded generator in a long hunt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: A number from 0 up to, not including, the one given.
Pick = Callable[[int], int]


@dataclass(frozen=True)
class Step:
    """Actor number `actor` does `verb`; inside a hook the actor is the one whose callback runs."""

    actor: int
    verb: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Hook:
    """What to do in the `nth` call (from 0) of `callback`."""

    callback: str
    nth: int
    verb: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Setup:
    """An actor: its kind, the kind's options, and what its callbacks do."""

    kind: str
    options: tuple[Any, ...] = ()
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True)
class Program:
    actors: tuple[Setup, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Verb:
    """A step that a kind knows: how often it is chosen, and what each argument is chosen from."""

    name: str
    weight: int = 1
    choices: tuple[Sequence[Any], ...] = ()


@dataclass(frozen=True)
class Kind:
    """What the generator knows of an actor; `make` is what the interpreter runs."""

    name: str
    make: Callable[..., Any]
    verbs: tuple[Verb, ...]
    options: tuple[Sequence[Any], ...] = ()
    callbacks: tuple[str, ...] = ()
    hook_verbs: tuple[Verb, ...] = ()
    weight: int = 4


def one_of(pick: Pick, choices: Sequence[Any]) -> Any:
    return choices[pick(len(choices))] if len(choices) > 1 else choices[0]


def weighted(pick: Pick, choices: Sequence[Any]) -> Any:
    """One of those that have a weight."""
    at = pick(sum(choice.weight for choice in choices))
    for choice in choices:
        at -= choice.weight
        if at < 0:
            return choice
    raise AssertionError("the weights do not add up")


def arguments(pick: Pick, verb: Verb) -> tuple[Any, ...]:
    return tuple(one_of(pick, choices) for choices in verb.choices)


def build(pick: Pick, kinds: Sequence[Kind], most_steps: int = 200) -> Program:
    """A program of 20 to `most_steps` steps, short ones more often than long ones."""
    chosen = [weighted(pick, kinds) for _ in range(one_of(pick, (1, 1, 1, 2, 2, 3)))]
    actors = []
    for kind in chosen:
        hooks = []
        if kind.callbacks:
            for _ in range(one_of(pick, (0, 0, 1, 1, 2, 3, 5))):
                callback = one_of(pick, kind.callbacks)
                verb = weighted(pick, kind.hook_verbs)
                nth = one_of(pick, (0, 0, 1, 2, 3))
                hooks.append(Hook(callback, nth, verb.name, arguments(pick, verb)))
        options = tuple(one_of(pick, choices) for choices in kind.options)
        actors.append(Setup(kind.name, options, tuple(hooks)))
    steps = []
    limit = max(20, min(most_steps, one_of(pick, (20, 30, 30, 40, 60, 100, most_steps))))
    for _ in range(20 + pick(limit - 19)):
        actor = pick(len(chosen)) if len(chosen) > 1 else 0
        verb = weighted(pick, chosen[actor].verbs)
        steps.append(Step(actor, verb.name, arguments(pick, verb)))
    return Program(tuple(actors), tuple(steps))


def pasteable(program: Program) -> str:
    """The program as Python, one step a line."""
    lines = ["Program(", "    actors=("]
    lines += [f"        {actor!r}," for actor in program.actors]
    lines += ["    ),", "    steps=("]
    lines += [f"        {step!r}," for step in program.steps]
    return "\n".join([*lines, "    ),", ")"])
