"use strict";
// Asks for the state every two seconds and shows it. All text goes in as text, never as HTML.
const SECONDS = 2;
const byId = (id) => document.getElementById(id);
const drawn = new Map(); // chart id -> {text of its specification, view}
let version = "";
let last = 0;
// The drawing library takes the server some seconds to put together: numbers do not wait for it.
const library = new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.type = "module"; // whose names are its own
  script.src = "/vega.js";
  script.onload = resolve;
  script.onerror = reject;
  document.head.append(script);
});

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function table(head, rows) {
  const made = element("table");
  const top = made.createTHead().insertRow();
  head.forEach((cell) => top.append(element("th", cell)));
  const body = made.createTBody();
  rows.forEach((row) => {
    const line = body.insertRow();
    if (row.error) line.title = row.error;
    row.cells.forEach((cell, place) => {
      const made = element("td", cell);
      if (head[place] === "step" && row.share !== null) {
        made.className = "steps";
        made.style.setProperty("--share", (100 * row.share).toFixed(1) + "%");
      }
      if (place === row.cells.length - 1) made.className = row.status;
      line.append(made);
    });
  });
  return made;
}

function facts(found) {
  return Object.entries(found).map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  });
}

function answer(found) {
  const made = element("div", undefined, "answer " + found.grade);
  const name = element("p");
  name.append(element("span", found.name, "name"), element("span", found.grade, "grade"));
  made.append(element("h3", found.question), name, element("p", found.reason));
  return made;
}

function bar(id, share) {
  const meter = byId(id).parentElement;
  meter.hidden = share === null;
  byId(id).style.width = (100 * (share || 0)).toFixed(1) + "%";
  meter.setAttribute("aria-valuenow", String(Math.round(100 * (share || 0))));
}

function section(id, nodes) {
  byId(id).replaceChildren(...nodes);
  byId(id + "-section").hidden = nodes.length === 0;
}

async function chart(group, found) {
  const text = JSON.stringify(found.spec);
  const before = drawn.get(found.id);
  if (before && before.text === text) return;
  let place = byId("chart-" + found.id);
  if (!place) {
    const figure = element("figure");
    if (found.title) figure.append(element("h3", found.title));
    place = element("div", undefined, "chart");
    place.id = "chart-" + found.id;
    figure.append(place);
    if (found.about) figure.append(element("figcaption", found.about, "note"));
    byId(group).append(figure);
  }
  if (before) before.view.finalize();
  const result = await window.vegaEmbed(place, found.spec, { actions: false, renderer: "svg" });
  drawn.set(found.id, { text, view: result });
}

async function charts(groups) {
  await library;
  for (const [group, found] of Object.entries(groups)) {
    byId(group + "-section").hidden = found.length === 0; // before drawing: a hidden chart has no width
    for (const each of found) await chart(group, each);
  }
}

async function show(state) {
  document.title = `${Math.floor(100 * state.share_done)}% ${state.name}`;
  byId("name").textContent = state.name;
  byId("condition").textContent = state.told;
  byId("condition").className = "badge " + state.condition;
  byId("done").className = state.condition === "complete" ? "complete-bar" : "";
  bar("done", state.share_done);
  bar("budget", state.budget_share);
  byId("facts").replaceChildren(...facts(state.facts));
  byId("sentences").replaceChildren(...state.sentences.map((text) => element("li", text)));
  section("advice", state.advice.map(answer));
  section("running", state.running.length ? [table(state.head, state.running)] : []);
  section("ended", state.ended.length ? [table(state.head, state.ended)] : []);
  byId("hidden").textContent = state.hidden ? `${state.hidden} earlier ones are not listed.` : "";
  last = Date.now();
  if (state.charts) await charts(state.charts);
  version = state.version;
}

async function look() {
  try {
    const response = await fetch("/state.json?known=" + encodeURIComponent(version));
    const state = await response.json();
    if (state.problem) throw new Error(state.problem);
    await show(state);
    byId("fresh").className = "note";
    document.body.dataset.shown = version;
  } catch (error) {
    byId("fresh").className = "problem";
    byId("fresh").textContent = error instanceof TypeError ? "raggrid watch has ended, or cannot be reached." : error.message;
  }
  setTimeout(look, 1000 * SECONDS);
}

setInterval(() => {
  const age = Math.round((Date.now() - last) / 1000);
  if (last && byId("fresh").className === "note") byId("fresh").textContent = `seen ${age} s ago`;
}, 1000);
look();
