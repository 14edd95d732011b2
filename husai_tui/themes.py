"""Colours: one accent, four meanings, and a set of lines that colour-blind people can tell apart."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="husai-dark",
    primary="#3fb8af",
    secondary="#8b98a5",
    accent="#3fb8af",
    foreground="#d3dae3",
    background="#0f1419",
    surface="#0f1419",
    panel="#1a222b",
    success="#7fb069",
    warning="#e0af4c",
    error="#e5604d",
    dark=True,
    variables={
        "faint": "#67737f",
        "rule": "#2a3540",
        "block-cursor-background": "#22404a",
        "block-cursor-foreground": "#f2f6fa",
        "input-selection-background": "#3fb8af 40%",
        "scrollbar": "#3d4a57",
        "scrollbar-background": "#1a222b",
    },
)
LIGHT = Theme(
    name="husai-light",
    primary="#0f766e",
    secondary="#5b6770",
    accent="#0f766e",
    foreground="#1d262e",
    background="#fbfbf9",
    surface="#fbfbf9",
    panel="#eef0ee",
    success="#3d7a2a",
    warning="#8a5a00",
    error="#b3261e",
    dark=False,
    variables={
        "faint": "#75818a",
        "rule": "#d5dad8",
        "block-cursor-background": "#cfe8e5",
        "block-cursor-foreground": "#0c1419",
        "input-selection-background": "#0f766e 30%",
        "scrollbar": "#b9c1bf",
        "scrollbar-background": "#eef0ee",
    },
)
SERIES = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#8c9eff", "#999999")
"""Okabe and Ito's colours, which people with any colour vision tell apart, in an order for dark ground."""
SERIES_LIGHT = (
    "#0072b2",
    "#b36b00",
    "#007a59",
    "#a8487d",
    "#8a7d00",
    "#b34700",
    "#4a54c4",
    "#555555",
)
"""The same hues, dark enough for a light ground."""
