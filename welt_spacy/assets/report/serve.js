"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const form = $("form");
  const text = $("text");
  const sliders = ["o_bias", "threshold"].map($).filter(Boolean);
  // The pipeline's own settings, as precisely as a slider can show them
  const defaults = new Map(sliders.map((slider) => [slider, slider.value]));
  const hues = new Map();
  let nRequests = 0;
  let timer = 0;

  function hue(label) {
    if (!hues.has(label)) hues.set(label, Math.round((200 + hues.size * 137.5) % 360));
    return hues.get(label);
  }

  function show(content, entities) {
    // Offsets count characters; JavaScript counts units of UTF-16
    const chars = Array.from(content);
    const nodes = [];
    let end = 0;
    for (const entity of entities) {
      nodes.push(chars.slice(end, entity.start).join(""));
      const mark = document.createElement("mark");
      mark.textContent = chars.slice(entity.start, entity.end).join("");
      mark.style.setProperty("--hue", hue(entity.label));
      const note = document.createElement("small");
      const confidence = entity.confidence === null ? "" : ` ${entity.confidence.toFixed(2)}`;
      note.textContent = entity.label + confidence;
      mark.append(note);
      nodes.push(mark);
      end = entity.end;
    }
    nodes.push(chars.slice(end).join(""));
    $("result").replaceChildren(...nodes);
  }

  async function annotate() {
    const request = ++nRequests;
    const content = text.value;
    const body = { text: content };
    for (const slider of sliders) {
      // The pipeline decides the value of a slider that was not moved
      if (slider.value !== defaults.get(slider)) body[slider.id] = Number(slider.value);
    }
    const headers = { "Content-Type": "application/json" };
    if ($("token")) headers.Authorization = `Bearer ${$("token").value}`;
    let problem = "";
    let entities = [];
    const started = performance.now();
    try {
      const response = await fetch("annotate", { method: "POST", headers, body: JSON.stringify(body) });
      const result = await response.json();
      if (response.ok) {
        entities = result.documents[0].entities;
        problem = result.documents[0].error || "";
      } else {
        problem = typeof result.detail === "string" ? result.detail : JSON.stringify(result.detail);
      }
    } catch (error) {
      problem = "The server does not answer.";
    }
    if (request !== nRequests) return; // a later request is pending
    $("problem").textContent = problem;
    show(problem ? "" : content, entities);
    const n = entities.length;
    $("status").textContent = problem
      ? ""
      : `${n} ${n === 1 ? "entity" : "entities"}, ${Math.round(performance.now() - started)} ms`;
  }

  function showValues() {
    for (const slider of sliders) $(`${slider.id}_value`).value = Number(slider.value).toFixed(2);
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
  for (const slider of sliders) {
    slider.addEventListener("input", () => {
      showValues();
      clearTimeout(timer);
      timer = setTimeout(annotate, 150);
    });
  }
  if ($("reset")) {
    $("reset").addEventListener("click", () => {
      for (const slider of sliders) slider.value = defaults.get(slider);
      showValues();
      annotate();
    });
  }
  showValues();
  if (!$("token")) annotate();
})();
