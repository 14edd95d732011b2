"""A fast forward pass: the logits at one position, from a transformer's parameters alone.

It computes what TransformerLens' native model computes, and less of it:

- the last layer is computed at the read position alone, because nothing reads the others;
- before the first layer a state depends only on its token and position, so keys, values and
  scores are computed once per (token, position) and looked up;
- after it a state depends only on its prefix, so a position with fewer distinct prefixes than
  the batch has rows is computed once per prefix.

Shapes: N rows, T positions up to the read one, D d_model, H heads, K d_head, M d_mlp, S states
(what a layer reads), Q queries (what it writes), C answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import InputError

CHUNK = 2048
"""Rows computed at once where no gradient is needed; larger ones fall out of the cache."""

Edit = Callable[[str, Tensor], Tensor]
"""Given a hook's name and its activations at the read position [N, width], returns what is used."""


@dataclass(frozen=True)
class Network:
    """A transformer as its parameters and what must be known of their use."""

    weights: Mapping[str, Tensor]
    """By the native model's own names, such as `layers.0.attn.q.weight`."""
    layers: int
    heads: int
    normalized: bool
    """Whether blocks normalise their input."""
    eps: float
    gelu: bool
    """Whether the MLP's nonlinearity is GELU; else ReLU."""


@torch.no_grad()
def logits(network: Network, tokens_NT: Tensor, read_index: int) -> Tensor:
    """Return the logits at the read position, [N, C]."""
    return Reader(network, tokens_NT, read_index).all_logits()


@torch.no_grad()
def read_hooks(
    network: Network, tokens_NT: Tensor, hooks: Sequence[str], read_index: int
) -> dict[str, Tensor]:
    """Return the activations at the read position, [N, width] per hook.

    They cannot depend on later tokens, which are cut off. That they are the bridge's is checked on the
    trained weights of every subject.

    Raises:
        InputError: the transformer has no hook of a name.
    """
    reader = Reader(network, tokens_NT, read_index)
    found: dict[str, list[Tensor]] = {hook: [] for hook in hooks}

    def keep(hook: str, x_NW: Tensor) -> Tensor:
        if hook in found:
            found[hook].append(x_NW.clone())
        return x_NW

    for rows in torch.split(torch.arange(len(tokens_NT), device=tokens_NT.device), CHUNK):
        reader.logits(rows, keep)
    for hook, parts in found.items():
        if not parts:
            raise InputError("hook", f"the transformer has none named {hook!r}")
    return {hook: torch.cat(parts) for hook, parts in found.items()}


@torch.no_grad()
def spliced_logits(
    network: Network, tokens_NT: Tensor, hook: str, read_index: int, replacement_ND: Tensor
) -> Tensor:
    """Return the logits [N, C] with a hook's activation replaced at the read position only.

    Everything downstream is recomputed. At `hook_resid_mid` the replacement enters the residual
    stream and the MLP; the bridge's own hook of that name changes the MLP's input alone.

    Raises:
        InputError: no such hook, or a replacement of another shape than the activation's.
    """
    if len(replacement_ND) != len(tokens_NT):
        want, got = len(tokens_NT), len(replacement_ND)
        raise InputError("replacement", f"has {got} rows", f"{want}, one per row of tokens")
    reader = Reader(network, tokens_NT, read_index)
    parts: list[Tensor] = []
    for rows, part in zip(
        torch.split(torch.arange(len(tokens_NT), device=tokens_NT.device), CHUNK),
        torch.split(replacement_ND, CHUNK),
        strict=True,
    ):
        seen = _Splice(hook, part)
        parts.append(reader.logits(rows, seen))
        if not seen.met:
            raise InputError("hook", f"the transformer has none named {hook!r}")
    return torch.cat(parts)


class _Splice:
    """Replaces one hook's activation and remembers whether the hook was met."""

    def __init__(self, hook: str, replacement_ND: Tensor) -> None:
        self.hook, self.replacement_ND, self.met = hook, replacement_ND, False

    def __call__(self, hook: str, x_ND: Tensor) -> Tensor:
        if hook != self.hook:
            return x_ND
        self.met = True
        if x_ND.shape != self.replacement_ND.shape:
            want, got = list(x_ND.shape), list(self.replacement_ND.shape)
            raise InputError("replacement", f"has shape {got}", f"{want}, as {hook} has")
        return self.replacement_ND


@dataclass(frozen=True)
class _Queries:
    """Which states a layer's queries are and which they attend to, as indices into the states."""

    self_Q: Tensor
    keys_QT: Tensor
    hidden_QT: Tensor | None
    """True where a key lies after the query; None if none does."""


class Reader:
    """Logits at one position of a table of rows, differentiable in the network's parameters."""

    def __init__(self, network: Network, tokens_NT: Tensor, read_index: int) -> None:
        """Prepare the look-ups for a table of tokens; positions after the read one are cut off.

        Raises:
            InputError: the tokens have no position `read_index`.
        """
        if not 0 <= read_index < tokens_NT.shape[1]:
            raise InputError("read_index", f"{read_index} of {tokens_NT.shape[1]} positions")
        self._w = network.weights
        self._layers, self._heads = network.layers, network.heads
        self._normalized, self._eps = network.normalized, network.eps
        self._act = F.gelu if network.gelu else F.relu
        self._tabulate(tokens_NT[:, : read_index + 1])

    def _tabulate(self, tokens_NT: Tensor) -> None:
        self._positions = tokens_NT.shape[1]
        tokens: list[Tensor] = []
        columns: list[Tensor] = []
        start = 0
        for t in range(self._positions):
            distinct, number_N = torch.unique(tokens_NT[:, t], return_inverse=True)
            tokens.append(distinct)
            columns.append(start + number_N)
            start += len(distinct)
        self._tokens_S = torch.cat(tokens)
        self._places_S = _places(tokens)
        self._states_NT = torch.stack(columns, dim=1)
        # With one layer only the states at the read position ask; they are the last ones.
        self._first_asking = 0 if self._layers > 1 else start - len(tokens[-1])
        shared = range(self._positions - 1) if self._layers > 1 else ()
        self._prefixes = [_distinct_rows(tokens_NT[:, : t + 1]) for t in shared]
        full_TT = torch.ones(2 * [self._positions], dtype=torch.bool, device=tokens_NT.device)
        self._later_TT = full_TT.triu(diagonal=1)

    def all_logits(self) -> Tensor:
        """Return the logits of every row, [N, C], computed in chunks."""
        rows_N = torch.arange(len(self._states_NT), device=self._states_NT.device)
        return torch.cat([self.logits(part) for part in torch.split(rows_N, CHUNK)])

    def logits(self, rows_N: Tensor, edit: Edit | None = None) -> Tensor:
        """Return the logits [N, C] of some rows.

        Args:
            rows_N: row numbers in the table of tokens.
            edit: may change activations at the read position; called at every hook in order.
        """
        x_SD = F.embedding(self._tokens_S, self._w["tok_embed.weight"])
        x_SD = x_SD + F.embedding(self._places_S, self._w["pos.weight"])
        for layer, queries in enumerate(self._plan(rows_N)):
            x_SD = self._block(layer, x_SD, queries, _Edits(layer, len(rows_N), edit))
        return F.linear(self._norm(x_SD, "ln_out"), self._w["head.weight"])

    def _plan(self, rows_N: Tensor) -> list[_Queries]:
        """Return the queries of every layer; those of the read position are the last N."""
        read_NT = self._states_NT[rows_N]
        if self._layers == 1:
            return [_Queries(read_NT[:, -1], read_NT, None)]
        sources, numbers = self._sources(rows_N)
        place_Q = _places(sources)
        hidden_QT = self._later_TT[place_Q]
        raw_QT = self._states_NT[torch.cat(sources)]
        first = _Queries(raw_QT.gather(1, place_Q[:, None])[:, 0], raw_QT, hidden_QT)
        between = _Queries(torch.arange(len(place_Q), device=place_Q.device), numbers, hidden_QT)
        read_NT = numbers[-len(rows_N) :]
        last = _Queries(read_NT[:, -1], read_NT, None)
        return [first, *[between] * (self._layers - 2), last]

    def _sources(self, rows_N: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the rows whose state is computed, per position, and where each is found.

        The rows are one per distinct prefix where those are fewer than N, else the N rows. The
        second value [Q, T] is the number of the state at each position, for the row of each query;
        after the query's own position it is arbitrary.
        """
        n = len(rows_N)
        # Longer prefixes are never fewer, so the shared positions come first.
        shared = [prefix for prefix in self._prefixes if len(prefix[0]) < n]
        sources = [rows for rows, _ in shared] + [rows_N] * (self._positions - len(shared))
        own = torch.arange(n, device=rows_N.device)
        blocks = []
        for t, rows in enumerate(sources):
            columns, start = [], 0
            for place, there in enumerate(sources):
                if place < len(shared):
                    columns.append(start + shared[place][1][rows])
                else:
                    columns.append(start + own if t >= len(shared) else torch.zeros_like(rows))
                start += len(there)
            blocks.append(torch.stack(columns, dim=1))
        return sources, torch.cat(blocks)

    def _block(self, layer: int, x_SD: Tensor, queries: _Queries, edits: _Edits) -> Tensor:
        name = f"layers.{layer}"
        x_SD, queries = edits.before(x_SD, queries)
        z_QD = self._attention(name, self._norm(x_SD, f"{name}.ln1"), queries, table=layer == 0)
        out_QD = edits("hook_attn_out", self._linear(z_QD, f"{name}.attn.o"))
        mid_QD = edits("hook_resid_mid", F.embedding(queries.self_Q, x_SD) + out_QD)
        pre_QM = self._linear(self._norm(mid_QD, f"{name}.ln2"), f"{name}.mlp.fc_in")
        post_QM = edits("mlp.hook_post", self._act(pre_QM))
        mlp_QD = edits("hook_mlp_out", self._linear(post_QM, f"{name}.mlp.fc_out"))
        return edits("hook_resid_post", mid_QD + mlp_QD)

    def _attention(self, name: str, x_SD: Tensor, queries: _Queries, *, table: bool) -> Tensor:
        keys_QT = queries.keys_QT
        k_SHK = self._split(self._linear(x_SD, f"{name}.attn.k"))
        v_SD = self._linear(x_SD, f"{name}.attn.v")
        scale = float(k_SHK.shape[2]) ** -0.5
        if table:
            asking = slice(self._first_asking, None)
            q_AHK = self._split(self._linear(x_SD[asking], f"{name}.attn.q"))
            scores_ASH = torch.einsum("ahk,shk->ash", q_AHK * scale, k_SHK)
            place_QT = (queries.self_Q - self._first_asking)[:, None] * len(x_SD) + keys_QT
            scores_QTH = F.embedding(place_QT, scores_ASH.flatten(0, 1))
        else:
            x_QD = F.embedding(queries.self_Q, x_SD)
            q_QHK = self._split(self._linear(x_QD, f"{name}.attn.q"))
            k_QTHK = self._split(F.embedding(keys_QT, k_SHK.flatten(1)))
            scores_QTH = ((q_QHK * scale)[:, None] * k_QTHK).sum(3)
        if queries.hidden_QT is not None:
            scores_QTH = scores_QTH.masked_fill(queries.hidden_QT[..., None], -torch.inf)
        pattern_QTH = scores_QTH.softmax(1)
        v_QTHK = self._split(F.embedding(keys_QT, v_SD))
        z_QHK: Tensor = (pattern_QTH[..., None] * v_QTHK).sum(1)
        return z_QHK.flatten(1)

    def _split(self, x: Tensor) -> Tensor:
        """Divide the last axis [D] among the heads, [H, K]."""
        return x.view(*x.shape[:-1], self._heads, -1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._w[f"{name}.weight"], self._w[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        if not self._normalized:
            return x
        weight, bias = self._w[f"{name}.weight"], self._w[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self._eps)


class _Edits:
    """Applies an edit to the last N queries of one layer, those at the read position."""

    def __init__(self, layer: int, n: int, edit: Edit | None) -> None:
        self._layer, self._n, self._edit = layer, n, edit

    def __call__(self, hook: str, x_QW: Tensor) -> Tensor:
        if self._edit is None:
            return x_QW
        changed = self._edit(f"blocks.{self._layer}.{hook}", x_QW[-self._n :])
        return torch.cat([x_QW[: -self._n], changed])

    def before(self, x_SD: Tensor, queries: _Queries) -> tuple[Tensor, _Queries]:
        """Apply the edit to the layer's input: the read position gets states of its own."""
        if self._edit is None:
            return x_SD, queries
        n, own = self._n, torch.arange(self._n, device=x_SD.device) + len(x_SD)
        self_Q, keys_QT = queries.self_Q.clone(), queries.keys_QT.clone()
        changed = self._edit(f"blocks.{self._layer}.hook_resid_pre", x_SD[self_Q[-n:]])
        self_Q[-n:] = own
        keys_QT[-n:, -1] = own
        return torch.cat([x_SD, changed]), _Queries(self_Q, keys_QT, queries.hidden_QT)


def _distinct_rows(tokens_NT: Tensor) -> tuple[Tensor, Tensor]:
    """Return one row number per distinct row, [U], and which of those each row equals, [N]."""
    distinct, number_N = torch.unique(tokens_NT, dim=0, return_inverse=True)
    rows_N = torch.arange(len(tokens_NT), device=tokens_NT.device)
    representative_U = rows_N.new_zeros(len(distinct)).scatter_(0, number_N, rows_N)
    return representative_U, number_N


def _places(parts: Sequence[Tensor]) -> Tensor:
    """Return, for all parts in a row, the number of the part that each entry is from."""
    return torch.cat([torch.full_like(part, number) for number, part in enumerate(parts)])
