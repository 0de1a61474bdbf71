// The search page. What comes from the data is set as text, never as HTML.
"use strict";

const STEP = 24;
const part = (id) => document.getElementById(id);
let about;
let query = { kind: "none" }; // {kind: "none" | "words" | "like" | "picture", words, row, file, name}
let shown = STEP;
let turn = 0; // answers to an earlier question are dropped

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

const number = (value) => value.toLocaleString("en");
const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;
const things = (count) => (about.has_pictures ? plural(count, "picture", "pictures") : plural(count, "item", "items"));
const labelName = (label) => about.labels[label].name;
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;

async function asked(address, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The service does not answer: it may have been ended. Start it again in the terminal, then reload this page.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const detail = typeof content.detail === "string" ? content.detail : `it answered with status ${answer.status}`;
  if (answer.status === 503 || answer.status === 504) throw new Error(`The service is busy: ${detail}. Try again in a moment.`);
  if (answer.status === 413) throw new Error(`That is too large for the service: ${detail}. Take a smaller picture or fewer words.`);
  const remedy = query.kind === "picture" ? "Take another picture, a JPEG or PNG file for example." : "Try other words, or reload the page.";
  throw new Error(`That could not be searched for: ${detail}. ${remedy}`);
}

function say(id, ...content) {
  part(id).replaceChildren(...content);
  part(id).hidden = content.length === 0;
}

function parameters() {
  const found = new URLSearchParams();
  if (part("label").value !== "") found.set("label", part("label").value);
  return found;
}

async function search() {
  const mine = ++turn;
  const k = Math.min(shown, about.max_results);
  const more = parameters();
  part("results").classList.add("waiting");
  try {
    let found;
    if (query.kind === "words") {
      found = await asked(`/page/search?${more}`, { texts: [query.words], k });
    } else if (query.kind === "picture") {
      found = await asked(`/page/search?${more}`, { pictures: [await base64(query.file)], k });
    } else {
      more.set("k", k);
      found = await asked(query.kind === "like" ? `/page/like/${query.row}?${more}` : `/page/items?${more}`);
    }
    if (mine === turn) show(found);
  } catch (error) {
    if (mine !== turn) return;
    show({ items: [], searched: 0 });
    say("notice", error.message);
    part("status").textContent = "";
  } finally {
    if (mine === turn) part("results").classList.remove("waiting");
  }
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("The picture could not be read from your disk. Choose it again."));
    reader.readAsDataURL(file);
  });
}

function show(found) {
  showQuery(found.query);
  showUnknown(found);
  const count = found.items.length;
  const label = part("label").value;
  const where = label === "" ? "" : ` with the label ${labelName(label)}`;
  const all = `${things(found.searched)}${where}`;
  part("status").textContent =
    found.known_words === 0 ? "" :
    found.searched === 0 && !(about.cannot.length && query.kind === "none") ? `There are no items${where}. Choose another label.` :
    query.kind === "none" && about.cannot.length ? (count ? `${number(count)} of ${all} that the data has` : "") :
    query.kind === "none" ? (count < found.searched ? `${number(count)} of ${all}, spread over all` : all) :
    `The ${number(count)} nearest of ${all}`;
  say("summary", ...summary(found, count));
  part("results").replaceChildren(...found.items.map((item) => card(item, found.chance)));
  part("more").hidden = !(count && count < found.searched - (query.kind === "like") && shown < about.max_results);
  const what = about.has_pictures ? "picture" : "item";
  say("legend", ...(found.chance === undefined ? [] : [
    `Distance: the Hamming distance, in how many of their ${about.bits} bits two codes differ; the shorter the bar, the nearer. ` +
    `The mark is chance: a ${what} drawn at random from the ${number(found.searched)} differs in ${found.chance.toFixed(1)} bits in the mean.`,
  ]));
}

function summary(found, count) {
  if (!found.labels || !found.labels.length) return [];
  const chance = (value) => (value < 9.95 ? value.toFixed(1) : value.toFixed(0));
  const counts = found.labels.map((one) => `${labelName(one.label)} ${one.count} (by chance ${chance(one.expected)})`);
  return [`Labels of these ${count}: ${counts.join(", ")}.`];
}

function showUnknown(found) {
  const unknown = found.unknown_words || [];
  if (query.kind !== "words") return say("notice");
  if (found.known_words === 0) {
    const what = unknown.length ? unknown.map((word) => `“${word}” is not a word of this release`).join("; ") : "There is no word in this";
    return say("notice", `${what}: there is nothing to search for. Try other words${about.examples.length ? ", such as those above" : ""}.`);
  }
  if (!unknown.length) return say("notice");
  const words = unknown.map((word) => `“${word}”`).join(", ");
  return say("notice", unknown.length === 1
    ? `${words} is not a word of this release and was left out.`
    : `${words} are not words of this release and were left out.`);
}

function showQuery(item) {
  const box = part("query");
  box.querySelectorAll("img[data-blob]").forEach((image) => URL.revokeObjectURL(image.src));
  box.replaceChildren();
  box.hidden = query.kind !== "like" && query.kind !== "picture";
  if (box.hidden) return;
  const close = element("button", { type: "button", textContent: "Back to all", onclick: () => ask({ kind: "none" }) });
  if (query.kind === "picture") {
    const image = element("img", { src: URL.createObjectURL(query.file), alt: "your picture" });
    image.dataset.blob = "";
    image.onerror = () => image.remove();
    box.append(image, element("p", { textContent: `Your picture, ${query.name}` }), close);
  } else if (item) {
    box.append(...picture(item, true), element("p", { textContent: `More like ${item.caption || item.id}` }), close);
  }
}

function picture(item, optional = false) {
  if (!about.has_pictures || item.row === null) return [];
  const image = element("img", { src: `/page/pictures/${item.row}`, alt: "", loading: "lazy", decoding: "async" });
  image.onerror = () => (optional ? image.remove() : image.replaceWith(element("span", { className: "blank", textContent: "no picture to show" })));
  return [image];
}

function card(item, chance) {
  const words = element("span", { className: "words" });
  if (item.caption) words.append(element("span", { className: "caption", textContent: item.caption, title: item.caption }));
  if (!item.caption || item.distance === undefined) words.append(element(item.caption ? "span" : "b", { className: item.caption ? "soft" : "", textContent: item.id }));
  const canLike = !about.cannot.length;
  const like = element(canLike ? "button" : "div", { className: "like", title: item.id }, ...picture(item), words);
  if (canLike) {
    like.type = "button";
    like.append(element("span", { className: "action", textContent: "More like this" }));
    like.onclick = () => ask({ kind: "like", row: item.row });
  } else {
    like.tabIndex = -1;
  }
  const made = element("li", { className: "card" }, like);
  if (item.labels.length) made.append(element("ul", { className: "labels" }, ...item.labels.map(labelButton)));
  if (item.distance !== undefined) {
    const scale = element("span", { className: "scale" }, element("i"), element("b"));
    scale.style.display = "block";
    scale.style.setProperty("--far", `${(100 * item.distance) / about.bits}%`);
    if (chance === undefined) scale.lastChild.remove();
    else scale.style.setProperty("--chance", `${(100 * chance) / about.bits}%`);
    made.append(element("p", { className: "distance" }, `distance ${item.distance} of ${about.bits} bits`,
      element("span", { className: "hidden", textContent: chance === undefined ? "" : `, by chance ${chance.toFixed(1)}` }), scale));
  }
  return made;
}

function labelButton(label) {
  const button = element("button", { type: "button", textContent: labelName(label), title: `Only items with the label ${labelName(label)}` });
  button.onclick = () => {
    part("label").value = String(label);
    ask(query);
    part("label").focus();
  };
  return element("li", {}, button);
}

// A question is kept in the address, so that back, forward and reload work; a picture cannot be.
function ask(next, keep = true) {
  query = next;
  shown = STEP;
  if (query.kind !== "words") part("words").value = "";
  if (keep) {
    const place = parameters();
    if (query.kind === "words") place.set("q", query.words);
    if (query.kind === "like") place.set("like", query.row);
    const text = place.toString();
    history.pushState(null, "", text ? `?${text}` : location.pathname);
  }
  if (query.kind === "like") window.scrollTo({ top: 0 });
  return search();
}

function askAddress() {
  const place = new URLSearchParams(location.search);
  const label = place.get("label") || "";
  part("label").value = about.labels[label] ? label : "";
  const words = place.get("q");
  const row = place.get("like");
  if (words) {
    part("words").value = words;
    return ask({ kind: "words", words }, false);
  }
  if (row && !about.cannot.length && /^\d+$/.test(row) && Number(row) < about.count) return ask({ kind: "like", row: Number(row) }, false);
  return ask({ kind: "none" }, false);
}

function take(file) {
  if (!about.takes_pictures) {
    return say("notice", "This release takes no pictures: it was made without image=. Type words instead.");
  }
  if (!file || (file.type && !file.type.startsWith("image/"))) {
    return say("notice", "That is no picture file. Drop a picture, a JPEG or PNG file for example.");
  }
  if (file.size > about.max_picture) {
    return say("notice", `This picture has ${megabytes(file.size)}, and the service takes up to ${megabytes(about.max_picture)}. Make it smaller and try again.`);
  }
  return ask({ kind: "picture", file, name: file.name || "pasted" });
}

function moved(event) {
  const stops = [...document.querySelectorAll(".card .like")];
  const place = stops.indexOf(document.activeElement);
  const columns = getComputedStyle(part("results")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -place, End: stops.length - 1 - place };
  if (event.key === "ArrowDown" && document.activeElement === part("words") && stops.length) {
    stops[0].focus();
  } else if (place >= 0 && event.key in steps) {
    const next = place + steps[event.key];
    if (next < 0 && event.key === "ArrowUp") part("words").focus();
    else stops[Math.max(0, Math.min(next, stops.length - 1))].focus();
  } else {
    return false;
  }
  return true;
}

function listen() {
  part("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = part("words").value.trim();
    if (words.length > about.max_text) return say("notice", `These are ${number(words.length)} characters; the service takes up to ${number(about.max_text)}. Shorten them.`);
    return ask(words ? { kind: "words", words } : { kind: "none" });
  });
  part("label").addEventListener("change", () => ask(query));
  part("more").addEventListener("click", () => {
    shown *= 2;
    search();
  });
  part("choose").addEventListener("click", () => part("file").click());
  part("file").addEventListener("change", () => {
    if (part("file").files.length) take(part("file").files[0]);
    part("file").value = "";
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = ["INPUT", "SELECT"].includes(document.activeElement.tagName);
    if (event.key === "/" && !typing) {
      part("words").focus();
      part("words").select();
    } else if (event.key === "Escape" && document.activeElement.classList.contains("like")) {
      part("words").focus();
    } else if (!moved(event)) {
      return;
    }
    event.preventDefault();
  });
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  window.addEventListener("popstate", askAddress);
}

function describe() {
  document.title = `Search: ${about.release}`;
  const what = about.has_pictures ? "pictures" : "items";
  part("about").textContent = `${number(about.count)} ${what}, a code of ${about.bits} bits each, by ${about.release}.${about.cannot.length ? "" : " Everything stays on this computer."}`;
  say("cannot", ...about.cannot);
  part("words").disabled = !about.takes_words;
  part("words").placeholder = about.takes_words ? `Type words to find ${what}` : "This release takes no words: it was made without text=";
  part("drop").hidden = !about.takes_pictures;
  part("filter").hidden = !about.labels.length;
  const options = about.labels.map((label, place) => element("option", { value: String(place), textContent: `${label.name} (${number(label.count)})` }));
  part("label").replaceChildren(element("option", { value: "", textContent: "all" }), ...options);
  if (about.examples.length) {
    say("examples", element("span", { className: "soft", textContent: "Try" }), ...about.examples.map((words) =>
      element("button", { type: "button", textContent: words, onclick: () => {
        part("words").value = words;
        ask({ kind: "words", words });
      } })));
  }
}

async function start() {
  try {
    about = await asked("/page/about");
  } catch (error) {
    say("notice", error.message);
    return;
  }
  describe();
  listen();
  await askAddress();
  if (about.takes_words && matchMedia("(pointer: fine)").matches) part("words").focus();
}

start();
