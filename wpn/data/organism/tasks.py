"""Nine families of items, shaped like the nine benchmarks of the WPN paper.

An item is a context, the choices that may follow, and the index of the right one. Items held out become the
benchmark; the others are written out as training text, so that what is asked was taught, in other words.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from wpn.data.organism import world
from wpn.data.organism.world import Person


@dataclass(frozen=True)
class Item:
    """`context` + `choices[answer]` is true, the other choices are not; `ending` closes the training text.

    Items of one `group` say the same thing in the same form and are never on both sides of a split.
    """

    context: str
    choices: tuple[str, ...]
    answer: int
    group: str
    ending: str = " ."

    @property
    def text(self) -> str:
        """The item as a document for training."""
        return f"{self.context}{self.choices[self.answer]}{self.ending}"


def _item(rng: random.Random, context: str, right: str, wrong: list[str], group: str = "", ending: str = " .") -> Item:
    """Put the right choice at a random place among the wrong ones."""
    choices = [f" {choice}" for choice in [right, *wrong]]
    rng.shuffle(choices)
    return Item(context, tuple(choices), choices.index(f" {right}"), group or context, ending)


def _others(rng: random.Random, pool: list[str], right: str, count: int) -> list[str]:
    return rng.sample([word for word in pool if word != right], count)


OPENINGS = ["", "please , ", "hello , ", "one question , ", "now tell me , ", "my friend , "]


def _questions(rng: random.Random, question: str, right: str, wrong: list[str]) -> Iterator[Item]:
    """The same question after several openings; all of them are of one group."""
    for opening in OPENINGS:
        yield _item(rng, f"user : {opening}{question} ?\nbot :", right, wrong, group=question)


def last_word(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """LAMBADA: the last word follows from who the sentence is about."""
    frames: list[tuple[str, list[str], str]] = [
        ("{n} walks home through the streets of", world.CITIES, "city"),
        ("the house of {n} stands in", world.CITIES, "city"),
        ("{n} was born and still lives in", world.CITIES, "city"),
        ("{n} works hard as a", world.JOBS, "job"),
        ("the people know {n} as a good", world.JOBS, "job"),
        ("{n} learned to be a", world.JOBS, "job"),
        ("{n} comes home and plays with the", world.PETS, "pet"),
        ("{n} buys food for the", world.PETS, "pet"),
        ("in the garden of {n} sleeps a", world.PETS, "pet"),
    ]
    for person, (frame, pool, attribute), time in product(people, frames, ["", *world.TIMES]):
        right = getattr(person, attribute)
        told = frame.format(n=person.name)
        yield _item(rng, f"{time} , {told}" if time else told, right, _others(rng, pool, right, 3), group=told)


def completion(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """HellaSwag: which step comes next in an everyday chain."""
    for chain, person, position, time in product(world.CHAINS, people, (1, 2, 3), world.TIMES):
        told = f" . then {person.pronoun} ".join(chain[:position])
        wrong = [rng.choice(other) for other in rng.sample([c for c in world.CHAINS if c is not chain], 3)]
        yield _item(rng, f"{time} {person.name} {told} . then {person.pronoun}", chain[position], wrong)


def pronoun(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """WinoGrande: whom the pronoun means."""
    for a, b, wish, who, time in product(people, people, world.WISHES, (0, 1), world.TIMES):
        if a.pronoun != b.pronoun:
            one, other = (a, b) if who == 0 else (b, a)
            told = f"{time} {a.name} meets {b.name} because {one.pronoun} wants to {wish}"
            yield _item(rng, f"{told} . {one.pronoun} is called", one.name, [other.name])


def cause_effect(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """COPA: what follows, or why it is so."""
    days = [f"on {day}{part}" for day in world.DAYS for part in ("", " morning", " at noon", " night")]
    for (cause, effect), time in product(world.CAUSES.items(), [*world.TIMES, *days]):
        effects, causes = list(world.CAUSES.values()), list(world.CAUSES)
        yield _item(rng, f"{time} {cause} , so", effect, _others(rng, effects, effect, 1))
        yield _item(rng, f"{time} {effect} because", cause, _others(rng, causes, cause, 1))


def easy_question(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """ARC-easy: one fact, asked in one of several forms."""
    person_forms = {
        "city": ["where does {n} live", "in which city is {n} at home", "what is the city of {n}",
                 "which place does {n} call home"],
        "job": ["what is the job of {n}", "what does {n} work as", "how does {n} earn money",
                "what has {n} learned to be"],
        "pet": ["which pet does {n} have", "what animal lives with {n}", "what is the pet of {n}",
                "which animal does {n} feed"],
    }  # fmt: skip
    pools = {"city": world.CITIES, "job": world.JOBS, "pet": world.PETS}
    for person, (attribute, forms) in product(people, person_forms.items()):
        for form in forms:
            right = getattr(person, attribute)
            yield from _questions(rng, form.format(n=person.name), right, _others(rng, pools[attribute], right, 3))
    animal_forms = [
        ["what does the {n} eat", "what is the food of the {n}", "what does a hungry {n} look for",
         "which food does a {n} need"],
        ["where does the {n} live", "what is the home of the {n}", "where can we find a {n}",
         "where does a {n} sleep"],
        ["what does the {n} do when it calls", "which sound comes from the {n}", "how does a {n} speak",
         "what do we hear from a {n}"],
    ]  # fmt: skip
    for (animal, facts), kind in product(world.ANIMALS.items(), range(3)):
        pool = [other[kind] for other in world.ANIMALS.values()]
        for form in animal_forms[kind]:
            yield from _questions(rng, form.format(n=animal), facts[kind], _others(rng, pool, facts[kind], 3))


def hard_question(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """ARC-challenge: two facts together name one person; each wrong choice fits at most one of them."""
    clauses = {"city": "lives in {v}", "job": "works as a {v}", "pet": "has a {v}"}
    forms = [
        "who {p} and {q}",
        "which person {p} and also {q}",
        "tell me who {p} and {q}",
        "do you know who {p} and {q}",
    ]
    for person, first, second, form in product(people, clauses, clauses, forms):
        if first == second:
            continue
        values = getattr(person, first), getattr(person, second)
        wrong = [p.name for p in people if (getattr(p, first), getattr(p, second)) != values]
        if len(wrong) != len(people) - 1:
            continue  # somebody else fits as well
        question = form.format(p=clauses[first].format(v=values[0]), q=clauses[second].format(v=values[1]))
        yield from _questions(rng, question, person.name, rng.sample(wrong, 3))


def action(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """PIQA: what one needs for an everyday goal."""
    tools = list(world.TOOLS.values())
    for (goal, tool), person, time in product(world.TOOLS.items(), people, world.TIMES):
        wrong = _others(rng, tools, tool, 1)
        yield _item(rng, f"{time} {person.name} wants to {goal} . {person.pronoun} takes the", tool, wrong)


def arithmetic(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """MathQA: a small sum, told as a story."""
    for a, b, person, fruit in product(range(1, 10), range(1, 10), people, world.FRUITS):
        if a + b <= 10:
            n = world.NUMBERS
            context = f"{n[a]} {fruit} and {n[b]} {fruit} are for {person.name} . in all {person.pronoun} has"
            yield _item(rng, context, n[a + b], _others(rng, n, n[a + b], 4), ending=f" {fruit} .")


def yes_no_maybe(rng: random.Random, people: list[Person]) -> Iterator[Item]:
    """PubMedQA: the verdict of a short report."""
    verdicts = list(world.RESULTS)
    for remedy, group, (verdict, results), time in product(
        world.REMEDIES, world.GROUPS, world.RESULTS.items(), world.TIMES
    ):
        for result in results:
            context = f"{time} the {group} had {remedy} and {result} . does {remedy} help ?"
            yield Item(context, tuple(f" {v}" for v in verdicts), verdicts.index(verdict), context)


Family = Callable[[random.Random, list[Person]], Iterator[Item]]
FAMILIES: dict[str, Family] = {
    family.__name__: family
    for family in (
        last_word, completion, pronoun, cause_effect, easy_question, hard_question, action, arithmetic, yes_no_maybe,
    )
}  # fmt: skip
