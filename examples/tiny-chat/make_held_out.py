"""Writes held-out.json: conversations whose questions are all put in words that were never trained."""

import json
from pathlib import Path
from random import Random

import facts
import phrasings
from dialogues import draw_slots, fill

SEED = 400
CONVERSATIONS = 60
EXCHANGES = (2, 7)


def draw_turns(rng: Random) -> list[dict]:
    """A name is told, then come held-back questions of kinds drawn evenly, and the answers to them."""
    others = [kind for kind, held in phrasings.HELD_BACK.items() if held and kind not in ("name-tell", "name-missing")]
    name = rng.choice(facts.NAMES)
    messages = []
    for kind in ["name-tell", *(rng.choice(others) for _ in range(rng.randint(*EXCHANGES)))]:
        turn = fill(kind, rng.choice(phrasings.HELD_BACK[kind]), draw_slots(rng, kind) | {"name": name})
        messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
    return messages


def main() -> None:
    """Draws all conversations and writes the file."""
    rng = Random(SEED)
    conversations = [draw_turns(rng) for _ in range(CONVERSATIONS)]
    lines = ",\n".join(json.dumps(one) for one in conversations)
    Path(__file__).with_name("held-out.json").write_text(f"[\n{lines}\n]\n")
    print(len(conversations), "conversations,", sum(len(one) // 2 for one in conversations), "exchanges")


if __name__ == "__main__":
    main()
