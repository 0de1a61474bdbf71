"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const { key, names, samples } = JSON.parse($("audit-data").textContent);
  const list = $("doubts");
  const who = $("who"), status = $("status"), progress = $("progress");
  const cards = [...list.children].map((card, number) => ({
    card, number, sample: samples[number], choices: [...card.querySelectorAll("fieldset")],
  }));
  const all = cards.flatMap((one) => one.choices.map((field, place) => ({ field, place, one })));
  let state = cards.map(() => ({ choices: [], edit: null }));
  let kept = true, current = null, opened = null;

  // What is decided stays in this browser, under a key of this very page.
  const stored = () => {
    try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
  };
  const keep = () => {
    try { localStorage.setItem(key, JSON.stringify({ who: who.value, state })); } catch { kept = false; }
  };
  const valid = (before) => Array.isArray(before?.state) && before.state.length === state.length
    && before.state.every((one) => one && Array.isArray(one.choices)
      && (one.edit === null || (Array.isArray(one.edit?.labels) && one.edit.labels.every((name) => names.includes(name)))));

  const decision = (kind, labels) => ({ kind, labels, who: who.value.trim(), when: new Date().toISOString() });
  const decided = ({ one, place }) => Boolean(state[one.number].edit || state[one.number].choices[place]);
  const touched = (number) => state[number].edit || state[number].choices.some(Boolean);
  const labelsAfter = ({ number, sample }) => {
    const { edit, choices } = state[number];
    if (edit) return names.filter((name) => edit.labels.includes(name));
    const flipped = new Set(sample.doubts.filter((_, place) => choices[place]?.kind === "accept").map((doubt) => doubt.label));
    return names.filter((name) => sample.given.includes(name) !== flipped.has(name));
  };

  const show = (one) => {
    const { edit, choices } = state[one.number];
    one.choices.forEach((field, place) => {
      for (const radio of field.querySelectorAll("input")) radio.checked = !edit && choices[place]?.kind === radio.value;
      field.classList.toggle("decided", decided({ one, place }));
    });
    const outcome = one.card.querySelector(".outcome");
    outcome.hidden = !touched(one.number);
    outcome.textContent = `${edit ? "Edited. " : ""}Labels then: ${labelsAfter(one).join(", ") || "none"}`;
    one.card.querySelector(".undo").hidden = !touched(one.number);
  };
  const count = () => {
    const done = all.filter(decided).length;
    progress.textContent = `${done} of ${all.length} decided`;
    $("save").disabled = !state.some((_, number) => touched(number));
  };
  const changed = (one, told) => {
    show(one);
    count();
    keep();
    status.textContent = kept ? told : `${told} This browser keeps nothing: save before you close the page.`;
  };
  const decide = (choice, kind) => {
    const { one, place } = choice, before = state[one.number];
    before.edit = null;
    before.choices[place] = decision(kind);
    const { label } = one.sample.doubts[place];
    changed(one, `${kind === "accept" ? "Accepted" : "Kept"}: ${label || "all labels"} of ${one.sample.id}.`);
  };
  const undo = (one) => {
    state[one.number] = { choices: [], edit: null };
    changed(one, `Undone: ${one.sample.id}.`);
  };

  // The order of the page is that of the cards, whichever are hidden.
  const inOrder = () => [...list.children].flatMap((card) => all.filter(({ one }) => one.card === card));
  const visible = () => inOrder().filter(({ field, one }) => !one.card.hidden && !field.hidden);
  const focus = (choice) => {
    if (!choice) return;
    current?.field.classList.remove("current");
    current = choice;
    choice.field.classList.add("current");
    choice.field.focus({ preventScroll: true });
    choice.field.scrollIntoView({ block: "center" });
  };
  const active = () => {
    const field = document.activeElement?.closest?.("#doubts fieldset");
    const shown = visible();
    return all.find((choice) => choice.field === field)
      ?? (shown.includes(current) ? current : null) ?? shown.find((choice) => !decided(choice)) ?? shown[0];
  };
  const move = (step) => {
    const shown = visible();
    if (!shown.length) return;
    const place = shown.indexOf(current);
    focus(place < 0 ? shown[step > 0 ? 0 : shown.length - 1] : shown[Math.min(Math.max(place + step, 0), shown.length - 1)]);
  };
  const nextUndecided = (after) => {
    const shown = visible(), place = shown.indexOf(after);
    const next = [...shown.slice(place + 1), ...shown.slice(0, place + 1)].find((choice) => !decided(choice));
    if (next) focus(next);
    else status.textContent += " No undecided doubt is left here.";
  };

  // Filters and order.
  const arrange = () => {
    const label = $("label").value, kind = $("kind").value, only = $("state").value;
    let shown = 0;
    for (const one of cards) {
      one.choices.forEach((field, place) => {
        const doubt = one.sample.doubts[place], done = decided({ one, place });
        field.hidden = (label !== "" && names[label] !== doubt.label) || (kind !== "" && kind !== doubt.kind)
          || (only === "undecided" && done) || (only === "decided" && !done);
      });
      one.card.hidden = one.choices.every((field) => field.hidden);
      shown += one.card.hidden ? 0 : 1;
    }
    $("shown").textContent = `${shown} of ${cards.length} samples shown`;
  };
  const orders = {
    doubt: (one) => one.number,
    many: (one) => -one.sample.doubts.filter((doubt) => doubt.label).length,
    confidence: (one) => one.sample.confidence,
    id: (one) => one.sample.id,
  };
  const sort = () => {
    const by = orders[$("order").value];
    const compare = (a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : a.number - b.number);
    list.append(...[...cards].sort(compare).map(({ card }) => card));
  };

  // Editing all labels of a sample, and looking at its picture.
  const edit = (one) => {
    opened = one;
    const now = labelsAfter(one);
    $("edit-title").textContent = `Labels of ${one.sample.id}`;
    const order = [...now, ...names.filter((name) => !now.includes(name))];
    $("edit-labels").replaceChildren(...order.map((name) => {
      const item = document.createElement("li"), label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = now.includes(name);
      box.dataset.name = name;
      label.append(box, ` ${name}`);
      item.append(label);
      return item;
    }));
    $("edit-find").value = "";
    $("edit").showModal();
  };
  const useEdited = () => {
    const boxes = [...$("edit-labels").querySelectorAll("input:checked")];
    state[opened.number] = { choices: [], edit: decision("edit", boxes.map((box) => box.dataset.name)) };
    $("edit").close();
    changed(opened, `Edited: ${opened.sample.id}.`);
    nextUndecided(all.findLast((choice) => choice.one === opened));
  };
  const enlarge = (one) => {
    const picture = one.card.querySelector("img");
    if (!picture) return;
    $("large").src = picture.src;
    $("large").alt = picture.alt;
    $("picture-title").textContent = one.sample.id;
    $("picture").showModal();
  };

  // The file: what a spreadsheet would run, or a terminal obey, is written out, as safe_text.csv_cell does.
  const isControl = (character) => /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Cf}]/u.test(character) && !"\u200c\u200d".includes(character);
  const escaped = (character) => {
    const code = character.codePointAt(0), hex = (width) => code.toString(16).padStart(width, "0");
    if (character === "\r") return "\\r";
    return code < 0x100 ? `\\x${hex(2)}` : code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
  };
  const cell = (text) => {
    const hidden = (character) => isControl(character) && !"\t\n".includes(character);
    let safe = text;
    if ([...text.replaceAll("\r\n", "\n")].some(hidden)) {
      safe = `'\\${[...text.replaceAll("\\", "\\\\")].map((one) => (hidden(one) ? escaped(one) : one)).join("")}`;
    } else if (/^['\t\n\r]/.test(text) || /^[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text.trimStart())) {
      safe = `'${text}`;
    }
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const labelCell = (labels) => labels.map((name) => name.replace(/[\\;:]/g, "\\$&")).join(";");
  const lines = () => cards.filter(({ number }) => touched(number)).flatMap((one) => {
    const { edit: edited, choices } = state[one.number];
    const made = edited ? [["", edited]]
      : one.sample.doubts.map(({ label }, place) => [label, choices[place]]).filter(([, choice]) => choice);
    return made.map(([label, choice]) => [
      one.sample.id, label, labelCell(one.sample.given), choice.kind, labelCell(labelsAfter(one)),
      choice.who || who.value.trim(), choice.when,
    ].map(cell).join(","));
  });
  const save = () => {
    if (!who.value.trim()) {
      status.textContent = "Say who decided: your name goes into the file.";
      who.setAttribute("aria-invalid", "true");
      who.focus();
      return;
    }
    const content = ["id,label,given,decision,new_labels,who,when", ...lines(), ""].join("\r\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    link.download = "corrections.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    status.textContent = "Saved corrections.csv. Next: scbch fix DATA corrections.csv --out NEW";
  };

  const keys = {
    a: () => act("accept"), k: () => act("keep"),
    e: () => { const choice = active(); if (choice) edit(choice.one); },
    u: () => { const choice = active(); if (choice) undo(choice.one); },
    z: () => { const choice = active(); if (choice) enlarge(choice.one); },
    n: () => move(1), p: () => move(-1), s: save,
  };
  const act = (kind) => {
    const choice = active();
    if (!choice?.field.querySelector(`input[value="${kind}"]`)) return;
    decide(choice, kind);
    nextUndecided(choice);
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !$("keys").checked) return;
    if (document.querySelector("dialog[open]") || event.target.closest?.("input:not([type=radio], [type=checkbox]), select")) return;
    const action = keys[event.key.toLowerCase()];
    if (action) {
      event.preventDefault();
      action();
    }
  });

  for (const choice of all) {
    choice.field.addEventListener("change", (event) => decide(choice, event.target.value));
    choice.field.addEventListener("focusin", () => {
      current?.field.classList.remove("current");
      current = choice;
      choice.field.classList.add("current");
    });
  }
  for (const one of cards) {
    one.card.querySelector(".edit").addEventListener("click", () => edit(one));
    one.card.querySelector(".undo").addEventListener("click", () => undo(one));
    one.card.querySelector(".enlarge")?.addEventListener("click", () => enlarge(one));
  }
  const doubted = names.map((name, place) => ({
    name, place, times: all.filter(({ one, place: number }) => one.sample.doubts[number].label === name).length,
  })).filter(({ times }) => times).sort((a, b) => b.times - a.times);
  $("label").append(...doubted.map(({ name, place, times }) => new Option(`${name} (${times})`, place)));
  for (const id of ["label", "kind", "state"]) $(id).addEventListener("change", arrange);
  $("order").addEventListener("change", sort);
  $("save").addEventListener("click", save);
  $("edit-use").addEventListener("click", useEdited);
  for (const id of ["edit", "picture"]) $(`${id}-close`).addEventListener("click", () => $(id).close());
  $("edit-find").addEventListener("input", () => {
    const part = $("edit-find").value.toLowerCase();
    for (const item of $("edit-labels").children) item.hidden = !item.textContent.toLowerCase().includes(part);
  });
  who.addEventListener("input", () => { who.removeAttribute("aria-invalid"); keep(); });

  const before = stored();
  if (valid(before)) {
    state = before.state;
    who.value = typeof before.who === "string" ? before.who : "";
  }
  for (const part of document.querySelectorAll(".decide")) part.hidden = false;
  cards.forEach(show);
  count();
  arrange();
})();
