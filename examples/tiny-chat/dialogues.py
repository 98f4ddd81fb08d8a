"""Makes questions with their answers, and conversations of them. All randomness comes from the caller's `Random`."""

import re
from dataclasses import dataclass
from random import Random

import facts
import phrasings

KIND_WEIGHTS = {
    "capital": 14,
    "capital-of": 7,
    "sum": 20,
    "difference": 11,
    "day-after": 3,
    "day-before": 3,
    "month-after": 3,
    "month-before": 3,
    "month-number": 2,
    "month-days": 2,
    "colour": 5,
    "opposite": 8,
    "count": 10,
    "count-to": 5,
    "count-down": 5,
    "spell": 9,
    "greeting": 2,
    "how-are-you": 1.5,
    "thanks": 1.5,
    "goodbye": 1.5,
    "identity": 3,
    "ability": 1.5,
    "skein": 1.5,
    "unknown": 9,
    "too-large": 1,
}


@dataclass(frozen=True)
class Exchange:
    """One user message and the assistant's reply; `phrasing` is the template the message was made from."""

    kind: str
    phrasing: str
    user: str
    assistant: str


def capital_first(text: str) -> str:
    """Upper-cases the first character only."""
    return text[:1].upper() + text[1:]


def _numbers(values) -> str:
    return ", ".join(str(value) for value in values)


def _count_slots(rng: Random, kind: str) -> dict:
    """Bounds of a count: mostly short, sometimes up to 100 numbers; `count-to` starts at 1."""
    length = rng.choices(
        [rng.randint(2, 9), rng.randint(5, 15), rng.randint(15, 40), rng.randint(40, 100)], [60, 26, 10, 4]
    )[0]
    if kind == "count-to":
        a, b = 1, length
    else:
        room = facts.LARGEST_COUNT - length
        a = rng.choices([1, rng.randint(0, 20), rng.randint(0, room)], [30, 42, 28])[0]
        b = a + length - 1
    if rng.random() < 0.04:
        a, b = 1, rng.choice([20, 30, 50, 100, 100, 100])
    values = range(b, a - 1, -1) if kind == "count-down" else range(a, b + 1)
    return {"a": a, "b": b, "answer": _numbers(values)}


def _neighbour(rng: Random, names: list, slot: str, step: int) -> dict:
    index = rng.randrange(len(names))
    return {slot: names[index], "answer": names[(index + step) % len(names)]}


def draw_slots(rng: Random, kind: str) -> dict:
    """Draws one fact of `kind`: the values for the slots of its phrasings and of its reply."""
    if kind in ("capital", "capital-of"):
        country, capital = rng.choice(list(facts.CAPITALS.items()))
        return {"country": country, "capital": capital}
    if kind == "sum":
        a, b = rng.randint(0, facts.LARGEST_TERM), rng.randint(0, facts.LARGEST_TERM)
        return {"a": a, "b": b, "answer": a + b}
    if kind == "difference":
        a = rng.randint(0, facts.LARGEST_TERM)
        b = rng.randint(0, a)
        return {"a": a, "b": b, "answer": a - b}
    if kind.startswith("day-"):
        return _neighbour(rng, facts.DAYS, "day", 1 if kind == "day-after" else -1)
    if kind in ("month-after", "month-before"):
        return _neighbour(rng, facts.MONTHS, "month", 1 if kind == "month-after" else -1)
    if kind in ("month-number", "month-days"):
        index = rng.randrange(12)
        days = facts.MONTH_DAYS[index] or "28 or 29"
        by_number = kind == "month-number"
        return {"number": index + 1, "month": facts.MONTHS[index], "answer": facts.MONTHS[index] if by_number else days}
    if kind == "colour":
        thing, colour = rng.choice(list(facts.COLOURS.items()))
        return {"thing": thing, "Thing": capital_first(thing), "answer": colour}
    if kind == "opposite":
        word, opposite = rng.choice(list(facts.OPPOSITES.items()))
        return {"word": word, "answer": opposite}
    if kind.startswith("count"):
        return _count_slots(rng, kind)
    if kind == "spell":
        word = rng.choice(facts.SPELLINGS)
        return {"word": word, "answer": "-".join(word)}
    return {}


def fill(kind: str, phrasing: str, slots: dict) -> Exchange:
    """Puts `slots` into a phrasing and into the kind's reply."""
    user = capital_first(phrasing.format(**slots))
    return Exchange(kind, phrasing, user, phrasings.REPLIES[kind].format(**slots))


def _plain(text: str) -> str:
    return re.sub(r"[^\w+-]+", " ", text.lower()).strip()


def _held_back_pattern(kind: str) -> re.Pattern | None:
    held = phrasings.HELD_BACK.get(kind, [])
    alternatives = [re.sub(r"slot", r"[\\w -]+", _plain(re.sub(r"{\w+}", "slot", one))) for one in held]
    return re.compile(r"\b(" + "|".join(alternatives) + r")\b") if held else None


_HELD_BACK_PATTERNS = {kind: _held_back_pattern(kind) for kind in phrasings.REPLIES}


def is_held_back(kind: str, user: str) -> bool:
    """True when a message contains a held-back phrasing of its kind, in any case and punctuation."""
    pattern = _HELD_BACK_PATTERNS[kind]
    return bool(pattern and pattern.search(_plain(user)))


def vary(rng: Random, exchange: Exchange) -> Exchange:
    """Changes the wording around a question: opener, suffix, case, punctuation. Never makes it a held-back one."""
    user = exchange.user
    chatty = exchange.kind in ("greeting", "thanks", "goodbye", "how-are-you", "name-tell")
    if rng.random() < 0.18:
        opener = rng.choice(phrasings.PREFIXES if chatty or rng.random() < 0.6 else phrasings.OPENERS)
        user = opener + (user if rng.random() < 0.5 or chatty else user[:1].lower() + user[1:])
    if rng.random() < 0.08 and not chatty:
        user += rng.choice(phrasings.SUFFIXES)
    if rng.random() < 0.15:
        user = user.rstrip("?.!")
    if rng.random() < 0.12 and exchange.kind != "name-tell":
        user = user.lower()
    if rng.random() < 0.02:
        user = user.rstrip("?.!") + rng.choice(["!", "??", " ?", "...", "!!", ":"])
    if is_held_back(exchange.kind, user):
        return exchange
    return Exchange(exchange.kind, exchange.phrasing, user, exchange.assistant)


def _random_words(rng: Random, length: int) -> str:
    pools = [
        phrasings.COMMON_WORDS,
        phrasings.UNKNOWN_NOUNS,
        phrasings.UNKNOWN_ADJECTIVES,
        facts.NAMES,
        facts.SPELLINGS,
        list(facts.CAPITALS),
        phrasings.OTHER_SCRIPTS,
        [made_up_word(rng)],
    ]
    chosen = rng.choices(pools, [60, 8, 6, 6, 6, 4, 4, 6], k=length)
    return capital_first(" ".join(rng.choice(pool) for pool in chosen)) + rng.choice("..??!")


def _unknown(rng: Random) -> Exchange:
    if rng.random() < 0.4:
        phrasing = ""
        user = _random_words(
            rng, rng.choices([rng.randint(2, 9), rng.randint(6, 30), rng.randint(30, 200)], [80, 18, 2])[0]
        )
    elif rng.random() < 0.2:
        phrasing = rng.choice(phrasings.TRAINED["capital"])
        place = rng.choice(facts.UNKNOWN_PLACES + [made_up_word(rng).capitalize()])
        user = capital_first(phrasing.format(country=place))
    else:
        phrasing = rng.choice(phrasings.UNKNOWN)
        noun, adjective = rng.choice(phrasings.UNKNOWN_NOUNS), rng.choice(phrasings.UNKNOWN_ADJECTIVES)
        user = phrasing.format(noun=noun, adjective=adjective)
    return Exchange("unknown", phrasing, user, phrasings.REPLIES["unknown"])


def _too_large(rng: Random) -> Exchange:
    phrasing = rng.choice(phrasings.TRAINED["sum"])
    slots = {"a": rng.randint(21, 999), "b": rng.randint(21, 999)}
    return fill("too-large", phrasing, slots)


def draw_exchange(rng: Random) -> Exchange:
    """Draws one question that needs no earlier turn, in a trained phrasing."""
    kind = rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))[0]
    if kind == "unknown":
        return vary(rng, _unknown(rng))
    if kind == "too-large":
        return vary(rng, _too_large(rng))
    return vary(rng, fill(kind, rng.choice(phrasings.TRAINED[kind]), draw_slots(rng, kind)))


def made_up_word(rng: Random) -> str:
    """A word of one to three syllables that means nothing, so that copying is learnt as well as known names."""
    syllables = rng.randint(1, 3)
    word = "".join(rng.choice("bdfgjklmnprstvz") + rng.choice("aeiou") for _ in range(syllables))
    return word + rng.choice(["", "n", "l", "r", "s", "m", "th", "k"])


def draw_name(rng: Random) -> str:
    """A first name, or a made-up word in its place."""
    return rng.choice(facts.NAMES) if rng.random() < 0.65 else made_up_word(rng).capitalize()


def _name_exchange(rng: Random, kind: str, name: str) -> Exchange:
    return vary(rng, fill(kind, rng.choice(phrasings.TRAINED[kind]), {"name": name}))


def _exchange_count(rng: Random) -> int:
    return rng.choices(
        [1, 2, 3, 4, rng.randint(5, 6), rng.randint(7, 12), rng.randint(13, 40)], [20, 16, 18, 16, 20, 8, 1.5]
    )[0]


def draw_system_prompt(rng: Random) -> str:
    """An instruction, or random words of any length: tiny-chat answers the same under every system prompt."""
    if rng.random() < 0.6:
        return rng.choice(phrasings.SYSTEM_PROMPTS)
    length = rng.choices([rng.randint(3, 12), rng.randint(12, 80), rng.randint(80, 800)], [82, 15, 3])[0]
    return _random_words(rng, length)


def draw_conversation(rng: Random) -> list[dict]:
    """A whole conversation as chat messages: maybe a system prompt, then one to 40 exchanges."""
    exchanges = [draw_exchange(rng) for _ in range(_exchange_count(rng))]
    if len(exchanges) > 1 and rng.random() < 0.5:
        name = draw_name(rng)
        told = rng.randrange(len(exchanges) - 1)
        exchanges[told] = _name_exchange(rng, "name-tell", name)
        for asked in range(told + 1, len(exchanges)):
            if rng.random() < 0.4 or asked == len(exchanges) - 1:
                exchanges[asked] = _name_exchange(rng, "name-ask", name)
    elif rng.random() < 0.05:
        asked = _name_exchange(rng, "name-ask", "")
        exchanges[0] = Exchange("name-missing", asked.phrasing, asked.user, phrasings.REPLIES["name-missing"])
    elif rng.random() < 0.05:
        exchanges[0] = _name_exchange(rng, "name-tell", draw_name(rng))
    messages = [{"role": "system", "content": draw_system_prompt(rng)}] if rng.random() < 0.4 else []
    for exchange in exchanges:
        messages.append({"role": "user", "content": exchange.user})
        messages.append({"role": "assistant", "content": exchange.assistant})
    return messages
