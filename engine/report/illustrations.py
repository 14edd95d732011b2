"""What the page shows beside its words: figures with the numbers behind them, and maps of single features."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from engine.report.markup import figure, paragraph

FOLDER = "figures"
"""Beside the page: every figure as SVG, PNG and CSV."""
INLINE_CSV = 16_000
"""Characters up to which the numbers behind a figure travel inside the page."""
SHARP = 128
"""Pixels up to which a map is shown larger than it is."""
SHADES = ("#f2f6fb", "#9dc3e0", "#2f7fb8", "#0b3c66")
"""Colours of activation maps from silent to the largest activation; in between, linearly."""


class Figures(Mapping[str, str]):
    """SVG text by figure name, in the order of showing; with CSV text by name, and PNG images of the maps."""

    def __init__(
        self,
        svg: Mapping[str, str],
        tables: Mapping[str, str] | None = None,
        maps: Sequence[Mapping[str, Sequence[bytes]]] = (),
    ) -> None:
        self._svg, self._tables, self.maps = dict(svg), dict(tables or {}), maps
        """`maps`: for each cohort, PNGs of the gallery's features by `maps` and `partner_maps`."""

    def __getitem__(self, name: str) -> str:
        return self._svg[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._svg)

    def __len__(self) -> int:
        return len(self._svg)

    def links(self, name: str) -> str:
        """Return links to a figure's files; small tables travel inside the page and so are never lost."""
        table = self._tables.get(name)
        files = {kind: f"{FOLDER}/{name}.{kind}" for kind in ("svg", "png", "csv")}
        if table is not None and len(table) <= INLINE_CSV:
            files["csv"] = f"data:text/csv;charset=utf-8,{quote(table)}"
        made = [
            f'<a href="{escape(address, quote=True)}" download="{escape(name, quote=True)}.{kind}" '
            f'aria-label="{kind.upper()} of {escape(name, quote=True)}">{kind.upper()}</a>'
            for kind, address in files.items()
        ]
        return f'<p class="files">{" · ".join(made)}</p>'

    def of_kinds(self, captions: Mapping[str, str], *kinds: str) -> str:
        """Return the figures of some kinds with their captions; several of one kind stand side by side where
        there is room. A figure's kind is its name up to the first dash."""
        html = ""
        for kind in kinds:
            names = [name for name in self if name.split("-")[0] == kind]
            said = captions[kind]
            if len(names) > 1:
                drawn = "".join(figure(self[n], n, said, links=self.links(n)) for n in names)
                html += f'<div class="figures">{drawn}</div>\n{paragraph(said, "note")}'
            elif names:
                html += figure(
                    self[names[0]], names[0], said, caption=said, links=self.links(names[0])
                )
        return html


def map_images(material: Mapping[str, NDArray[Any]]) -> dict[str, list[bytes]]:
    """Return PNGs of the activation maps of a gallery and of the matches beside them; empty without a grid."""
    return {
        name: [to_png(one) for one in material[name]]
        for name in ("maps", "partner_maps")
        if name in material
    }


def to_png(levels_HW: NDArray[Any]) -> bytes:
    """Return a PNG with a palette of a map of uint8 levels [H, W].

    After the PNG specification (ISO/IEC 15948): colour type 3, eight bits, no filter.
    """
    height, width = levels_HW.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)
    rows[:, 1:] = levels_HW
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", _palette()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _palette() -> bytes:
    stops = np.array([[int(s[i : i + 2], 16) for i in (1, 3, 5)] for s in SHADES], dtype=float)
    at, places = np.linspace(0, 1, 256), np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(at, places, stops[:, channel]) for channel in range(3)], axis=1)
    return bytes(colours.round().astype(np.uint8).tobytes())


def inline_png(png: bytes, description: str) -> str:
    """Return an image that is inside the page."""
    data = base64.b64encode(png).decode()
    said = escape(description, quote=True)
    width = int.from_bytes(png[16:20], "big")
    # Few pixels stay sharp when they grow; many would be left out one by one where they have to shrink.
    style = "map few" if width <= SHARP else "map"
    return f'<img src="data:image/png;base64,{data}" alt="{said}" class="{style}">'
