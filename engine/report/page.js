"use strict";
// Sorts tables by their columns: first up, then down, then as they were. Numbers sort as numbers, what was not
// measured ("–") comes last either way. The page is complete without this.
(() => {
  const UNITS = { kB: 1e3, MB: 1e6, GB: 1e9, "%": 0.01 };
  const number = (text) => {
    const plain = text.replace(/−/g, "-").replace(/,(?=\d{3})/g, "").trim();
    const clock = plain.match(/^(?:(\d+):)?(\d+):(\d\d)$/);
    if (clock) return 3600 * (clock[1] || 0) + 60 * clock[2] + +clock[3];
    const found = plain.match(/^[[(]?(?:[a-z]\S* = )?([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?:\s*(kB|MB|GB|%))?/i);
    return found ? found[1] * (UNITS[found[2]] || 1) : NaN;
  };
  const absent = (text) => text === "" || text === "–";
  const sort = (table, rows, column, order, numeric) => {
    const cells = rows.map((row, place) => ({ row, place, text: row.cells[column].textContent.trim() }));
    cells.sort((a, b) => {
      if (order === "none") return a.place - b.place;
      if (absent(a.text) || absent(b.text)) return absent(a.text) - absent(b.text) || a.place - b.place;
      const by = numeric ? number(a.text) - number(b.text) : a.text.localeCompare(b.text, "en", { numeric: true });
      return (order === "descending" ? -by : by) || a.place - b.place;
    });
    table.tBodies[0].append(...cells.map((cell) => cell.row));
  };
  for (const table of document.querySelectorAll(".wide > table, .texts > table")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 2) continue;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.textContent) return; // what has no name is no order that anybody would ask for
      const texts = rows.map((row) => row.cells[column].textContent.trim()).filter((text) => !absent(text));
      const numeric = texts.length > 0 && texts.every((text) => !Number.isNaN(number(text)));
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = { none: "ascending", ascending: "descending", descending: "none" }[now];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        sort(table, rows, column, next, numeric);
      });
    });
  }
})();
