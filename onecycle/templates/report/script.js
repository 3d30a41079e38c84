// Keys for the confusion matrix. Without scripts every cell still opens by its link.
"use strict";
(() => {
  const table = document.getElementById("matrix");
  if (!table) return;
  let opener = null;
  const place = (link) => [link.closest("tr").rowIndex, link.closest("td").cellIndex];
  const at = (row, column) => table.rows[row]?.cells[column]?.querySelector("a");

  // The next cell with a link in the direction of an arrow key.
  const neighbour = (link, down, right) => {
    let [row, column] = place(link);
    for (;;) {
      row += down;
      column += right;
      if (!table.rows[row]?.cells[column]) return null;
      if (at(row, column)) return at(row, column);
    }
  };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  table.addEventListener("keydown", (event) => {
    const link = event.target.closest("a");
    if (!link || !steps[event.key]) return;
    event.preventDefault();
    neighbour(link, ...steps[event.key])?.focus();
  });

  // The cell that is open is marked.
  const mark = () => {
    for (const link of table.querySelectorAll("a")) {
      if (link.hash === location.hash) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("hashchange", mark);
  mark();

  // Escape and Close go back to the cell that was opened.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    if (link.hash.startsWith("#cell-")) opener = link;
    if (link.hash === "#matrix" && opener) setTimeout(() => opener.focus());
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !location.hash.startsWith("#cell-")) return;
    opener ??= table.querySelector("a[aria-current]");
    location.hash = "#matrix";
    opener?.focus();
  });
})();
