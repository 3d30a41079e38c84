// Keyboard control of the confusion matrix, or of the lists that replace it. Without scripts, every
// cell still opens by its link.
"use strict";
(() => {
  const table = document.getElementById("matrix");
  if (!table) return;
  let opener = null;
  const place = (link) => [link.closest("tr").rowIndex, link.closest("td").cellIndex];
  const at = (row, column) => table.rows?.[row]?.cells[column]?.querySelector("a");

  // The next cell with a link in the direction of an arrow key.
  const neighbour = (link, down, right) => {
    let [row, column] = place(link);
    for (;;) {
      row += down;
      column += right;
      if (!table.rows?.[row]?.cells[column]) return null;
      if (at(row, column)) return at(row, column);
    }
  };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  table.addEventListener("keydown", (event) => {
    const link = event.target.closest("a");
    if (!link || !table.rows || !steps[event.key]) return;
    event.preventDefault();
    neighbour(link, ...steps[event.key])?.focus();
  });

  // Mark the open cell.
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

// With many classes: search for one by name, and show its figures and confusions.
(() => {
  const finder = document.getElementById("finder");
  if (!finder) return;
  const source = document.getElementById("classes-data");
  const data = JSON.parse(source.textContent);
  const tested = source.dataset.tested;
  const [input, list, card, status] = ["find", "found", "found-class", "found-count"].map((id) =>
    document.getElementById(id),
  );
  const shown = 20;
  const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const names = data.names.map(folded);
  const counted = (count, noun) =>
    `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const made = (tag, text, parent) => {
    const element = document.createElement(tag);
    element.textContent = text;
    parent?.append(element);
    return element;
  };
  const opens = (index, parent) => {
    const button = made("button", data.names[index], parent);
    button.type = "button";
    button.className = "class-name";
    button.addEventListener("click", () => show(index));
    return button;
  };

  // Equal names first, then names that begin with the text, then names that contain it.
  const matches = (text) => {
    const rank = (name) => (name === text ? 0 : name.startsWith(text) ? 1 : 2);
    const found = [];
    names.forEach((name, index) => name.includes(text) && found.push(index));
    return found.sort((one, other) => rank(names[one]) - rank(names[other]) || one - other);
  };

  const look = () => {
    const text = folded(input.value.trim());
    list.replaceChildren();
    card.hidden = true;
    status.textContent = "";
    if (!text) return;
    const found = matches(text);
    const more = found.length > shown ? `; the first ${shown} are shown` : "";
    const classes = found.length === 1 ? "1 class" : `${found.length.toLocaleString("en")} classes`;
    status.textContent = `${found.length ? classes : "No class"} found${more}`;
    for (const index of found.slice(0, shown)) opens(index, made("li", "", list));
    if (found.length === 1) show(found[0], false);
  };

  // `pairs`: classes and counts in turn, as [class, count, class, count].
  const confusions = (heading, pairs, cell) => {
    if (!pairs.length) return;
    made("h4", heading, card);
    const entries = made("ul", "", card);
    for (let place = 0; place < pairs.length; place += 2) {
      const entry = made("li", "", entries);
      opens(pairs[place], entry);
      entry.append(" ");
      const images = counted(pairs[place + 1], "image");
      const id = cell(pairs[place]);
      if (document.getElementById(id)) made("a", images, entry).href = `#${id}`;
      else made("span", images, entry);
    }
  };

  const show = (index, focus = true) => {
    const [images, right] = [data.images[index], data.right[index]];
    card.replaceChildren();
    made("h3", data.names[index], card);
    const accuracy = `${((100 * right) / images).toFixed(2)} %`;
    const figures = `${counted(images, `${tested} image`)}, ${right.toLocaleString("en")} right: accuracy ${accuracy}, 95 % interval ${data.intervals[index]}`;
    made("p", images ? `${figures}.` : `No ${tested} images.`, card);
    confusions("Taken for", data.as[index], (other) => `cell-${index}-${other}`);
    confusions("Others taken for it", data.of[index], (other) => `cell-${other}-${index}`);
    card.hidden = false;
    if (focus) {
      card.focus();
      card.scrollIntoView({ block: "nearest" });
    }
  };

  for (const name of document.querySelectorAll("[data-class]")) {
    name.replaceWith(opens(Number(name.dataset.class)));
  }
  input.addEventListener("input", look);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") list.querySelector("button")?.click();
  });
  document.getElementById("no-search").remove();
  finder.hidden = false;
  look();
})();
