"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const form = $("form");
  const text = $("text");
  const dials = ["o_bias", "threshold"].map($).filter(Boolean);
  const trained = new Map(dials.map((dial) => [dial, dial.value]));
  const hues = new Map();
  let asked = 0;
  let timer = 0;

  function hue(label) {
    if (!hues.has(label)) hues.set(label, Math.round((200 + hues.size * 137.5) % 360));
    return hues.get(label);
  }

  function show(shown, entities) {
    // Offsets count characters; JavaScript counts units of UTF-16
    const chars = Array.from(shown);
    const nodes = [];
    let at = 0;
    for (const entity of entities) {
      nodes.push(chars.slice(at, entity.start).join(""));
      const mark = document.createElement("mark");
      mark.textContent = chars.slice(entity.start, entity.end).join("");
      mark.style.setProperty("--hue", hue(entity.label));
      const told = document.createElement("small");
      const sure = entity.confidence === null ? "" : ` ${entity.confidence.toFixed(2)}`;
      told.textContent = entity.label + sure;
      mark.append(told);
      nodes.push(mark);
      at = entity.end;
    }
    nodes.push(chars.slice(at).join(""));
    $("result").replaceChildren(...nodes);
  }

  async function annotate() {
    const mine = ++asked;
    const shown = text.value;
    const body = { text: shown };
    for (const dial of dials) {
      // One that was not moved is left to the pipeline
      if (dial.value !== trained.get(dial)) body[dial.id] = Number(dial.value);
    }
    const headers = { "Content-Type": "application/json" };
    if ($("token")) headers.Authorization = `Bearer ${$("token").value}`;
    let problem = "";
    let entities = [];
    const started = performance.now();
    try {
      const answer = await fetch("annotate", { method: "POST", headers, body: JSON.stringify(body) });
      const content = await answer.json();
      if (answer.ok) {
        entities = content.documents[0].entities;
        problem = content.documents[0].error || "";
      } else {
        problem = typeof content.detail === "string" ? content.detail : JSON.stringify(content.detail);
      }
    } catch (error) {
      problem = "The server does not answer.";
    }
    if (mine !== asked) return; // a later request is on its way
    $("problem").textContent = problem;
    show(problem ? "" : shown, entities);
    const n = entities.length;
    $("told").textContent = problem
      ? ""
      : `${n} ${n === 1 ? "entity" : "entities"}, ${Math.round(performance.now() - started)} ms`;
  }

  function tell() {
    for (const dial of dials) $(`${dial.id}_told`).value = Number(dial.value).toFixed(2);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    annotate();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      annotate();
    }
  });
  $("example").addEventListener("change", (event) => {
    text.value = event.target.value;
    annotate();
  });
  for (const dial of dials) {
    dial.addEventListener("input", () => {
      tell();
      clearTimeout(timer);
      timer = setTimeout(annotate, 150);
    });
  }
  if ($("reset")) {
    $("reset").addEventListener("click", () => {
      for (const dial of dials) dial.value = trained.get(dial);
      tell();
      annotate();
    });
  }
  // What a slider can't show exactly is the pipeline's own value all the same
  for (const dial of dials) trained.set(dial, dial.value);
  tell();
  if (!$("token")) annotate();
})();
