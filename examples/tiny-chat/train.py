"""Trains tiny-chat from scratch on text made from facts.py and phrasings.py, and writes it in Hugging Face form.

Run once by whoever changes the model; a user of skein never runs it. Needs requirements.txt. The result depends on
the seed, the number of threads and the processor alone.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from batches import draw_batches
from dialogues import draw_conversation
from muon import Muon
from tokenizer import END_OF_TEXT, MAX_POSITIONS, MESSAGE_END, save_tokenizer, train_tokenizer

VOCAB_SIZE = 2048
TOKENIZER_CONVERSATIONS = 20_000
MATRIX_RATE, VECTOR_RATE = 0.02, 0.004
WARM_UP_STEPS = 60
SAVE_EVERY_STEPS = 250
END_WEIGHT = 4.0
"""How much the end of an answer counts against any other token: where to stop counting is one token among many."""


def model_config(tokenizer) -> LlamaConfig:
    """The shape of tiny-chat: 4.1 M parameters, 6 layers, 8 query heads over 4 key-value heads."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(MESSAGE_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )


def write_json(path: Path, value: dict) -> None:
    """Replaces `path` in one step, so that a reader never sees half of it."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)


def save_model(model: LlamaForCausalLM, tokenizer, folder: Path) -> None:
    """Writes the weights rounded to bf16 and the two configurations. The tied lm_head is left out."""
    weights = {
        name: weight.detach().bfloat16().contiguous()
        for name, weight in model.state_dict().items()
        if name != "lm_head.weight"
    }
    partial = folder / "model.partial"
    save_file(weights, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    os.replace(partial, folder / "model.safetensors")
    config = model.config.to_dict()
    kept = (
        "attention_bias",
        "attention_dropout",
        "bos_token_id",
        "eos_token_id",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "initializer_range",
        "intermediate_size",
        "max_position_embeddings",
        "mlp_bias",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "pad_token_id",
        "rms_norm_eps",
        "rope_scaling",
        "rope_theta",
        "tie_word_embeddings",
        "use_cache",
        "vocab_size",
    )
    write_json(
        folder / "config.json",
        {"architectures": ["LlamaForCausalLM"]} | {key: config[key] for key in kept} | {"torch_dtype": "bfloat16"},
    )
    ends = [tokenizer.token_to_id(MESSAGE_END), tokenizer.token_to_id(END_OF_TEXT)]
    write_json(
        folder / "generation_config.json",
        {"do_sample": False, "temperature": 0.0, "eos_token_id": ends, "pad_token_id": ends[1]},
    )


def spoken_loss(model: LlamaForCausalLM, ids: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross entropy of the tokens the assistant says, each from the tokens before it."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[spoken[:, 1:]])
    targets = ids[:, 1:][spoken[:, 1:]]
    weights = torch.where(targets == model.config.eos_token_id, END_WEIGHT, 1.0)
    losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def make_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [
        Muon(matrices, lr=MATRIX_RATE),
        torch.optim.AdamW(others, lr=VECTOR_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(model: LlamaForCausalLM, tokenizer, options: argparse.Namespace) -> None:
    """Runs the whole schedule, prints the loss and saves as it goes and at the end."""
    optimizers = make_optimizers(model)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    batches = draw_batches(tokenizer, Random(options.seed), options.batch_tokens)
    begun, tokens, running = time.monotonic(), 0, 0.0
    for step in range(options.steps):
        ids, spoken = next(batches)
        loss = spoken_loss(model, ids, spoken)
        loss.backward()
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * options.rate * rate_factor(step, options.steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += ids.numel()
        running += loss.item()
        if (step + 1) % 25 == 0:
            done, speed = tokens / 1e6, tokens / (time.monotonic() - begun)
            print(
                f"step {step + 1}/{options.steps} loss {running / 25:.4f} {done:.2f} M tokens {speed:.0f} tokens/s",
                flush=True,
            )
            running = 0.0
        if (step + 1) % SAVE_EVERY_STEPS == 0 or step + 1 == options.steps:
            save_model(model, tokenizer, options.out)


def start(options: argparse.Namespace) -> tuple[LlamaForCausalLM, Tokenizer]:
    """The model and tokenizer to train: those of `--continue-from`, else new ones."""
    if options.continue_from:
        model = LlamaForCausalLM.from_pretrained(options.continue_from, dtype=torch.float32)
        return model, Tokenizer.from_file(str(options.continue_from / "tokenizer.json"))
    rng = Random(options.seed + 1)
    conversations = (draw_conversation(rng) for _ in range(TOKENIZER_CONVERSATIONS))
    tokenizer = train_tokenizer((message["content"] for one in conversations for message in one), VOCAB_SIZE)
    return LlamaForCausalLM(model_config(tokenizer)), tokenizer


def main() -> None:
    """Trains the tokenizer, then the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=1.0, help="multiplies the learning rates")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--continue-from", type=Path, help="folder of a model to start from, tokenizer included")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model, tokenizer = start(options)
    save_tokenizer(tokenizer, options.out)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    train(model, tokenizer, options)


if __name__ == "__main__":
    main()
