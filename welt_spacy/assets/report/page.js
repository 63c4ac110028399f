"use strict";
(() => {
  const PAGE = 50;
  const { labels, sentences } = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  const status = document.getElementById("status");
  const hue = new Map(labels.map((label, i) => [label, Math.round((200 + i * 137.5) % 360)]));
  let matches = [];
  let shown = 0;

  // Computed once, because each filter reads them
  for (const sentence of sentences) {
    sentence.lower = sentence.text.toLowerCase();
    sentence.labels = new Set([...sentence.gold, ...sentence.predicted].map((span) => span.label));
  }
  const counts = new Map();
  for (const sentence of sentences) {
    const types = sentence.errors.length ? sentence.errors.map((error) => error.type) : [0];
    for (const type of types) counts.set(type, (counts.get(type) || 0) + 1);
  }
  for (const place of document.querySelectorAll("[data-count]")) {
    place.textContent = `(${(counts.get(Number(place.dataset.count)) || 0).toLocaleString("en")})`;
  }

  function element(name, text, className) {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  }

  function line(side, text, spans) {
    const paragraph = element("p");
    paragraph.dataset.side = side;
    let position = 0;
    for (const span of spans) {
      paragraph.append(text.slice(position, span.start));
      const mark = element("mark", text.slice(span.start, span.end), span.right ? "" : "wrong");
      mark.style.setProperty("--hue", hue.get(span.label));
      const confidence = span.confidence === undefined ? "" : ` ${span.confidence.toFixed(2)}`;
      mark.append(element("small", span.label + confidence));
      paragraph.append(mark);
      position = span.end;
    }
    paragraph.append(text.slice(position));
    return paragraph;
  }

  function article(sentence) {
    const node = element("article");
    node.tabIndex = 0;
    const errors = sentence.errors.map((error) => error.message).join("; ");
    node.append(element("header", `doc ${sentence.doc}${errors ? `: ${errors}` : ""}`));
    node.append(line("gold", sentence.text, sentence.gold));
    node.append(line("predicted", sentence.text, sentence.predicted));
    return node;
  }

  function showMore() {
    const next = document.createDocumentFragment();
    for (const sentence of matches.slice(shown, shown + PAGE)) next.append(article(sentence));
    list.append(next);
    shown = Math.min(shown + PAGE, matches.length);
    more.hidden = shown >= matches.length;
    status.textContent =
      `${matches.length.toLocaleString("en")} of ${sentences.length.toLocaleString("en")} docs, ${shown} shown`;
  }

  function filter() {
    const chosen = new FormData(form);
    const types = new Set(chosen.getAll("type").map(Number));
    const label = chosen.get("label");
    const text = chosen.get("text").trim().toLowerCase();
    matches = sentences.filter((sentence) => {
      if (text && !sentence.lower.includes(text)) return false;
      if (!sentence.errors.length) return types.has(0) && (!label || sentence.labels.has(label));
      return sentence.errors.some(
        (error) => types.has(error.type) && (!label || error.labels.includes(label))
      );
    });
    shown = 0;
    list.replaceChildren();
    showMore();
  }

  function move(step) {
    const all = [...list.children];
    let place = all.indexOf(document.activeElement.closest("article")) + step;
    if (place >= all.length && !more.hidden) {
      showMore();
      return move(step);
    }
    place = Math.max(0, Math.min(place, all.length - 1));
    if (all[place]) all[place].focus();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  more.addEventListener("click", () => {
    const next = shown;
    showMore();
    if (list.children[next]) list.children[next].focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input[type=search], select");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    if (event.key === "/") {
      event.preventDefault();
      form.elements.text.focus();
    } else if (event.key === "j") {
      move(1);
    } else if (event.key === "k") {
      move(-1);
    }
  });
  filter();
})();
