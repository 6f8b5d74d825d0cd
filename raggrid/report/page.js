"use strict";
// Draws every chart of the page. The drawing library is in the script element before this one.
const failures = [];
const drawings = [...document.querySelectorAll("script[data-chart]")].map((script) =>
  vegaEmbed("#" + script.dataset.chart, JSON.parse(script.textContent), { actions: false, renderer: "svg" })
    .catch((error) => { failures.push(error); console.error(error); }));
Promise.all(drawings).then(() => {
  document.body.dataset.drawn = String(drawings.length - failures.length);
});
// Paper is narrower than the window: let the charts resize.
window.matchMedia("print").addEventListener("change", () => window.dispatchEvent(new Event("resize")));
