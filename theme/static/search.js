// The page of results: finds sections in the text of the book, ranks them, and shows where the words stand.
// The text is `_static/sections.js` (tools/ext/search.py), loaded by a script element: that works from a file, too.
(() => {
  "use strict";

  const STOP = new Set(
    ("a an and are as at be but by can do does for from has have how i if in into is it its me my no not of on or so than " +
      "that the their then there these they this to was we what when where which who why will with you").split(" "),
  );
  const SMALL = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ";
  const LARGE = "0123456789+-()ni";
  const INDEX = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ";
  const LINE = "0123456789+-()aehijklmnoprstuvx";
  const ENDS = ["ations", "ation", "ings", "ing", "ers", "er", "est", "ies", "ed", "es", "ly", "s", "e", "y"];
  const SHOWN = 30;
  const EXCERPT = 240;

  // A word and its forms are one: caches, cached and caching are "cach".
  const stem = (word) => {
    if (!/^[a-z]{4,}$/.test(word)) return word;
    const end = ENDS.find((tail) => word.endsWith(tail) && word.length - tail.length >= 3);
    return end ? word.slice(0, -end.length).replace(/(.)\1$/, "$1") : word;
  };

  // Words with their places. n² and n^2 are one word, and so is each power in 8nd²: "8n" and "d²".
  const POWER = "(?:\\^\\([^()\\s]{1,12}\\)|\\^[+-]?[\\p{L}\\p{N}.]+|[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+)";
  const WORD = new RegExp(`\\p{L}${POWER}|[\\p{L}\\p{N}]+?(?=\\p{L}${POWER})|[\\p{L}\\p{N}]+`, "gu");
  const SIGNS = new Map([...SMALL].map((sign, i) => [sign, LARGE[i]]).concat([...INDEX].map((sign, i) => [sign, LINE[i]])));
  const known = new Map();
  const term = (word) => {
    if (!known.has(word)) {
      const power = /^\p{L}[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]/u.test(word) ? `${word[0]}^${word.slice(1)}` : word;
      const plain = [...power].map((sign) => SIGNS.get(sign) ?? sign).join("").replace(/[()]/g, "").replace(/−/g, "-");
      known.set(word, stem(plain.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase()));
    }
    return known.get(word);
  };
  const words = (text) =>
    [...text.matchAll(WORD)].map((found) => ({ term: term(found[0]), at: found.index, end: found.index + found[0].length }));

  // Each term of a query with what else counts as it; the last one may still be being typed.
  const readQuery = (query, names = {}) => {
    const all = words(query.replace(/[\\{}$]/g, (sign) => (sign === "{" ? "(" : sign === "}" ? ")" : "")));
    const telling = all.filter((word) => !STOP.has(query.slice(word.at, word.end).toLowerCase()));
    const used = telling.length ? telling : all;
    return used.map(({ term, at, end }) => {
      const said = query.slice(at, end).toLowerCase();
      const own = Object.hasOwn(names, said) ? names[said] : "";
      return { term, typed: end === query.length && /^[a-z]{3,}$/.test(said) ? said : "", others: words(own).map((word) => word.term) };
    });
  };

  const prepare = (index) => {
    const seen = new Map();
    const sections = index.sections.map(([page, anchor, heading, text, weight], i) => {
      const body = words(text);
      const head = words(heading);
      const counts = new Map();
      for (const { term } of body) counts.set(term, (counts.get(term) ?? 0) + 1);
      const heads = new Set(head.map((word) => word.term));
      for (const term of new Set([...counts.keys(), ...heads])) seen.set(term, (seen.get(term) ?? 0) + 1);
      const [address, title] = index.pages[page];
      const first = i === 0 || index.sections[i - 1][0] !== page;
      return { address, title, anchor, heading, text, weight, body, head, counts, heads, first, titles: new Set(words(title).map((word) => word.term)) };
    });
    const length = sections.reduce((sum, section) => sum + section.body.length, 0) / Math.max(1, sections.length);
    return { sections, seen, length, names: index.names ?? {}, vocabulary: [...seen.keys()] };
  };

  // How well a section answers: BM25 for the text, more for a heading, and for words that stand together.
  const K = 1.2;
  const B = 0.6;
  const score = (section, query, book) => {
    let sum = 0;
    let found = 0;
    const long = 1 - B + (B * section.body.length) / book.length;
    for (const { forms, rare } of query) {
      let best = 0;
      for (const [form, worth] of forms) {
        const often = section.counts.get(form) ?? 0;
        const said = (often * (K + 1)) / (often + K * long);
        const headed = section.heads.has(form) ? 2.5 / Math.sqrt(Math.max(1, section.head.length / 3)) : 0;
        const titled = !section.first && section.titles.has(form) ? 0.6 : 0;
        best = Math.max(best, worth * (often || headed ? said + headed + titled : titled / 3));
      }
      if (best > 0) found += rare;
      sum += rare * best;
    }
    if (!sum) return 0;
    const share = found / query.reduce((all, { rare }) => all + rare, 0);
    return section.weight * sum * share ** 2 * (1 + together(section, query));
  };

  // Neighbours in the query that are neighbours in the text or in the heading.
  const together = (section, query) => {
    if (query.length < 2) return 0;
    const pairs = (list) => {
      let met = 0;
      for (let i = 1; i < query.length; i += 1)
        if (list.some((word, at) => query[i - 1].forms.has(word.term) && query[i].forms.has(list[at + 1]?.term))) met += 1;
      return met / (query.length - 1);
    };
    return 0.6 * pairs(section.body) + 1.2 * pairs(section.head);
  };

  const search = (book, text) => {
    const asked = readQuery(text, book.names);
    const told = (asked) => asked.map(({ term, typed, others }) => {
      const forms = new Map([[term, 1], ...others.map((other) => [other, 0.7])]);
      // The beginning of a word finds it, where the word itself is none of the book's.
      if (typed && !book.seen.has(term) && !others.length)
        for (const word of book.vocabulary) if (word.startsWith(typed)) forms.set(word, 0.6);
      const count = Math.max(0, ...[...forms.keys()].map((form) => book.seen.get(form) ?? 0));
      return { forms, rare: Math.log(1 + (book.sections.length - count + 0.5) / (count + 0.5)) };
    });
    const query = told(asked);
    // Two words that the book writes as one: flash attention.
    const joined = stem(text.replace(/[\s-]+/g, "").toLowerCase());
    const one = asked.length === 2 && book.seen.has(joined) ? told([{ term: joined, typed: "", others: [] }]) : [];
    const hits = book.sections
      .map((section) => ({ section, score: Math.max(score(section, query, book), one.length && 3 * score(section, one, book)) }))
      .filter((hit) => hit.score > 0)
      .sort((a, b) => b.score - a.score);
    return { query: [...query, ...one], hits: hits.filter((hit) => hit.score > hits[0].score * 0.04) };
  };

  // The stretch of the text with the rarest words of the query closest together, as pieces, some of them marked.
  const excerpt = (section, query) => {
    const worth = (term) => Math.max(0, ...query.map(({ forms, rare }) => (forms.has(term) ? rare : 0)));
    const marks = section.body.filter((word) => worth(word.term) > 0);
    let from = 0;
    let best = 0;
    for (const first of marks) {
      const near = new Set(marks.filter((word) => word.at >= first.at && word.end <= first.at + EXCERPT - 60).map((word) => word.term));
      const sum = [...near].reduce((all, term) => all + worth(term), 0);
      if (sum > best + 1e-9) [best, from] = [sum, first.at];
    }
    const { text } = section;
    // From the beginning of the sentence, if that is near, else of a word.
    let begin = Math.max(text.lastIndexOf(". ", from) + 2, 0);
    if (begin < 2 || text.lastIndexOf(". ", from) < 0) begin = 0;
    if (from - begin > 80) begin = text.indexOf(" ", from - 60) + 1;
    let end = Math.min(text.length, begin + EXCERPT);
    if (end < text.length) end = Math.max(text.lastIndexOf(" ", end), begin + 1);
    const pieces = [];
    let at = begin;
    for (const word of marks.filter((one) => one.at >= begin && one.end <= end)) {
      pieces.push([text.slice(at, word.at), false], [text.slice(word.at, word.end), true]);
      at = word.end;
    }
    pieces.push([text.slice(at, end), false]);
    const whole = begin === 0 || text.slice(begin - 2, begin) === ". ";
    return [[whole ? "" : "… ", false], ...pieces, [end < text.length ? " …" : "", false]].filter(([piece]) => piece);
  };

  globalThis.bookSearch = { words, stem, prepare, search, excerpt };
  if (typeof document === "undefined") return;

  const results = document.getElementById("search-results");
  const status = document.getElementById("search-status");
  const form = document.querySelector(".bd-search-container form.bd-search");
  const field = form?.querySelector("input[type=search]");
  if (!results || !status || !field) return;

  let loading;
  const load = () =>
    (loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = results.dataset.sections;
      script.onload = () => resolve(prepare(window.bookSections));
      script.onerror = () => reject(new Error("no sections"));
      document.head.append(script);
    }));

  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  const show = ({ section }, query, root) => {
    const link = element("a", "", section.heading);
    link.href = `${root}${section.address}${section.first ? "" : `#${section.anchor}`}`;
    const item = element("li", "", element("h2", "", link));
    if (!section.first) item.append(element("p", "found-in", section.title));
    const pieces = excerpt(section, query).map(([text, marked]) => (marked ? element("mark", "", text) : text));
    if (pieces.length) item.append(element("p", "context", ...pieces));
    return item;
  };

  let turn = 0;
  const answer = async (text) => {
    const mine = ++turn;
    const asked = text.trim();
    document.title = document.title.replace(/^(.* – )?/, asked ? `${asked} – ` : "");
    if (!asked) {
      results.replaceChildren();
      status.textContent = "";
      return;
    }
    let book;
    try {
      book = await load();
    } catch {
      status.textContent = "The text of the book could not be loaded. The contents beside this page list every chapter.";
      return;
    }
    if (mine !== turn) return;
    const { query, hits } = search(book, asked);
    const root = document.documentElement.dataset.content_root ?? "./";
    const list = element("ol", "", ...hits.slice(0, SHOWN).map((hit) => show(hit, query, root)));
    results.replaceChildren(...(hits.length ? [list] : []));
    const number = hits.length > SHOWN ? `${SHOWN} of ${hits.length} sections` : hits.length === 1 ? "One section" : `${hits.length} sections`;
    status.textContent = hits.length
      ? `${number} found for “${asked}”`
      : `No section has “${asked}”. Fewer or other words may find more; the contents list every chapter.`;
  };

  const ask = (text) => {
    const address = new URL(location.href);
    address.searchParams.set("q", text);
    try {
      history.replaceState(null, "", address);
    } catch {
      // A page that is a file may not have an address of its own.
    }
    answer(text);
  };

  let waiting;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => ask(field.value), 250);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    ask(field.value);
  });
  field.value = new URLSearchParams(location.search).get("q") ?? "";
  field.focus();
  field.select();
  answer(field.value);
})();
