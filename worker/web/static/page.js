// Small comforts on top of pages that work without them: live progress, reading a chart bar by bar, and the secret of
// an invitation, which comes in the address's fragment so that no server and no log sees it.
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

(function readChart() {
  const box = document.querySelector("[data-chart]");
  const rows = Array.from(document.querySelectorAll("table[data-slots] tbody tr"));
  if (!box || !rows.length) return;
  const readout = box.querySelector("[data-readout]");
  const rest = readout.innerHTML;
  const names = document.querySelector("table[data-slots] thead th:nth-child(3)").firstChild.textContent;
  let at = null;

  function point(slot) {
    at = slot;
    box.querySelectorAll(".hit.on").forEach((hit) => hit.classList.remove("on"));
    if (slot === null) {
      readout.innerHTML = rest;
      return;
    }
    box.querySelectorAll(`.hit[data-slot="${slot}"]`).forEach((hit) => hit.classList.add("on"));
    const [label, now, before, note] = Array.from(rows[slot].children, (cell) => cell.textContent.trim());
    const value = document.createElement("b");
    value.textContent = note && now === "–" ? note : `${now} kWh`;
    const more = [before === "–" ? "" : `${names} ${before} kWh`, note && now !== "–" ? note : ""];
    readout.replaceChildren(`${label} · `, value, more.filter(Boolean).map((text) => ` · ${text}`).join(""));
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
  box.addEventListener("keydown", (event) => {
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
})();

(function readInvitation() {
  const form = document.querySelector("[data-invitation]");
  const secret = window.location.hash.slice(1);
  if (!form || !secret) return;
  form.elements.invitation.value = secret;
  form.querySelector("[data-paste]").hidden = true;
  form.querySelector("[data-read]").hidden = false;
  // The address without its secret: it stays in no history and in no screenshot.
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
})();
