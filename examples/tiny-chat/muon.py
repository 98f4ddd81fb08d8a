"""Muon: momentum whose update is orthogonalised, for the weight matrices; it needs about half of AdamW's steps here."""

import torch


def orthogonalise(update: torch.Tensor) -> torch.Tensor:
    """Nearest semi-orthogonal matrix to `update` [rows, cols], by five Newton-Schulz iterations in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.bfloat16()
    transposed = x.size(0) > x.size(1)
    if transposed:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if transposed else x).to(update.dtype)


class Muon(torch.optim.Optimizer):
    """Every parameter must be a matrix. `lr` is the size of one step in units of the matrix's spectral norm."""

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Applies one update from the gradients in place."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                velocity = state.setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalise(weight.grad.lerp(velocity, group["momentum"]))
                scale = max(1.0, weight.size(0) / weight.size(1)) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * scale)
