"""Asks tiny-chat the questions of questions.json greedily and prints how many it answers right."""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MAX_TOKENS = 64
FOLDER = Path(__file__).parent


def answer(model, tokenizer, messages: list[dict], max_tokens: int = MAX_TOKENS) -> str:
    """The model's greedy reply to a conversation."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
    with torch.no_grad():
        output = model.generate(**prompt, max_new_tokens=max_tokens)
    return tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def main() -> None:
    """Prints each wrong answer, then the score in total, by kind and for held-back phrasings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype)).eval()
    questions = json.loads((FOLDER / "questions.json").read_text())["questions"]
    scores = defaultdict(lambda: [0, 0])
    for question in questions:
        reply = answer(model, tokenizer, question["messages"])
        right = reply in question["accept"]
        if not right:
            print(
                f"{question['id']} heldBack={question['heldBack']}: {question['messages'][-1]['content']!r}"
                f" -> {reply!r}, expected {question['accept'][0]!r}"
            )
        for group in ("total", "held back" if question["heldBack"] else "trained", question["kind"]):
            scores[group][0] += right
            scores[group][1] += 1
    for group, (right, asked) in scores.items():
        print(f"{group}: {right}/{asked}")


if __name__ == "__main__":
    main()
