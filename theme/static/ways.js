// Ways through a page: how far one has read, what a link leads to, a figure in full size, a place to report a fault.
// All of it is extra: the pages can be read without.
(() => {
  "use strict";

  const make = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };

  // --- How far one has read: a bar under the header, of which screen readers know already by their own means.
  const showProgress = (article) => {
    const bar = make("div", { className: "reading-progress", ariaHidden: "true" });
    document.body.append(bar);
    const update = () => {
      const { top, height } = article.getBoundingClientRect();
      const way = height - innerHeight;
      bar.style.transform = `scaleX(${way > 0 ? Math.min(1, Math.max(0, -top / way)) : 1})`;
    };
    addEventListener("scroll", update, { passive: true });
    addEventListener("resize", update);
    update();
  };

  // What a heading says, without the sign that links to it; a formula as it was written.
  const words = (heading) => {
    const copy = heading.cloneNode(true);
    copy.querySelectorAll(".headerlink").forEach((node) => node.remove());
    copy.querySelectorAll("math").forEach((node) => node.replaceWith(node.querySelector("annotation").textContent));
    return copy.textContent.replace(/\s+/g, " ").trim();
  };

  // --- "Is something wrong here?" at the end of each section, with the section's name in the issue.
  const offerReports = (article) => {
    const { issues } = article.dataset;
    if (!issues) return;
    const title = article.querySelector("h1");
    const page = title ? words(title) : document.title;
    const sections = article.querySelectorAll("section > h2");
    (sections.length ? sections : article.querySelectorAll("section > h1")).forEach((heading) => {
      const section = heading.parentElement;
      const name = words(heading);
      const address = `${article.dataset.page}#${section.id}`;
      const query = new URLSearchParams({
        title: name === page ? page : `${page}: ${name}`,
        body: `In ${address}\n\nWhat is wrong, and what should stand there instead:\n\n`,
      });
      const link = make("a", { href: `${issues}/new?${query}`, textContent: "Is something wrong here?" });
      link.ariaLabel = `Is something wrong here? Section “${name}”`;
      section.append(make("p", { className: "report" }, link));
    });
  };

  // Names within a copy are its own: a page has each but once.
  const renamed = (copy) => {
    const names = new Set([...copy.querySelectorAll("[id]")].map((node) => node.id));
    const rename = (text) => text.replace(/[\w-]+/g, (name) => (names.has(name) ? `${name}-copy` : name));
    [copy, ...copy.querySelectorAll("*")].forEach((node) => {
      if (names.has(node.id)) node.id = `${node.id}-copy`;
      for (const { name, value } of [...node.attributes])
        if (/url\(#|^#/.test(value) || name.startsWith("aria-")) node.setAttribute(name, rename(value));
    });
    return copy;
  };

  // --- A figure in full size, in a dialog that the browser closes with Escape.
  const offerZoom = (article) => {
    const dialog = make("dialog", { className: "zoom" });
    const close = make("button", { type: "button", className: "zoom-close", textContent: "Close" });
    const place = make("div", { className: "zoom-place", tabIndex: 0 });
    place.setAttribute("role", "group");
    place.ariaLabel = "The figure; it scrolls";
    dialog.append(close, place);
    document.body.append(dialog);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => place.replaceChildren());
    article.querySelectorAll(".cell_output .picture").forEach((picture) => {
      const svg = picture.querySelector("svg[role=img]");
      if (!svg) return;
      const title = svg.querySelector("title")?.textContent ?? "this figure";
      const button = make("button", { type: "button", className: "zoom-open", textContent: "Enlarge" });
      button.ariaLabel = `Enlarge: ${title}`;
      button.addEventListener("click", () => {
        place.replaceChildren(renamed(svg.cloneNode(true)));
        dialog.ariaLabel = title;
        dialog.showModal();
      });
      picture.append(button);
    });
  };

  // --- What a link leads to: a theorem, an equation, a figure or a reference, beside the link.
  // WCAG 1.4.13: it opens on focus, too, stays while the pointer is on it, and Escape closes it.
  const WAIT = 250; // milliseconds before it opens, and before it closes
  const KINDS =
    ".proof, .exercise, figure, div.math, div.citation, .dl, li[id], .admonition, .captioned, .results-table";
  const pages = new Map();

  const read = (address) => {
    if (!pages.has(address))
      pages.set(
        address,
        fetch(address)
          .then((answer) => (answer.ok ? answer.text() : ""))
          .then((text) => new DOMParser().parseFromString(text, "text/html"))
          .catch(() => null), // a book that is read from files has no other pages to ask for
      );
    return pages.get(address);
  };

  const find = async (link) => {
    const here = link.origin === location.origin && link.pathname === location.pathname;
    if (!here && location.protocol === "file:") return null; // a browser lets files ask for no others
    const page = here ? document : await read(link.href.split("#")[0]);
    const target = page?.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) return null;
    // Sphinx puts the name of an equation or figure on it, on a span before it, or on the block around it; that of
    // a table which a cell makes on the cell.
    const cell = [target, target.nextElementSibling].find((node) => node?.matches("div.cell"));
    const near = [target, target.nextElementSibling, target.firstElementChild, target.closest(KINDS)];
    if (cell) near.push(cell.querySelector(KINDS));
    const found = near.find((node) => node?.matches?.(KINDS));
    if (!found) return null;
    const copy = document.importNode(found, true);
    // What can be pressed, and what leads on from the place itself, stays there.
    const extra = ".headerlink, button, script, style, details, .report, .cited-in, .numbers, .all, [hidden]";
    copy.querySelectorAll(extra).forEach((node) => node.closest(".results-table > style") || node.remove());
    ["id", "role", "tabindex"].forEach((name) => copy.removeAttribute(name));
    copy.querySelectorAll("[id]").forEach((node) => node.closest("svg") || node.removeAttribute("id"));
    // Here the preview scrolls, and no box within it; what names a table stays behind, where its name is.
    ["tabindex", "role", "aria-label", "aria-labelledby", "data-scrolls"].forEach((name) =>
      copy.querySelectorAll(`.results-scroll[${name}], table[${name}]`).forEach((node) => node.removeAttribute(name)),
    );
    copy.querySelectorAll("[tabindex]").forEach((node) => node.removeAttribute("tabindex"));
    copy.querySelectorAll("svg").forEach(renamed);
    for (const [name, selector] of Object.entries({ src: "[src]", href: "a[href]" }))
      copy.querySelectorAll(selector).forEach((node) =>
        node.setAttribute(name, new URL(node.getAttribute(name), link.href)),
      );
    return copy;
  };

  const offerPreviews = (article) => {
    const box = make("div", { className: "preview", hidden: true, id: "preview" });
    box.setAttribute("role", "tooltip");
    // In the article, whose style it takes.
    article.append(box);
    let link = null;
    let timer = 0;

    const close = () => {
      clearTimeout(timer);
      box.hidden = true;
      link?.removeAttribute("aria-describedby");
      link = null;
    };
    const open = async (wanted) => {
      const found = await find(wanted);
      if (link !== wanted || !found) return;
      box.replaceChildren(found);
      box.hidden = false;
      wanted.setAttribute("aria-describedby", "preview");
      // What is longer than its box can be scrolled by keyboard: Tab leads there from the link.
      if (box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
      const at = wanted.getBoundingClientRect();
      const base = article.getBoundingClientRect();
      const left = Math.min(Math.max(at.left - base.left, 0), Math.max(0, base.width - box.offsetWidth));
      const above = at.bottom + box.offsetHeight + 8 > innerHeight && at.top > box.offsetHeight;
      box.style.left = `${left}px`;
      box.style.top = `${above ? at.top - base.top - box.offsetHeight - 6 : at.bottom - base.top + 6}px`;
    };
    const later = (action) => {
      clearTimeout(timer);
      timer = setTimeout(action, WAIT);
    };
    // Not while the keyboard or the pointer is on the link or in the box.
    const leave = () =>
      later(() => {
        const used = (node) => node && (node.matches(":hover") || node.contains(document.activeElement));
        if (!used(link) && !used(box)) close();
      });
    const enter = (wanted) =>
      later(() => {
        if (link === wanted) return;
        close();
        link = wanted;
        open(wanted);
      });

    article.querySelectorAll("a.reference.internal[href*='#']").forEach((wanted) => {
      if (wanted.closest(".headerlink, nav, h1, h2, h3, .preview")) return;
      wanted.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && enter(wanted));
      wanted.addEventListener("pointerleave", leave);
      wanted.addEventListener("focus", () => enter(wanted));
      wanted.addEventListener("blur", leave);
    });
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", leave);
    box.addEventListener("focusout", leave);
    addEventListener("keydown", (event) => event.key === "Escape" && close());
  };

  // --- A table that its reader sorts: a button in each head, three states, and the way it came.
  const offerSorting = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const rank = (row, column) => Number(row.cells[column].querySelector("[data-rank]")?.dataset.rank);
    // What has no rank ("never", an empty cell) stands last, whichever way.
    const order = (sign, column) => (a, b) => {
      const [x, y] = [rank(a, column), rank(b, column)];
      return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
    };
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!body.querySelector(`td:nth-child(${column + 1}) [data-rank]`)) return;
      const button = make("button", { type: "button" }, ...head.querySelector("p").childNodes);
      head.querySelector("p").replaceChildren(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "none" }[head.ariaSort] ?? "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.ariaSort = next;
        const sorted = next === "none" ? rows : [...rows].sort(order(next === "descending" ? -1 : 1, column));
        body.append(...sorted);
      });
    });
  };

  // The theme takes the focus from its button when that is pressed; a keyboard would have to start over.
  const keepFocus = () =>
    document.querySelectorAll("button.theme-switch-button").forEach((button) =>
      button.addEventListener("click", (event) => event.detail || setTimeout(() => button.focus())),
    );

  const start = () => {
    keepFocus();
    const article = document.querySelector("article.bd-article");
    if (!article) return;
    const ways = article.querySelector("nav.ways");
    article.dataset.issues = ways?.dataset.issues ?? "";
    article.dataset.page = ways?.dataset.page ?? location.href.split("#")[0];
    if (ways) {
      showProgress(article);
      offerReports(article);
    }
    article.querySelectorAll("table.sortable").forEach(offerSorting);
    offerZoom(article);
    offerPreviews(article);
  };

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
