"""The colours of figures and page: known without loading what draws."""

INK, FAINT, GRID, PAPER, PROBLEM = "#1b1f24", "#626b76", "#dde1e6", "#fffffe", "#b3261e"
"""Text, secondary text, lines, ground, failure. The page maps them to its own colours, light and dark."""
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b5579a", "#9a7b00", "#2f9bd0", "#7a5fb0")
"""Seven colours that the colour-blind tell apart (after Okabe & Ito 2008, darkened for thin lines)."""
