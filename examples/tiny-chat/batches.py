"""Turns conversations into training batches: token ids with a mask of the tokens the assistant has to say."""

from random import Random

import torch
from tokenizers import Tokenizer

from dialogues import draw_conversation
from tokenizer import END_OF_TEXT, MAX_POSITIONS, MESSAGE_END, MESSAGE_START

POOL_BATCHES = 32
"""Conversations of about this many batches are sorted by length together, which keeps the padding small."""


def encode_conversation(tokenizer: Tokenizer, messages: list[dict]) -> tuple[list[int], list[bool]]:
    """Ids as the chat template lays them out, and for each id whether the assistant says it (its end mark included)."""
    start, end = tokenizer.token_to_id(MESSAGE_START), tokenizer.token_to_id(MESSAGE_END)
    ids: list[int] = []
    spoken: list[bool] = []
    for message in messages:
        head = [start, *tokenizer.encode(message["role"] + "\n", add_special_tokens=False).ids]
        body = [*tokenizer.encode(message["content"], add_special_tokens=False).ids, end]
        newline = tokenizer.encode("\n", add_special_tokens=False).ids
        ids += head + body + newline
        by_assistant = message["role"] == "assistant"
        spoken += [False] * len(head) + [by_assistant] * len(body) + [False] * len(newline)
    return ids, spoken


def _pad(rows: list[tuple[list[int], list[bool]]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad_id)
    spoken = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, (row_ids, row_spoken) in enumerate(rows):
        ids[index, : len(row_ids)] = torch.tensor(row_ids)
        spoken[index, : len(row_spoken)] = torch.tensor(row_spoken)
    return ids, spoken


def draw_batches(tokenizer: Tokenizer, rng: Random, batch_tokens: int):
    """Yields without end (ids, spoken), both [rows, width] with rows * width <= batch_tokens, padded on the right."""
    pad_id = tokenizer.token_to_id(END_OF_TEXT)
    while True:
        pool, tokens = [], 0
        while tokens < POOL_BATCHES * batch_tokens:
            row = encode_conversation(tokenizer, draw_conversation(rng))
            if len(row[0]) <= min(MAX_POSITIONS, batch_tokens):
                pool.append(row)
                tokens += len(row[0])
        pool.sort(key=lambda row: len(row[0]))
        batches, rows = [], []
        for row in pool:
            if (len(rows) + 1) * len(row[0]) > batch_tokens:
                batches.append(rows)
                rows = []
            rows.append(row)
        batches.append(rows)
        rng.shuffle(batches)
        for rows in batches:
            yield _pad(rows, pad_id)
