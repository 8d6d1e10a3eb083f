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

  // --- "Is something wrong here?" at the end of each section, with the section's name in the issue.
  const offerReports = (article) => {
    const issues = article.dataset.issues;
    if (!issues) return;
    article.querySelectorAll("section > h2").forEach((heading) => {
      const section = heading.parentElement;
      const name = heading.firstChild?.textContent.trim() ?? "";
      const page = document.querySelector("h1")?.firstChild?.textContent.trim() ?? document.title;
      const address = `${location.origin}${location.pathname}#${section.id}`;
      const query = new URLSearchParams({
        title: `${page}: ${name}`,
        body: `In ${address}\n\nWhat is wrong, and what should stand there instead:\n\n`,
      });
      const link = make("a", { href: `${issues}/new?${query}`, textContent: "Is something wrong here?" });
      link.ariaLabel = `Is something wrong here? Section “${name}”`;
      section.append(make("p", { className: "report" }, link));
    });
  };

  // --- A figure in full size, in a dialog that the browser closes with Escape.
  const offerZoom = (article) => {
    const dialog = make("dialog", { className: "zoom" });
    const close = make("button", { type: "button", className: "zoom-close", textContent: "Close" });
    const place = make("div", { className: "zoom-place" });
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
        // Its definitions keep their names: those of the page are the same, so either will do.
        place.replaceChildren(svg.cloneNode(true));
        dialog.ariaLabel = title;
        dialog.showModal();
      });
      picture.append(button);
    });
  };

  // --- What a link leads to: a theorem, an equation, a figure or a reference, beside the link.
  // WCAG 1.4.13: it opens on focus, too, stays while the pointer is on it, and Escape closes it.
  const WAIT = 250; // milliseconds before it opens, and before it closes
  const KINDS = ".proof, .exercise, figure, div.math, div.citation, .dl, li[id], .admonition";
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
    const page = here ? document : await read(link.href.split("#")[0]);
    const target = page?.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) return null;
    // Sphinx puts the name of an equation or figure on it, on a span before it, or on the block around it.
    const near = [target, target.nextElementSibling, target.firstElementChild, target.closest(KINDS)];
    const found = near.find((node) => node?.matches?.(KINDS));
    if (!found) return null;
    const copy = document.importNode(found, true);
    copy.removeAttribute("id");
    copy.querySelectorAll("[id]").forEach((node) => node.closest("svg") || node.removeAttribute("id"));
    copy.querySelectorAll(".headerlink, .zoom-open, .copybtn, details, .report").forEach((node) => node.remove());
    copy.querySelectorAll("[src]").forEach((node) => node.setAttribute("src", new URL(node.getAttribute("src"), link.href)));
    return { copy, raw: !here };
  };

  const offerPreviews = (article) => {
    const box = make("div", { className: "preview", hidden: true, id: "preview" });
    box.setAttribute("role", "tooltip");
    // In the article, whose style it takes.
    article.append(box);
    let link = null;
    let timer = 0;

    const close = () => {
      box.hidden = true;
      link?.removeAttribute("aria-describedby");
      link = null;
    };
    const open = async (wanted) => {
      const found = await find(wanted);
      if (link !== wanted || !found) return;
      box.replaceChildren(found.copy);
      box.hidden = false;
      if (found.raw) await window.MathJax?.typesetPromise?.([box]);
      if (link !== wanted) return;
      wanted.setAttribute("aria-describedby", "preview");
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
      wanted.addEventListener("pointerleave", () => later(close));
      wanted.addEventListener("focus", () => enter(wanted));
      wanted.addEventListener("blur", () => later(close));
    });
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", () => later(close));
    addEventListener("keydown", (event) => event.key === "Escape" && close());
  };

  // --- A table that its reader sorts: a button in each head, three states, and the way it came.
  const offerSorting = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const rank = (row, column) => Number(row.cells[column].querySelector("[data-rank]")?.dataset.rank ?? 0);
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!body.querySelector(`td:nth-child(${column + 1}) [data-rank]`)) return;
      const button = make("button", { type: "button" }, ...head.querySelector("p").childNodes);
      head.querySelector("p").replaceChildren(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "none" }[head.ariaSort] ?? "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.ariaSort = next;
        const sign = next === "descending" ? -1 : 1;
        const sorted = next === "none" ? rows : [...rows].sort((a, b) => sign * (rank(a, column) - rank(b, column)));
        body.append(...sorted);
      });
    });
  };

  const start = () => {
    const article = document.querySelector("article.bd-article");
    if (!article) return;
    const ways = article.querySelector("nav.ways");
    article.dataset.issues = ways?.dataset.issues ?? "";
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
