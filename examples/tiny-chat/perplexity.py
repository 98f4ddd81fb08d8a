"""Prints tiny-chat's perplexity on held-out.json: of what the assistant says, and of every token."""

import argparse
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from batches import encode_conversation

FOLDER = Path(__file__).parent


def losses(model, ids: list[int]) -> torch.Tensor:
    """Of each token but the first, from the tokens before it."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")


def main() -> None:
    """Every conversation by itself, in f32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=FOLDER)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    spoken, whole = [], []
    for messages in json.loads((FOLDER / "held-out.json").read_text()):
        ids, by_assistant = encode_conversation(tokenizer, messages)
        loss = losses(model, ids)
        whole.append(loss)
        spoken.append(loss[torch.tensor(by_assistant[1:])])
    for name, parts in (("spoken", spoken), ("whole", whole)):
        loss = torch.cat(parts)
        print(f"{name}: perplexity {math.exp(loss.mean()):.5f} of {len(loss)} tokens")


if __name__ == "__main__":
    main()
