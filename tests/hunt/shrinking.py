"""Makes a failing program small: fewer steps, hooks and actors, plainer options and arguments.

hypothesis shrinks what it found itself; this does the same for a numbered program of a long hunt,
which hypothesis never drew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from program import Program, Step

Fails = Callable[[Program], bool]


def without(items: tuple[object, ...], start: int, count: int) -> tuple[object, ...]:
    return items[:start] + items[start + count :]


def smaller(program: Program) -> Iterator[Program]:
    """Candidates, the boldest first."""
    count = len(program.actors)
    if count > 1:
        for gone in range(count):
            others = (step for step in program.steps if step.actor != gone)
            steps = tuple(replace(step, actor=step.actor - (step.actor > gone)) for step in others)
            yield Program(program.actors[:gone] + program.actors[gone + 1 :], steps)
    size = len(program.steps)
    while size >= 1:
        for start in reversed(range(0, len(program.steps), size)):
            steps: tuple[Step, ...] = without(program.steps, start, size)  # type: ignore[assignment]
            yield Program(program.actors, steps)
        size //= 2
    for number, actor in enumerate(program.actors):
        for at in range(len(actor.hooks)):
            plainer = replace(actor, hooks=without(actor.hooks, at, 1))  # type: ignore[arg-type]
            actors = (*program.actors[:number], plainer, *program.actors[number + 1 :])
            yield replace(program, actors=actors)


def shrunk(program: Program, fails: Fails, budget: int = 400) -> Program:
    """The smallest program that still fails which `budget` tries came to."""
    while True:
        for candidate in smaller(program):
            budget -= 1
            if budget < 0:
                return program
            if fails(candidate):
                program = candidate
                break
        else:
            return program
