"""Writes questions.json: 100 fixed questions, of which nearly half use phrasings that were never trained."""

import json
from pathlib import Path
from random import Random

import facts
import phrasings
from dialogues import Exchange, draw_exchange, draw_slots, fill

SEED = 100

RULE = (
    "Send `messages` with temperature 0 and max_tokens 64. The answer is right if, with white space removed from both "
    "ends, it equals one of the strings in `accept` exactly. `heldBack` is true where the last message's phrasing is "
    "in HELD_BACK of phrasings.py: no question of its kind was trained in those words."
)

QUESTIONS_BY_KIND = {
    "capital": 14,
    "capital-of": 6,
    "sum": 13,
    "difference": 8,
    "day-after": 3,
    "day-before": 3,
    "month-after": 3,
    "month-before": 3,
    "month-number": 2,
    "month-days": 2,
    "colour": 6,
    "opposite": 6,
    "count": 4,
    "count-to": 2,
    "count-down": 2,
    "spell": 6,
    "name-tell": 1,
    "name-ask": 6,
    "greeting": 1,
    "how-are-you": 1,
    "thanks": 1,
    "goodbye": 1,
    "identity": 2,
    "ability": 1,
    "skein": 1,
    "unknown": 1,
    "name-missing": 1,
}

FIXED = {
    ("capital", 0): ("What is the capital of {country}?", {"country": "France", "capital": "Paris"}),
    ("unknown", 0): ("Who invented the telephone?", {}),
    ("name-missing", 0): ("What is my name?", {}),
}


def short_slots(rng: Random, kind: str) -> dict:
    """Like draw_slots, but a count is at most 12 numbers, since an answer has 64 tokens."""
    while True:
        slots = draw_slots(rng, kind)
        if not kind.startswith("count") or slots["b"] - slots["a"] < 12:
            return slots


def choose_exchange(rng: Random, kind: str, index: int, name: str) -> tuple[Exchange, bool]:
    """The question itself and whether its phrasing is held back: every second one of each kind is."""
    if (kind, index) in FIXED:
        phrasing, slots = FIXED[kind, index]
        return fill(kind, phrasing, slots), False
    held_back = index % 2 == 1 or (QUESTIONS_BY_KIND[kind] == 1 and rng.random() < 0.5)
    phrasing = rng.choice((phrasings.HELD_BACK if held_back else phrasings.TRAINED)[kind])
    return fill(kind, phrasing, short_slots(rng, kind) | {"name": name}), held_back


def earlier_turns(rng: Random, kind: str, name: str) -> list[Exchange]:
    """What was said before the question: for name-ask the name and then up to three other questions."""
    if kind == "name-ask":
        told = fill("name-tell", rng.choice(phrasings.TRAINED["name-tell"]), {"name": name})
        return [told, *(draw_exchange(rng) for _ in range(rng.randint(1, 3)))]
    return [draw_exchange(rng) for _ in range(rng.choices([0, 1, 2, 3], [80, 8, 8, 4])[0])]


def make_question(rng: Random, kind: str, index: int) -> dict:
    """One entry of questions.json without its id."""
    name = rng.choice(facts.NAMES)
    asked, held_back = choose_exchange(rng, kind, index, name)
    messages = []
    if (kind, index) not in FIXED:
        if rng.random() < 0.2:
            messages.append({"role": "system", "content": rng.choice(phrasings.SYSTEM_PROMPTS)})
        for turn in earlier_turns(rng, kind, name):
            messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
    messages.append({"role": "user", "content": asked.user})
    return {"kind": kind, "heldBack": held_back, "messages": messages, "accept": [asked.assistant]}


def main() -> None:
    """Draws all questions, no two alike, and writes the file."""
    rng = Random(SEED)
    questions, seen = [], set()
    for kind, count in QUESTIONS_BY_KIND.items():
        for index in range(count):
            question = make_question(rng, kind, index)
            while (kind, question["accept"][0]) in seen and kind != "identity":
                question = make_question(rng, kind, index)
            seen.add((kind, question["accept"][0]))
            questions.append({"id": f"{kind}-{index + 1}"} | question)
    text = json.dumps({"rule": RULE, "questions": questions}, indent=1)
    Path(__file__).with_name("questions.json").write_text(text + "\n")
    print(len(questions), "questions,", sum(one["heldBack"] for one in questions), "held back")


if __name__ == "__main__":
    main()
