"""From one hook's activations to the logits, without what lies before the hook.

An analysis splices hundreds of replacements into the same model. In the last layer nothing but the read
position is read any more, so what stands beside a hook is computed once; for hooks of earlier layers this
is `reader.spliced_logits`.

Shapes: N rows, T positions, W width of the hook, D d_model, C answers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import InputError
from engine.subjects.reader import CHUNK, Network, read_hooks, spliced_logits

BESIDE = {
    "hook_attn_out": "hook_resid_pre",
    "hook_resid_mid": None,
    "mlp.hook_post": "hook_resid_mid",
    "hook_mlp_out": "hook_resid_mid",
    "hook_resid_post": None,
}
"""Hooks of the last layer from which the rest is computed here → what else that needs."""


class Downstream:
    """The part of a network after one hook, at the read position of a table of rows."""

    def __init__(self, network: Network, tokens_NT: Tensor, hook: str, read_index: int) -> None:
        """Compute what is needed beside the hook's activations, for every row.

        Raises:
            InputError: the network has no such hook or position.
        """
        self._network, self._tokens_NT = network, tokens_NT
        self._hook, self._at = hook, read_index
        self._layer = f"layers.{network.layers - 1}"
        block = f"blocks.{network.layers - 1}."
        name = hook.removeprefix(block)
        self._name = name if hook.startswith(block) and name in BESIDE else ""
        beside = BESIDE.get(self._name)
        self._beside_ND: Tensor | None = None
        if beside is not None:
            asked = block + beside
            self._beside_ND = read_hooks(network, tokens_NT, [asked], read_index)[asked]

    @torch.no_grad()
    def logits(self, replacement_NW: Tensor, rows_N: Tensor | None = None) -> Tensor:
        """Return the logits [N, C] with the hook's activations replaced, for some rows or all.

        Raises:
            InputError: the replacement has another shape than the rows' activations.
        """
        count = len(self._tokens_NT) if rows_N is None else len(rows_N)
        if len(replacement_NW) != count:
            raise InputError("replacement", f"has {len(replacement_NW)} rows", f"{count}")
        if not self._name:
            tokens_NT = self._tokens_NT if rows_N is None else self._tokens_NT[rows_N]
            return spliced_logits(self._network, tokens_NT, self._hook, self._at, replacement_NW)
        self._check_width(replacement_NW)
        beside_ND = self._beside_ND
        if beside_ND is not None and rows_N is not None:
            beside_ND = beside_ND[rows_N]
        parts = torch.split(replacement_NW, CHUNK)
        if beside_ND is None:
            return torch.cat([self._finish(part, None) for part in parts])
        both = zip(parts, torch.split(beside_ND, CHUNK), strict=True)
        return torch.cat([self._finish(part, beside) for part, beside in both])

    def _check_width(self, replacement_NW: Tensor) -> None:
        into = "mlp.fc_out.weight" if self._name == "mlp.hook_post" else "mlp.fc_in.weight"
        width = self._network.weights[f"{self._layer}.{into}"].shape[1]
        if replacement_NW.shape[1:] != (width,):
            seen = list(replacement_NW.shape)
            raise InputError("replacement", f"has shape {seen}", f"[rows, {width}]")

    def _finish(self, x_NW: Tensor, beside_ND: Tensor | None) -> Tensor:
        name = self._name
        if name == "hook_resid_post":
            return self._answer(x_NW)
        if name == "hook_resid_mid":
            return self._answer(x_NW + self._mlp(x_NW))
        assert beside_ND is not None, "the other hooks have something beside them"
        if name == "hook_attn_out":
            mid_ND = beside_ND + x_NW
            return self._answer(mid_ND + self._mlp(mid_ND))
        written_ND = x_NW if name == "hook_mlp_out" else self._linear(x_NW, "mlp.fc_out")
        return self._answer(beside_ND + written_ND)

    def _mlp(self, mid_ND: Tensor) -> Tensor:
        pre_NM = self._linear(self._norm(mid_ND, f"{self._layer}.ln2"), "mlp.fc_in")
        act = F.gelu if self._network.gelu else F.relu
        return self._linear(act(pre_NM), "mlp.fc_out")

    def _answer(self, x_ND: Tensor) -> Tensor:
        return F.linear(self._norm(x_ND, "ln_out"), self._network.weights["head.weight"])

    def _linear(self, x: Tensor, name: str) -> Tensor:
        w, full = self._network.weights, f"{self._layer}.{name}"
        return F.linear(x, w[f"{full}.weight"], w[f"{full}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        if not self._network.normalized:
            return x
        w = self._network.weights
        bias = w[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], bias, self._network.eps)
