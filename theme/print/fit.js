// Prepares the one document of tools/shelf/pdf.py for paper; returns what does not fit. The window is as wide as the column.
() => {
  "use strict";

  const SMALLEST = 0.68; // of the size of its text; below that a table stands on a page across
  const ACROSS = 971; // width of that page less its margins
  const room = (box) => {
    const style = getComputedStyle(box.parentElement);
    return box.parentElement.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  };
  const shrink = (box, by) => (box.style.zoom = Math.floor(by * 1000) / 1000);

  // Names of pages for what leads to an appendix, back from it, or from the contents.
  window.writeNumbers = (numbers) =>
    document.querySelectorAll("a.turn, a.numbered").forEach((link) => {
      const place = link.querySelector(".number") ?? link.appendChild(document.createElement("span"));
      place.className = "number";
      place.textContent = numbers[link.hash.slice(1)] ?? "000";
    });

  const count = (selector) => document.querySelectorAll(selector).length;
  const found = { across: 0, smaller: 0, figures: count("figure"), tables: count("table"), wide: [] };
  document.querySelectorAll("table").forEach((table) => {
    const box = table.closest(".results-table, .pst-scrollable-table-container") ?? table;
    const by = room(box) / table.getBoundingClientRect().width;
    if (by >= 0.999) return;
    if (by < SMALLEST) {
      box.classList.add("across");
      found.across += 1;
    } else found.smaller += 1;
    // Smaller columns break their words elsewhere: measured again until it fits.
    for (let size = 1, tries = 0; tries < 4; tries += 1) {
      const wide = (box.classList.contains("across") ? ACROSS : room(box)) / table.getBoundingClientRect().width;
      if (wide >= 0.999) break;
      size *= wide;
      shrink(table, size);
    }
  });
  document.querySelectorAll(".cell_output pre, .typeset, .formula").forEach((box) => {
    const inner = box.scrollWidth;
    if (inner <= box.clientWidth + 1 || box.closest(".across")) return;
    const content = box.firstElementChild ?? box;
    (content.tagName === "math" ? content : box).style.fontSize = `${Math.floor((97 * box.clientWidth) / inner)}%`;
    found.smaller += 1;
  });

  // A formula in a sentence is one piece, and none of it can be broken.
  document.querySelectorAll("p math, li math, dd math").forEach((formula) => {
    const by = room(formula.closest("p, li, dd").firstElementChild ?? formula) / formula.getBoundingClientRect().width;
    if (by >= 1) return;
    formula.style.fontSize = `${Math.floor(107 * by)}%`; // of the text; it has 110 % of it otherwise
    found.smaller += 1;
  });

  const column = document.querySelector(".bd-article").getBoundingClientRect();
  document.querySelectorAll(".bd-article *").forEach((element) => {
    const place = element.getBoundingClientRect();
    const limit = element.closest(".across") ? column.left + ACROSS : column.right;
    const within = element.parentElement.closest("math, svg");
    if (place.width === 0 || within) return;
    if (place.right > limit + 1.5 || place.left < column.left - 1.5) {
      const words = element.textContent.trim().replace(/\s+/g, " ").slice(0, 50);
      const chapter = element.closest(".chapter")?.style.page;
      found.wide.push(`${chapter}: <${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${words}`);
    }
  });
  return found;
}
