// Small comforts on top of pages that work without them: live progress, reading a chart bar by bar, and the secret of
// a link, which comes in the address's fragment so that no server and no log sees it.
"use strict";

(function watchProgress() {
  const box = document.querySelector("[data-progress]");
  if (!box) return;
  const told = box.querySelector("[data-told]");
  const words = (name) => box.querySelector(`template[data-${name}]`).content.textContent;
  const number = new Intl.NumberFormat(document.documentElement.lang);
  const address = box.dataset.progress;

  function show(progress) {
    let waiting = false;
    for (const [name, part] of Object.entries(progress.series)) {
      const row = box.querySelector(`[data-series="${name}"]`);
      if (!row) continue;
      row.querySelector("progress").max = part.total;
      row.querySelector("progress").value = part.done;
      row.querySelector("[data-done]").textContent = number.format(part.done);
      row.querySelector("[data-total]").textContent = number.format(part.total);
      waiting = waiting || Boolean(part.error);
    }
    if (progress.state !== "ready") return reload();
    if (waiting) told.textContent = words("waiting");
    // The first totals are there: show them, while the rest goes on arriving.
    if (box.dataset.totals === "0" && progress.series.daily && progress.series.daily.done > 0) reload();
  }
  function reload() {
    window.setTimeout(() => window.location.reload(), 400);
  }
  function finish() {
    told.textContent = words("finished");
    reload();
  }
  function poll() {
    window.setInterval(async () => {
      const answer = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => null);
      if (!answer || !answer.ok) return;
      const progress = await answer.json();
      show(progress);
      if (progress.loaded) finish();
    }, 3000);
  }

  const stream = new EventSource(`${address}/stream`);
  stream.addEventListener("progress", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("loaded", () => { stream.close(); finish(); });
  stream.addEventListener("removed", () => { stream.close(); reload(); });
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) poll(); // refused: too many watchers, or an old proxy
  });
})();

document.querySelectorAll("[data-chart]").forEach(function readChart(box) {
  const table = box.parentElement.querySelector("table[data-slots]");
  const rows = table ? Array.from(table.querySelectorAll("tbody tr")) : [];
  if (!rows.length) return;
  const heads = Array.from(table.querySelectorAll("thead th"), (head) => head.dataset);
  const readout = box.querySelector("[data-readout]");
  const rest = readout.innerHTML;
  let at = null;
  let opened = null; // The slot that the last tap has read: a finger reads a bar first, and opens it by a second tap.
  // Arrow keys and Enter reach every bar, so the key Tab need not stop at each.
  box.querySelectorAll("svg a").forEach((link) => link.setAttribute("tabindex", "-1"));

  // A cell with its column's name and unit; a column without them is a remark.
  function words(cell, column) {
    const text = cell.textContent.trim();
    if (column === 0 || "skip" in heads[column] || text === "" || text === "–") return "";
    return [heads[column].name, text, heads[column].unit].filter(Boolean).join(" ");
  }
  function point(slot) {
    at = slot;
    box.querySelectorAll(".hit.on").forEach((hit) => hit.classList.remove("on"));
    if (slot === null) {
      opened = null;
      readout.innerHTML = rest;
      return;
    }
    box.querySelectorAll(`.hit[data-slot="${slot}"]`).forEach((hit) => hit.classList.add("on"));
    const cells = Array.from(rows[slot].children);
    const told = cells.map(words);
    const remark = told[told.length - 1];
    const value = document.createElement("b");
    value.textContent = told[1] || remark || "–";
    const more = told.slice(2).filter((text) => text && text !== value.textContent);
    readout.replaceChildren(`${cells[0].textContent.trim()} · `, value, more.map((text) => ` · ${text}`).join(""));
  }
  box.addEventListener("pointerover", (event) => {
    const hit = event.target.closest(".hit");
    if (hit) point(Number(hit.dataset.slot));
  });
  box.addEventListener("pointerdown", (event) => {
    const hit = event.target.closest(".hit");
    if (hit) point(Number(hit.dataset.slot));
  });
  box.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") point(null);
  });
  box.addEventListener("click", (event) => {
    const hit = event.target.closest("a .hit");
    if (!hit || event.pointerType !== "touch" || opened === hit.dataset.slot) return;
    event.preventDefault();
    opened = hit.dataset.slot;
  });
  box.addEventListener("keydown", (event) => {
    const link = at === null ? null : box.querySelector(`a:has(> [data-slot="${at}"])`);
    if (event.key === "Enter" && event.target === box && link) window.location.assign(link.href.baseVal);
    const last = rows.length - 1;
    const to = {
      ArrowRight: at === null ? 0 : Math.min(at + 1, last),
      ArrowLeft: at === null ? last : Math.max(at - 1, 0),
      Home: 0,
      End: last,
      Escape: null,
    };
    if (!(event.key in to)) return;
    event.preventDefault();
    point(to[event.key]);
  });
  box.addEventListener("blur", () => point(null));
});

(function showSection() {
  // On a phone, the navigation of a meter's page is wider than the window.
  const current = document.querySelector(".sections [aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.offsetLeft - 16;
})();

(function readSecret() {
  const form = document.querySelector("[data-secret]");
  const secret = window.location.hash.slice(1);
  if (!form || !secret) return;
  form.querySelector("[data-paste] input").value = secret;
  form.querySelector("[data-paste]").hidden = true;
  form.querySelector("[data-read]").hidden = false;
  // The address without its secret: it stays in no history and in no screenshot.
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
})();
