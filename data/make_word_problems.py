#!/usr/bin/env python3
"""Write the grade-school word problems of this directory, one JSONL file per band.

    python3 data/make_word_problems.py            write data/word-problems-{easy,medium,hard}.jsonl
    python3 data/make_word_problems.py --check    recompute every answer from the text in those files

A template is a text with slots, a range per number, and the steps that lead to the answer. Numbers
are drawn until every step comes out positive and clean, all arithmetic is exact. The check does not
trust the drawing: it reads the numbers back out of the written question and solves it again.
"""

import argparse
import json
import random
import re
import string
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

SEED = 20261124
COUNTS = {"easy": 200, "medium": 150, "hard": 100}
TRIES = 10000

SHE = "Maya Lena Rosa Priya Amina Chloe Grace Hana Ines Nora Olivia Sofia Tara Wendy Zoe".split()
HE = "Ali Ben Carlos David Ethan Felix Hugo Ivan Jamal Kenji Leo Marco Omar Peter Sam".split()

# Plural only: every count in a text is at least two. `name1` is the singular of a slot `name`.
WORDS = {
    "fruit": ["apple/apples", "orange/oranges", "pear/pears", "peach/peaches", "plum/plums",
              "lemon/lemons", "banana/bananas", "mango/mangoes"],
    "treat": ["cookie/cookies", "muffin/muffins", "cupcake/cupcakes", "brownie/brownies",
              "doughnut/doughnuts"],
    "toy": ["marble/marbles", "sticker/stickers", "toy car/toy cars", "seashell/seashells",
            "baseball card/baseball cards", "stamp/stamps", "button/buttons", "bead/beads"],
    "supply": ["pencil/pencils", "crayon/crayons", "marker/markers", "eraser/erasers",
               "notebook/notebooks", "paintbrush/paintbrushes"],
    "animal": ["duck/ducks", "goat/goats", "rabbit/rabbits", "chicken/chickens", "horse/horses",
               "cow/cows"],
    "flower": ["rose/roses", "tulip/tulips", "daisy/daisies", "lily/lilies"],
    "ware": ["lamp/lamps", "chair/chairs", "clock/clocks", "kettle/kettles", "toaster/toasters",
             "radio/radios"],
    "wear": ["jacket/jackets", "sweater/sweaters", "backpack/backpacks", "raincoat/raincoats"],
    "place": ["museum", "swimming pool", "theater", "zoo"],
    "craft": ["bracelet/bracelets", "candle/candles", "scarf/scarves", "basket/baskets",
              "wooden spoon/wooden spoons"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday"],
}
PARTS = {"1/2": "half", "1/3": "a third", "2/3": "two thirds", "1/4": "a quarter",
         "3/4": "three quarters", "1/5": "a fifth", "2/5": "two fifths", "3/5": "three fifths"}
PART_OF_WORDS = {words: Fraction(part) for part, words in PARTS.items()}


@dataclass(frozen=True)
class Template:
    band: str
    text: str       # slots: {A} {B} {C} names, {he} {his} {him} {He} of A, WORDS, numbers
    steps: str      # "total = x * y; total - z": each step exact, the last one is the answer
    numbers: dict   # name: (low, high) or (low, high, step) or a list of choices
    kind: str       # of the answer and of the steps on the way: whole, money, decimal or fraction
    where: str      # what else must hold


TEMPLATES = []


def add(band, text, steps, kind="whole", where="True", **numbers):
    TEMPLATES.append(Template(band, text, steps, numbers, kind, where))


def easy(*args, **kwargs):
    add("easy", *args, **kwargs)


def medium(*args, **kwargs):
    add("medium", *args, **kwargs)


def hard(*args, **kwargs):
    add("hard", *args, **kwargs)


# Easy: one step, numbers that the smallest models still handle.

easy("{A} has {x} {fruit}. {B} gives {him} {y} more. How many {fruit} does {A} have now?",
     "x + y", x=(3, 10), y=(2, 6))
easy("There are {x} {animal} in a field. {y} more {animal} walk in. How many {animal} are in the "
     "field now?", "x + y", x=(3, 10), y=(2, 6))
easy("{A} read {x} pages on {day} and {y} pages the next day. How many pages did {he} read in "
     "total?", "x + y", x=(3, 10), y=(2, 6))
easy("{A} found {x} {toy} and {B} found {y} {toy}. How many {toy} did they find altogether?",
     "x + y", x=(3, 10), y=(2, 6))
easy("A vase holds {x} yellow {flower} and {y} white {flower}. How many {flower} are in the vase?",
     "x + y", x=(3, 10), y=(2, 6))
easy("{A} spent ${x} on a book and ${y} on a pen. How many dollars did {he} spend in all?",
     "x + y", x=(3, 10), y=(2, 6))
easy("{A} is {x} years old. How old will {he} be in {y} years?", "x + y", x=(3, 10), y=(2, 6))
easy("A bus has {x} passengers. At the next stop {y} people get on and nobody gets off. How many "
     "passengers are on the bus now?", "x + y", x=(3, 10), y=(2, 6))
easy("{A} baked {x} {treat} and gave {y} of them to {B}. How many {treat} does {A} have left?",
     "x - y", x=(6, 12), y=(2, 5))
easy("{A} had {x} {toy}. {He} lost {y} of them. How many {toy} does {he} have now?",
     "x - y", x=(6, 12), y=(2, 5))
easy("There were {x} birds on a roof. {y} of them flew away. How many birds are still on the roof?",
     "x - y", x=(6, 12), y=(2, 5))
easy("{A} has ${x}. {He} buys a sandwich for ${y}. How many dollars does {he} have left?",
     "x - y", x=(6, 12), y=(2, 5))
easy("A box holds {x} {supply}. The class takes out {y} of them. How many {supply} are left in the "
     "box?", "x - y", x=(6, 12), y=(2, 5))
easy("{A} has {x} {toy} and {B} has {y} {toy}. How many more {toy} does {A} have than {B}?",
     "x - y", x=(6, 12), y=(2, 5))
easy("{A} needs {x} {supply} for school. {He} already has {y} of them. How many more {supply} does "
     "{he} need?", "x - y", x=(6, 12), y=(2, 5))
easy("A ribbon is {x} inches long. {A} cuts off {y} inches. How many inches of ribbon are left?",
     "x - y", x=(6, 12), y=(2, 5))
easy("{A} buys {x} bags of {fruit}. Each bag holds {y} {fruit}. How many {fruit} does {he} have?",
     "x * y", x=(2, 5), y=(2, 5))
easy("Each {treat1} costs ${x}. How many dollars do {y} {treat} cost?", "x * y", x=(2, 5), y=(2, 5))
easy("There are {x} tables in a classroom and {y} children sit at each table. How many children are "
     "in the classroom?", "x * y", x=(2, 5), y=(2, 5))
easy("{A} runs {x} miles every day. How many miles does {he} run in {y} days?",
     "x * y", x=(2, 5), y=(2, 5))
easy("A gardener plants {x} rows of {flower} with {y} {flower} in each row. How many {flower} does "
     "the gardener plant?", "x * y", x=(2, 5), y=(2, 5))
easy("{A} earns ${x} for each hour of work. How many dollars does {he} earn in {y} hours?",
     "x * y", x=(2, 5), y=(2, 5))
easy("{A} shares {x} {treat} equally among {y} friends. How many {treat} does each friend get?",
     "x / y", x=(4, 20), y=(2, 5), where="x > y")
easy("{A} puts {x} {toy} into {y} boxes, the same number in each box. How many {toy} are in each "
     "box?", "x / y", x=(4, 20), y=(2, 5), where="x > y")
easy("{x} {supply} cost ${y} in total, and they all have the same price. How many dollars does one "
     "{supply1} cost?", "y / x", x=(2, 5), y=(4, 20), where="y > x")
easy("{A} has {x} {fruit}. {B} has twice as many. How many {fruit} does {B} have?",
     "x * 2", x=(2, 10))
easy("{A} had {x} {treat} and ate half of them. How many {treat} did {he} eat?", "x / 2", x=(4, 20))

# Medium: two steps, the numbers still small. Of ten candidates of the default model one is right.

medium("{A} has {x} {fruit}. {B} gives {him} {y} more, and {C} gives {him} {z} more. How many {fruit} does "
       "{A} have now?", "sum = x + y; sum + z", x=(2, 6), y=(2, 4), z=(2, 4))
medium("A vase holds {x} red {flower}, {y} white {flower} and {z} yellow {flower}. How many {flower} are in "
       "the vase?", "sum = x + y; sum + z", x=(2, 6), y=(2, 4), z=(2, 4))
medium("{A} found {x} {toy} on {day}, {y} the next day and {z} the day after. How many {toy} did {he} find?",
       "sum = x + y; sum + z", x=(2, 6), y=(2, 4), z=(2, 4))
medium("{A} runs {x} miles on {day}, {y} miles the next day and {z} miles the day after. How many miles "
       "does {he} run in total?", "sum = x + y; sum + z", x=(2, 6), y=(2, 4), z=(2, 4))
medium("{A} picks {x} {fruit} in the morning and twice as many in the afternoon. How many {fruit} does {he} "
       "pick that day?", "later = 2 * x; x + later", x=(2, 10))
medium("A shop sells {x} {ware} on {day} and twice as many the next day. How many {ware} does it sell on the "
       "two days?", "later = 2 * x; x + later", x=(2, 10))
medium("{A} bakes {x} {treat} on {day} and {n} times as many the next day. How many {treat} does {he} bake in "
       "total?", "later = n * x; x + later", x=(2, 6), n=(3, 4))
medium("{A} reads {x} pages in the morning and twice as many in the evening. How many pages does {he} read "
       "that day?", "later = 2 * x; x + later", x=(2, 10))
medium("{A} has {x} {toy} and {B} has twice as many. How many {toy} do they have together?",
       "b = 2 * x; x + b", x=(2, 10))
medium("A farm has {x} {animal} and twice as many sheep. How many animals does the farm have in all?",
       "sheep = 2 * x; x + sheep", x=(2, 10))
medium("{A} buys {x} bags of {fruit} with {y} {fruit} in each bag, and gets one more bag with {y} {fruit} for "
       "free. How many {fruit} does {he} have?", "bags = x + 1; bags * y", x=(2, 4), y=(2, 5))
medium("A gardener plants {x} rows of {flower} with {y} {flower} in each row. {z} of them do not grow. How "
       "many {flower} grow?", "all = x * y; all - z", x=(2, 5), y=(2, 5), z=(2, 4))
medium("{A} buys {x} boxes with {y} {supply} in each box and gives half of the {supply} to {B}. How many "
       "{supply} does {A} have left?", "all = x * y; all / 2", x=(2, 5), y=(2, 6))
medium("There are {x} shelves with {y} boxes on each shelf, and each box holds {z} {toy}. How many {toy} are "
       "there in total?", "boxes = x * y; boxes * z", x=(2, 4), y=(2, 4), z=(2, 4))
medium("A box holds {x} {treat}. {A} buys {n} boxes and {B} buys {m} boxes. How many {treat} do they "
       "have together?", "boxes = n + m; boxes * x", x=(2, 5), n=(2, 3), m=(2, 3))
medium("{A} runs {x} miles in the morning and {x} miles in the evening every day. How many miles does {he} "
       "run in {n} days?", "day = 2 * x; day * n", x=(2, 5), n=(2, 5))
medium("{A} buys {n} {treat} for ${p} each and a drink for ${q}. How many dollars does {he} spend?",
       "treats = n * p; treats + q", n=(2, 4), p=(2, 4), q=(2, 4))
medium("{A} saves ${x} every week. After {n} weeks {his} aunt gives {him} another ${y}. How many dollars "
       "does {he} have then?", "saved = x * n; saved + y", x=(2, 5), n=(2, 4), y=(2, 5))
medium("A shop sells {craft} for ${p} each. It sold {x} on {day} and {y} the next day. How many "
       "dollars did the shop take in?", "sold = x + y; sold * p", p=(2, 5), x=(2, 5), y=(2, 5))
medium("{A} is {x} years old. {B} is {y} years younger than {A}, and {C} is twice as old as {B}. How "
       "old is {C}?", "b = x - y; 2 * b", x=(6, 12), y=(2, 4))

# Hard: several steps with percentages, rates, fractions and larger numbers.

hard("A {wear1} costs ${x}. It is on sale for {p}% off, and {A} has a coupon for another ${y} off the "
     "sale price. How many dollars does {he} pay?",
     "off = x * p / 100; sale = x - off; sale - y", kind="money",
     x=(36, 120, 2), p=[10, 15, 20, 25, 30, 35, 40], y=(3, 12))
hard("A school has {x} students. {p}% of them walk to school, {f:part} of the rest come by bus, and "
     "the others come by car. How many students come by car?",
     "walk = x * p / 100; rest = x - walk; bus = rest * f; rest - bus",
     x=(400, 1600, 20), p=[15, 20, 25, 30, 35, 40, 45], f=["1/3", "2/3", "1/4", "3/4", "2/5", "3/5"])
hard("A factory makes {x} {ware} an hour. It runs {h} hours a day, {d} days a week, and {p}% of the "
     "{ware} fail the final test. How many {ware} pass the test in a week?",
     "day = x * h; week = day * d; bad = week * p / 100; week - bad",
     x=(30, 150, 5), h=(6, 16), d=(4, 6), p=[2, 3, 4, 5, 8, 10])
hard("{A} drives {a} miles at {v} miles per hour and then {b} miles at {w} miles per hour. How many "
     "hours does the whole trip take?", "first = a / v; second = b / w; first + second",
     kind="decimal", a=(60, 260, 5), v=(40, 65, 5), b=(45, 200, 5), w=(30, 60, 5), where="v != w")
hard("{A} earns ${w:$} an hour for the first {n} hours of a week and one and a half times as much for "
     "every hour after that. One week {he} works {h} hours. How many dollars does {he} earn that week?",
     "base = w * n; extra = h - n; rate = w * 3 / 2; more = extra * rate; base + more", kind="money",
     w=(12, 28, 0.5), n=[30, 35, 38, 40], h=(36, 52), where="h > n + 1")
hard("{A} had {x} {toy}. {He} gave {f:part} of them to {B} and {g:part} of the remaining ones to {C}. "
     "How many {toy} does {A} have left?",
     "b = x * f; rest = x - b; c = rest * g; rest - c",
     x=(60, 480, 4), f=["1/3", "1/4", "2/5", "3/5", "1/2"], g=["1/3", "2/3", "1/4", "3/4", "1/5"])
hard("A tank holds {x} liters and is {f:part} full. A pump adds {r} liters a minute while {s} liters a "
     "minute leak out. How many minutes does it take until the tank is full?",
     "inside = x * f; missing = x - inside; gain = r - s; missing / gain",
     x=(600, 4800, 60), f=["1/3", "1/4", "2/3", "3/4", "2/5"], r=(20, 60), s=(4, 18),
     where="r > s + 3")
hard("A recipe for {n} people needs {f} cups of flour. {A} cooks for {m} people. How many cups of flour "
     "does {he} need? Give the answer as a fraction.", "one = f / n; one * m", kind="fraction",
     n=(4, 12), f=(2, 7), m=(3, 20), where="m != n and m > 2")
hard("{A} paints {f:part} of a fence on {day} and {g:part} of the same fence the next day. What "
     "fraction of the fence is still not painted?", "done = f + g; 1 - done", kind="fraction",
     f=["1/2", "1/3", "1/4", "2/5", "1/5"], g=["1/3", "1/4", "1/5", "2/5"], where="f != g")
hard("A baker sells {x} loaves of bread at ${p:$} each and {y} rolls at ${q:$} each. The flour costs "
     "${c:$} and the rent ${r:$}. How many dollars of profit does the baker make?",
     "bread = x * p; rolls = y * q; income = bread + rolls; costs = c + r; income - costs", kind="money",
     x=(40, 150, 5), p=(2.5, 4.95, 0.05), y=(60, 240, 10), q=(0.35, 0.95, 0.05), c=(40, 95, 2.5),
     r=(50, 120, 5))
hard("A town has {x} people. In one year the number grows by {p}%, and in the next year it falls by "
     "{q}%. How many people live in the town after the two years?",
     "up = x * p / 100; more = x + up; down = more * q / 100; more - down",
     x=(8000, 60000, 500), p=[5, 8, 10, 12, 20, 25], q=[2, 4, 5, 10, 15])
hard("The {place} sold {x} tickets. {p}% of them were child tickets at ${c:$} each, and the others were "
     "adult tickets at ${a:$} each. How many dollars did the {place} take in?",
     "children = x * p / 100; adults = x - children; one = children * c; two = adults * a; one + two",
     kind="money", x=(200, 900, 20), p=[25, 30, 35, 40, 45], c=(4.5, 7.5, 0.25), a=(9, 15, 0.5))
hard("{n} machines make {x} {ware} in {h} hours. How many {ware} do {m} machines of the same kind make "
     "in {k} hours?", "each = x / n; rate = each / h; group = rate * m; group * k",
     n=(3, 9), x=(240, 2400, 20), h=(4, 9), m=(4, 15), k=(3, 12), where="m != n and k != h")
hard("{A} puts ${x} in a bank account that pays {p}% simple interest a year. After {n} years {he} takes "
     "out {f:part} of all the money in the account. How many dollars are left in the account?",
     "year = x * p / 100; interest = year * n; all = x + interest; out = all * f; all - out",
     kind="money", x=(800, 6000, 100), p=[2, 3, 4, 5, 6], n=(2, 8), f=["1/2", "1/4", "1/5", "2/5"])
hard("A rectangular garden is {x} feet long and {y} feet wide. {p}% of it is a pond and the rest is "
     "grass. A bag of seed covers {s} square feet. How many bags of seed cover the grass exactly?",
     "area = x * y; pond = area * p / 100; grass = area - pond; grass / s",
     x=(40, 120, 5), y=(20, 80, 5), p=[10, 15, 20, 25, 30, 40], s=(25, 150, 25), where="x > y")
hard("{A} mixes {x} liters of a drink that is {p}% juice with {y} liters of a drink that is {q}% juice. "
     "How many liters of juice are in the mix?", "one = x * p / 100; two = y * q / 100; one + two",
     kind="decimal", x=(6, 30), p=(10, 60, 5), y=(5, 25), q=(15, 80, 5), where="p != q")

# Making a problem from a template.


def slots(text):
    """The (name, format) of every slot in the text, in order."""
    return [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name]


def show(value, spec=""):
    """A number as a question writes it."""
    if spec == "part":
        return PARTS[str(value)]
    if value.denominator == 1:
        return f"{value.numerator:,}"
    return f"{float(value):,.2f}" if spec == "$" else f"{float(value):,}"


def read(shown):
    """The inverse of show()."""
    return PART_OF_WORDS[shown] if shown in PART_OF_WORDS else Fraction(shown.replace(",", ""))


def clean(value, kind):
    """Whether a step of this kind may have this value."""
    most = {"whole": 1, "decimal": 10, "money": 100, "fraction": value.denominator}[kind]
    return value > 0 and most % value.denominator == 0


def solve(template, numbers):
    """The answer as text, or None where these numbers do not fit the template."""
    values = dict(numbers)
    if not eval(template.where, {}, values):
        return None
    for step in template.steps.split(";"):
        name, _, expression = step.strip().rpartition(" = ")
        value = eval(expression, {}, values)
        if not clean(value, template.kind):
            return None
        values[name] = value
    # What everybody knows without counting is no problem, and plurals need two.
    if value == 1 or (template.kind == "fraction") != (value.denominator > 1):
        return None
    if template.kind == "fraction" or value.denominator == 1:
        return str(value)
    return f"{float(value):.2f}" if template.kind == "money" else str(float(value))


def draw_number(rng, choices):
    if isinstance(choices, list):
        return Fraction(rng.choice(choices))
    low, high, step = (Fraction(str(part)) for part in (*choices, 1)[:3])
    return low + step * rng.randrange(int((high - low) / step) + 1)


def draw_words(rng):
    """A value for every slot that is not a number."""
    names = rng.sample(SHE + HE, 3)
    words = dict(zip("ABC", names))
    words.update(zip(("he", "his", "him"),
                     ("she", "her", "her") if names[0] in SHE else ("he", "his", "him")))
    words.update(He=words["he"].title(), His=words["his"].title())
    for kind, choices in WORDS.items():
        one, _, many = rng.choice(choices).partition("/")
        words.update({kind + "1": one, kind: many or one})
    return words


def write_question(template, words, numbers):
    filled = [before + (show(numbers[name], spec) if name in numbers else words[name] if name else "")
              for before, name, spec, _ in string.Formatter().parse(template.text)]
    return "".join(filled)


def make_band(band, count, seed):
    """`count` different problems: the templates of the band in turn, in a random order."""
    rng = random.Random(f"{seed} {band}")
    templates = [template for template in TEMPLATES if template.band == band]
    problems = {}
    while len(problems) < count:
        rng.shuffle(templates)
        for template in templates[:count - len(problems)]:
            question, answer = make_problem(rng, template, problems)
            problems[question] = {"question": question, "answer": answer, "band": band}
    return list(problems.values())


def make_problem(rng, template, known):
    for _ in range(TRIES):
        numbers = {name: draw_number(rng, choices) for name, choices in template.numbers.items()}
        answer = solve(template, numbers)
        question = write_question(template, draw_words(rng), numbers)
        if answer is not None and question not in known:
            return question, answer
    sys.exit(f"no numbers fit this template: {template.text}")


# Checking what was written.


def pattern(template):
    """A regular expression that reads the numbers of this template out of a question."""
    parts, seen = [], set()
    for before, name, spec, _ in string.Formatter().parse(template.text):
        parts.append(re.escape(before))
        if not name:
            continue
        number = "|".join(PART_OF_WORDS) if spec == "part" else r"\d[\d,]*(?:\.\d+)?"
        value = number if name in template.numbers else r"[A-Za-z ]+?"
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{value})")
        seen.add(name)
    return re.compile("".join(parts))


def check_file(path, band, patterns):
    """The mistakes in one file, each as a line of text."""
    seen = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        problem = json.loads(line)
        question = problem["question"]
        answers = set()
        for template, expression in patterns:
            match = expression.fullmatch(question)
            if match and template.band == band:
                answers.add(solve(template, {name: read(match[name]) for name in template.numbers}))
        if answers != {problem["answer"]}:
            yield f"{path.name}:{number}: the answer is {problem['answer']}, the text gives {answers}"
        if problem["band"] != band or question in seen:
            yield f"{path.name}:{number}: wrong band, or the same question twice"
        seen.add(question)
    if len(seen) != COUNTS[band]:
        yield f"{path.name}: {len(seen)} problems, not {COUNTS[band]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--check", action="store_true", help="check the files instead of writing them")
    args = parser.parse_args()

    paths = {band: args.out / f"word-problems-{band}.jsonl" for band in COUNTS}
    if args.check:
        patterns = [(template, pattern(template)) for template in TEMPLATES]
        mistakes = [line for band, path in paths.items() for line in check_file(path, band, patterns)]
        print("\n".join(mistakes) or f"{sum(COUNTS.values())} problems, no mistakes")
        return 1 if mistakes else 0
    for band, path in paths.items():
        lines = [json.dumps(problem, ensure_ascii=False) + "\n"
                 for problem in make_band(band, COUNTS[band], args.seed)]
        path.write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
