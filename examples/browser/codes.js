// The encoders of a release in a browser: strings and picture files -> packed codes, those of HashEncoder bit for bit.
// What would give other bits is refused.

/** Opens a release that takes strings, pictures or both. `url`: its folder, with "/" at the end. */
export async function openRelease(ort, url) {
  const manifest = await json(`${url}manifest.json`);
  const { raw_text: text, raw_image: picture } = manifest.encoders;
  if (!text && !picture) {
    throw new Error(`${url}: expected a release that takes strings or pictures; make it with text= or image=`);
  }
  const open = (encoder) => ort.InferenceSession.create(url + encoder.onnx.path, { executionProviders: ["wasm"] });
  const release = { bits: manifest.bits, model: manifest.files["model.keras"].sha256 };
  if (text) {
    const { TextPipeline } = await import(`${url}scbch.js`);
    const pipeline = new TextPipeline(await json(url + text.pipeline.path));
    const session = await open(text);
    /** The code of a string. Throws for one of which the model knows no word. */
    release.text = async (string) => {
      if (!pipeline.known([string])[0]) throw new Error(`The model knows no word of "${string}".`);
      const input = new ort.Tensor("string", pipeline.normalize([string]), [1]);
      return (await session.run({ text: input }, ["packed_codes"])).packed_codes.data;
    };
    release.unknownWords = (string) => pipeline.unknown([string])[0];
  }
  if (picture) {
    const session = await open(picture);
    /** The code of a PNG, JPEG or WebP file, as a Blob. */
    release.picture = async (blob) => {
      const { data, height, width } = await pixels(blob);
      const input = new ort.Tensor("uint8", data, [1, height, width, 3]);
      return (await session.run({ pictures: input }, ["packed_codes"])).packed_codes.data;
    };
  }
  return release;
}

/** Codes of `scbch encode`: {codes, rows, bytes, ids}. `url`: of the .npy file. */
export async function openCodes(url, release) {
  const about = await json(`${url}.json`);
  if (about.source?.model !== release.model) throw new Error(`${url}: these are codes of another model`);
  const file = new Uint8Array(await (await fetched(url)).arrayBuffer());
  const head = new DataView(file.buffer).getUint16(8, true);
  const header = new TextDecoder().decode(file.subarray(10, 10 + head));
  const [, rows, bytes] = header.match(/'descr': '\|u1', 'fortran_order': False, 'shape': \((\d+), (\d+)\)/) ?? [];
  const codes = file.subarray(10 + head);
  if (codes.length !== rows * bytes) throw new Error(`${url}: expected packed codes, got ${header}`);
  const listed = await fetch(`${url}.ids.txt`);
  const ids = listed.ok ? (await listed.text()).split("\n").slice(0, rows) : Array.from({ length: rows }, (_, row) => `${row}`);
  return { codes, rows: Number(rows), bytes: Number(bytes), ids };
}

const ONES = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/** The nearest `k` codes: [{id, distance}], by Hamming distance, then by row. */
export function search({ codes, rows, bytes, ids }, code, k) {
  const distances = new Uint16Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let byte = 0; byte < bytes; byte++, at++) distances[row] += ONES[codes[at] ^ code[byte]];
  }
  const order = Uint32Array.from(distances.keys()).sort((a, b) => distances[a] - distances[b] || a - b);
  return Array.from(order.subarray(0, k), (row) => ({ id: ids[row], distance: distances[row] }));
}

/** RGB of a picture file, turned upright. */
async function pixels(blob) {
  check(new Uint8Array(await blob.arrayBuffer()));
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(bitmap, 0, 0);
  const rgba = canvas.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    if (rgba[from + 3] !== 255) throw new Error("Expected a picture without transparency.");
    for (let channel = 0; channel < 3; channel++) data[to++] = rgba[from + channel];
  }
  return { data, height, width };
}

/** Refuses what browsers turn into other pixels than HashEncoder's: other formats, 16 bits a channel, CMYK. */
function check(file) {
  const starts = (bytes, at = 0) => bytes.every((byte, place) => file[at + place] === byte);
  if (starts([0x89, 0x50, 0x4e, 0x47])) {
    if (file[24] === 16) throw new Error("Expected 8 bits a channel, got a PNG of 16.");
  } else if (starts([0xff, 0xd8])) {
    for (let at = 2; at + 9 < file.length && file[at] === 0xff; at += 2 + file[at + 2] * 256 + file[at + 3]) {
      const frame = file[at + 1] >= 0xc0 && file[at + 1] <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(file[at + 1]);
      if (frame && file[at + 9] === 4) throw new Error("Expected an RGB or grey JPEG, got CMYK.");
    }
  } else if (!(starts([0x52, 0x49, 0x46, 0x46]) && starts([0x57, 0x45, 0x42, 0x50], 8))) {
    throw new Error("Expected a PNG, JPEG or WebP file.");
  }
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return answer;
}

const json = async (url) => (await fetched(url)).json();
