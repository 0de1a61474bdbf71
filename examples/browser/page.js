// ?release=FOLDER/&codes=FILE.npy&pictures=FOLDER/&words=TEXT, all beside this page.
import * as ort from "./ort/ort.wasm.min.mjs";
import { openCodes, openRelease, search } from "./codes.js";

const RESULTS = 24;
const [form, words, button, file, status, results] = ["form", "#words", "button", "#file", "#status", "#results"].map(
  (selector) => document.querySelector(selector),
);
const settings = new URLSearchParams(location.search);
/** A place beside this page: what is shared as a link must not fetch from elsewhere. */
function place(name, standard) {
  const url = new URL(settings.get(name) ?? standard, location.href);
  if (url.origin !== location.origin) throw new Error(`${name}: expected a path on ${location.origin}, got ${url}`);
  return url.href;
}

function show(found, query, bits, unknown = []) {
  const without = unknown.length ? `, without ${unknown.join(", ")}, which the model does not know` : "";
  status.textContent = `Nearest to ${query}${without}. Random codes differ in ${bits / 2} of ${bits} bits.`;
  results.replaceChildren(
    ...found.map(({ id, distance }) => {
      const [item, picture, caption] = ["li", "img", "span"].map((name) => document.createElement(name));
      picture.src = new URL(id.split("/").map(encodeURIComponent).join("/"), place("pictures", "pictures/")).href;
      picture.alt = "";
      caption.textContent = `${id}: ${distance} bits`;
      item.append(picture, caption);
      return item;
    }),
  );
}

async function answering(work) {
  try {
    await work();
  } catch (error) {
    results.replaceChildren();
    status.textContent = error.message;
  }
}

await answering(async () => {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./ort/", location.href).href;
  const release = await openRelease(ort, place("release", "release/"));
  const codes = await openCodes(place("codes", "codes.npy"), release);
  const byWords = () =>
    answering(async () => {
      const code = await release.text(words.value);
      show(search(codes, code, RESULTS), `“${words.value}”`, release.bits, release.unknownWords(words.value));
    });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    byWords();
  });
  file.addEventListener("change", () =>
    answering(async () => {
      const code = await release.picture(file.files[0]);
      show(search(codes, code, RESULTS), file.files[0].name, release.bits);
    }),
  );
  words.disabled = button.disabled = !release.text;
  file.disabled = !release.picture;
  status.textContent = `${codes.rows} codes of ${release.bits} bits.`;
  if (release.text && settings.has("words")) {
    words.value = settings.get("words");
    await byWords();
  }
});
