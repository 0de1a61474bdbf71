/**
 * Strings for text_raw.onnx, which takes normalised ones: the rules of scbch_keras.preprocessing.normalization in JavaScript.
 *
 *   import { TextPipeline } from "./scbch.js";
 *   const pipeline = new TextPipeline(await (await fetch("text_pipeline.json")).json());
 *   const text = new ort.Tensor("string", pipeline.normalize(["A red mug!"]), [1]);
 *   const { packed_codes } = await session.run({ text });
 *
 * For browsers and node, without dependencies. The tables are those of Unicode 14.0; what a newer engine knows
 * beyond it stays as it is.
 */

/** The former rule: punctuation stays with its word. */
export const WITH_PUNCTUATION = "nfkc-casefold-14";
/** The rule of new pipelines. */
export const CURRENT = "nfkc-casefold-trim-14";

// Ranges of code points, for each the gap after the one before and its length less one, in base 36.
const TABLES = {"unassigned":"oo 1 6 3 7 0 1 0 k 0 b1 0 12 1 1e 1 3 0 1j 7 r 3 6 a 7i 0 1o 1 2t d 1n 1 1d 1 f 0 s 1 1 0 b 4 v 0 2 5 6k 0 8 1 2 1 m 0 7 0 1 2 4 1 9 1 2 1 4 7 1 3 2 0 5 1 p 1 3 0 6 3 2 1 m 0 7 0 2 0 2 0 2 1 1 0 5 3 2 1 3 2 1 6 4 0 1 6 h 9 3 0 9 0 3 0 m 0 7 0 2 0 5 1 a 0 3 0 3 1 1 e 4 1 c 6 7 0 3 0 8 1 2 1 m 0 7 0 2 0 5 1 9 1 2 1 3 6 3 3 2 0 5 1 i 9 2 0 6 2 3 0 4 2 2 0 1 0 2 2 2 2 3 2 c 3 5 2 3 0 4 1 1 5 1 d l 4 d 0 3 0 n 0 g 1 9 0 3 0 4 6 2 0 3 1 1 1 4 1 a 6 m 0 3 0 n 0 a 0 5 1 9 0 3 0 4 6 2 5 2 0 4 1 a 0 2 c d 0 3 0 1f 0 3 0 6 3 g 1 q 0 3 0 i 2 o 0 9 0 1 1 7 2 1 3 6 0 1 0 8 5 a 1 3 b 1m 3 t 10 2 0 1 0 5 0 o 0 1 0 n 1 5 0 1 0 6 1 a 1 4 v 20 0 10 3 13 0 10 0 f 0 d 10 5i 0 1 4 1 1 ah 0 4 1 7 0 1 0 4 1 15 0 4 1 x 0 4 1 7 0 1 0 4 1 f 0 1l 0 4 1 1v 1 w 2 q 5 2e 1 6 1 il 2 2h 6 m 8 o 8 k b d 0 3 0 2 b 2m 1 a 5 a 5 q 5 2h 6 17 4 1y 9 v 0 c 3 c 3 1 2 16 1 5 a 18 3 q 5 b 2 1q 1 1t 0 t 1 b 5 a 5 e 1 v 1c 25 2 1b 0 38 7 1o 2 f 2 1o 6 17 1 b 7 17 4 eu 1 6 1 12 1 6 1 8 0 1 0 1 0 1 0 v 1 1h 0 f 0 e 1 6 0 j 1 3 0 9 0 2t 0 c 1 r 0 d 2 x e x e 3w 3 if o b k 1ec 1 w 0 9p 4 19 0 1 4 1 1 1k 6 2 d o 8 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 3i x q 0 2h b 5y p c 3 1s 0 2e 1 2v 4 17 0 2m 0 2c b 1b 0 mlp 2 1j 8 9o j 54 7 5n 4 2 0 1 0 5 n 1n 2 a 5 1k 7 1y 7 c 5 38 a u 2 26 0 b 3 x 0 1j 8 e 1 a 1 2v n s 9 6 1 6 1 6 8 7 0 7 0 1o 3 3i 1 a 5 8mc b n 3 1d 3 6su 1 2y 11 7 b 5 4 q 0 5 0 1 0 2 0 2 0 3h f cd 1 1i 6 1 v 16 5 1f 0 j 0 4 3 5 0 3r 1 1 0 5a 2 6 1 6 1 6 1 3 2 7 0 7 9 5 1 c 0 q 0 j 0 2 0 f 1 e x 3f 4 3 3 19 2 2g 0 d 2 1 1a 1a 3l t 2 1d e s 3 10 8 u 4 17 4 u 0 11 3 e 15 4e 1 a 5 10 3 10 3 14 7 1g a c 0 f 0 7 0 2 0 b 0 f 0 7 0 2 1u 8n 8 m 9 8 n 6 0 16 0 9 1w 6 1 1 0 18 0 2 2 1 1 n 0 20 7 9 1b j 0 2 4 x 2 r 4 1 1r 1k 3 k 1 1e 0 2 4 8 0 3 0 t 1 3 3 a 6 9 6 1s v 13 3 c 8 1i 2 t 1 r 4 q 6 4 b 7 27 21 1i 1f c 1f 6 1a 7 a 85 v 0 16 0 3 1 2 25 14 7 16 l q 11 s j n 8 26 3 10 8 1w 9 1 1 p 6 a 5 1h 0 i 7 13 8 2o 0 k a i 0 18 1s 7 0 1 0 4 0 f 0 b 5 1n 4 a 5 4 0 8 1 2 1 m 0 7 0 2 0 5 0 a 1 2 1 3 1 1 5 1 4 7 1 7 2 5 3u 2k 0 5 t 20 7 a 4l 1i 1 12 x 1x a a 5 d i 1m 5 a 1h r 1 f 3 n 54 1o 2r 2b b 8 1 1 1 8 0 2 0 u 0 2 1 c 8 a 1x 8 1 1a 1 b q 20 7 2b c 21 7a 9 0 19 0 e 9 t 2 w 1 m 0 e 20 7 0 2 0 18 2 1 0 2 0 9 7 a 5 6 0 2 0 11 0 2 0 6 6 a 8l p 52 1 e 1e c pn 2t 33 0 5 a 5g 217 2r c tr 0 9 346 g7 6ns ft 6 v 0 a 3 29 0 a 5 u 1 6 9 1y 9 a 0 7 0 l 4 j j3 2j 2s 23 3 1l 6 h 1r 5 a 2 d 4qg 7 ye 15 9 6w6 4 0 7 0 2 0 83 18 3 g 4 7 b0 1s3 2z 4 d 2 9 6 a 1 8 3mj 1a 1 n 8 38 1n 6u 9 13 1 5e k 1y 49 k b 2f 8 p 3q 2d 0 1z 0 2 1 1 1 2 1 4 0 c 0 1 0 7 0 1t 0 4 1 8 0 7 0 s 0 4 0 5 0 1 2 7 0 9g 1 84 1 ji e 5 0 f un v 68 7 0 h 1 7 0 2 0 5 5w 19 2 e 1 a 3 2 8v v g 1m 4 1 yn 7 0 4 0 2 0 f 0 5h 1 g 14 24 3 a 3 2 ls 1w 23 1p 5d 4 0 r 0 2 0 1 1 1 0 a 0 4 0 1 0 1 5 1 3 1 0 1 0 1 0 3 0 2 0 1 1 1 0 1 0 1 0 1 0 1 0 2 0 1 1 4 0 7 0 4 0 4 0 1 0 a 0 h 4 3 0 5 0 h 1f 2 7h 18 3 2s b f 1 f 0 f 0 11 9 4u 1j t c 18 3 9 6 2 d 6 49 rc 4 g 2 d 2 38 b 2h 6 c 3 1 e c 3 1k 7 a 5 14 7 u 1 2 25 9g b e 1 5 2 5 2 7 8 t 2 b 4 6 9 a 5 8 7 7 8 43 0 1j 10 a sl wyo v 37d 6 66 1 4g2 d 5rl 2e6 f2 15t 3t7 fcfp 1 t 2o 3j 6o 1e6n 1eke 1 1eke 1","punctuation":"x 1 4 3 1 3 a 1 3 0 r 2 1 0 r 0 1 0 z 0 5 0 3 0 a 1 3 0 3 0 ji 0 8 0 cy 5 15 1 1f 0 1 0 2 0 2 0 18 1 k 1 1 1 d 0 1 2 22 3 2u 0 17 d 6h 2 1i e v 0 79 1 a 0 3w 0 3c 0 3d 0 au 0 c 0 a7 0 2i 0 a 1 4o e 1 0 11 3 1z 0 22 4 4 1 33 5 4r 0 h0 8 47 0 h9 0 18 1 26 2 1z 1 4d 2 1 2 11 a 8p 1 60 1 3k 6 1 5 4s 6 s 1 3h 3 1n 4 1q 1 1s 7 b 0 n0 n 8 j 1 c 1 b u 1 e 1 hl 3 t 1 u5 d 27 1 v 9 b7 l 1r 3 w 1 l7 3 1 1 34 0 3z 1a 1 v 2 b bn 2 4 9 2 b g 0 c 0 2q 0 2i 0 mwy 1 7h 2 2r 0 a 0 37 5 ak 3 2e 1 14 2 1 0 1d 1 1b 0 2p c g 1 3g 3 3i 1 g 1 6x 0 g2a 1 5s 9 m y 1 d 1 0 4 0 1 1 45 2 1 5 1 3 a 1 3 1 q 2 1 0 r 0 1 0 1 6 be 2 ik 0 1c 0 bi 0 kn 0 5j 0 v 0 7k 8 12 0 34 6 1u 6 2h 3 ls 0 4n 4 18 3 59 6 31 1 1 3 3i 3 1c 1 27 3 4 0 d 0 1 2 2g 5 2z 0 bl 4 a 1 1 0 2w 0 6y m 2x 2 s c 24 0 3m 2 70 0 7c 2 4b 0 2k 7 2b 2 1 4 bi 4 16 1 hx 1 7a 0 vk 4 29o 1 bjv 1 3p 0 1t 4 8 0 nm 3 93 0 f5o 0 5wn 4 2xe 1","ignorable":"4t 0 ip 0 jw 0 282 1 18z 1 2d 4 1kr 4 q 4 1d 4 1 9 3ck 0 14ez f 6n 0 4g 0 11bz 3 43z 7 h406 0 u 2n 3k 6n","separators":"0 w 2m x 4bj 0 1vj a t 1 5 0 1b 0 334 0","folded":[[223,1,"ss"],[496,1,"j\u030c"],[837,1,116],[912,1,"\u03b9\u0308\u0301"],[944,1,"\u03c5\u0308\u0301"],[962,1,1],[5024,86,0],[5112,6,-8],[7296,1,-6222],[7297,1,-6221],[7298,1,-6212],[7299,2,-6210],[7301,1,-6211],[7302,1,-6204],[7303,1,-6180],[7304,1,35267],[7830,1,"h\u0331"],[7831,1,"t\u0308"],[7832,1,"w\u030a"],[7833,1,"y\u030a"],[7838,1,"ss"],[8016,1,"\u03c5\u0313"],[8018,1,"\u03c5\u0313\u0300"],[8020,1,"\u03c5\u0313\u0301"],[8022,1,"\u03c5\u0313\u0342"],[8064,1,"\u1f00\u03b9"],[8065,1,"\u1f01\u03b9"],[8066,1,"\u1f02\u03b9"],[8067,1,"\u1f03\u03b9"],[8068,1,"\u1f04\u03b9"],[8069,1,"\u1f05\u03b9"],[8070,1,"\u1f06\u03b9"],[8071,1,"\u1f07\u03b9"],[8072,1,"\u1f00\u03b9"],[8073,1,"\u1f01\u03b9"],[8074,1,"\u1f02\u03b9"],[8075,1,"\u1f03\u03b9"],[8076,1,"\u1f04\u03b9"],[8077,1,"\u1f05\u03b9"],[8078,1,"\u1f06\u03b9"],[8079,1,"\u1f07\u03b9"],[8080,1,"\u1f20\u03b9"],[8081,1,"\u1f21\u03b9"],[8082,1,"\u1f22\u03b9"],[8083,1,"\u1f23\u03b9"],[8084,1,"\u1f24\u03b9"],[8085,1,"\u1f25\u03b9"],[8086,1,"\u1f26\u03b9"],[8087,1,"\u1f27\u03b9"],[8088,1,"\u1f20\u03b9"],[8089,1,"\u1f21\u03b9"],[8090,1,"\u1f22\u03b9"],[8091,1,"\u1f23\u03b9"],[8092,1,"\u1f24\u03b9"],[8093,1,"\u1f25\u03b9"],[8094,1,"\u1f26\u03b9"],[8095,1,"\u1f27\u03b9"],[8096,1,"\u1f60\u03b9"],[8097,1,"\u1f61\u03b9"],[8098,1,"\u1f62\u03b9"],[8099,1,"\u1f63\u03b9"],[8100,1,"\u1f64\u03b9"],[8101,1,"\u1f65\u03b9"],[8102,1,"\u1f66\u03b9"],[8103,1,"\u1f67\u03b9"],[8104,1,"\u1f60\u03b9"],[8105,1,"\u1f61\u03b9"],[8106,1,"\u1f62\u03b9"],[8107,1,"\u1f63\u03b9"],[8108,1,"\u1f64\u03b9"],[8109,1,"\u1f65\u03b9"],[8110,1,"\u1f66\u03b9"],[8111,1,"\u1f67\u03b9"],[8114,1,"\u1f70\u03b9"],[8115,1,"\u03b1\u03b9"],[8116,1,"\u03ac\u03b9"],[8118,1,"\u03b1\u0342"],[8119,1,"\u03b1\u0342\u03b9"],[8124,1,"\u03b1\u03b9"],[8130,1,"\u1f74\u03b9"],[8131,1,"\u03b7\u03b9"],[8132,1,"\u03ae\u03b9"],[8134,1,"\u03b7\u0342"],[8135,1,"\u03b7\u0342\u03b9"],[8140,1,"\u03b7\u03b9"],[8146,1,"\u03b9\u0308\u0300"],[8150,1,"\u03b9\u0342"],[8151,1,"\u03b9\u0308\u0342"],[8162,1,"\u03c5\u0308\u0300"],[8164,1,"\u03c1\u0313"],[8166,1,"\u03c5\u0342"],[8167,1,"\u03c5\u0308\u0342"],[8178,1,"\u1f7c\u03b9"],[8179,1,"\u03c9\u03b9"],[8180,1,"\u03ce\u03b9"],[8182,1,"\u03c9\u0342"],[8183,1,"\u03c9\u0342\u03b9"],[8188,1,"\u03c9\u03b9"],[43888,80,-38864]]};

/** [first, last] of each range. */
function ranges(packed) {
  const numbers = packed.split(" ").map((number) => parseInt(number, 36));
  const found = [];
  for (let at = 0, next = 0; at < numbers.length; at += 2) {
    const first = next + numbers[at];
    found.push([first, first + numbers[at + 1]]);
    next = first + numbers[at + 1] + 1;
  }
  return found;
}

/** The ranges as they stand in a class of a regular expression with the flag u. */
function classOf(packed) {
  return ranges(packed)
    .map(([first, last]) => `\\u{${first.toString(16)}}-\\u{${last.toString(16)}}`)
    .join("");
}

const UNASSIGNED = new RegExp(`([${classOf(TABLES.unassigned)}]+)`, "u");
const IGNORABLE = new RegExp(`[${classOf(TABLES.ignorable)}]`, "gu");
const WORD = new RegExp(`[^${classOf(TABLES.separators)}]+`, "gu");
const PUNCTUATION = new Set(
  ranges(TABLES.punctuation).flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, offset) => String.fromCodePoint(first + offset)),
  ),
);
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Where case folding is not lower case: code point -> what it becomes. */
const FOLDED = new Map();
for (const [first, count, becomes] of TABLES.folded) {
  for (let code = first; code < first + count; code++) {
    FOLDED.set(
      String.fromCodePoint(code),
      typeof becomes === "string" ? becomes : String.fromCodePoint(code + becomes),
    );
  }
}

function folded(text) {
  let result = "";
  // One at a time: the lower case of a sigma depends on its neighbours, its case folding does not.
  for (const character of text.normalize("NFKC")) result += FOLDED.get(character) ?? character.toLowerCase();
  return result.replace(IGNORABLE, "").normalize("NFKC");
}

function trimmed(word) {
  const characters = Array.from(word);
  let [start, end] = [0, characters.length];
  while (start < end && PUNCTUATION.has(characters[start])) start++;
  while (start < end && PUNCTUATION.has(characters[end - 1])) end--;
  return characters.slice(start, end).join("");
}

/** A rule -> [the rule of its words, least and greatest length of its n-grams of characters, if it has any]. */
function parted(rule) {
  const [base, tokens] = String(rule).split("/", 2);
  const found = /^characters:([1-9])-([1-9])$/.exec(tokens ?? "");
  const known = base === CURRENT || base === WITH_PUNCTUATION;
  if (known && rule === base) return [base];
  if (known && found && found[1] <= found[2] && rule === `${base}/${tokens}`) {
    return [base, Number(found[1]), Number(found[2])];
  }
  throw new RangeError(
    `normalization must be one of ${WITH_PUNCTUATION}, ${CURRENT}, with /characters:LOW-HIGH behind it for n-grams, ` +
      `got ${String(rule)}`,
  );
}

function grams(word, low, high) {
  const characters = Array.from(word);
  if (characters.length < low) return [word];
  const found = [];
  for (let size = low; size <= high; size++) {
    for (let start = 0; start + size <= characters.length; start++) {
      found.push(characters.slice(start, start + size).join(""));
    }
  }
  return found;
}

function checkTexts(texts) {
  if (!Array.isArray(texts)) throw new TypeError(`texts must be an array of strings, got ${typeof texts}`);
  for (const [row, text] of texts.entries()) {
    if (typeof text !== "string") throw new TypeError(`texts must be strings, got ${typeof text} at ${row}`);
    if (LONE_SURROGATE.test(text)) throw new RangeError(`texts must be valid Unicode, got a lone surrogate at ${row}`);
  }
}

/** The words of a text, or n-grams, by the rule of that name. */
export function words(text, normalization = CURRENT) {
  checkTexts([text]);
  const [base, low, high] = parted(normalization);
  if (low) return words(text, base).flatMap((word) => grams(word, low, high));
  const stretches = text.split(UNASSIGNED).map((stretch, place) => (place % 2 ? stretch : folded(stretch)));
  const parts = stretches.join("").match(WORD) ?? [];
  return normalization === WITH_PUNCTUATION ? parts : parts.map(trimmed).filter((word) => word !== "");
}

/** The content of a release's text_pipeline.json, as JSON.parse gives it. */
export class TextPipeline {
  constructor(stored) {
    if (stored?.schema !== 1 || !Array.isArray(stored.vocabulary)) {
      throw new TypeError("stored must be the content of a text_pipeline.json, parsed");
    }
    parted(stored.normalization);
    this.normalization = stored.normalization;
    this.vocabulary = new Set(stored.vocabulary);
  }

  /** Texts -> what text_raw.onnx takes: their words joined by one space. */
  normalize(texts) {
    checkTexts(texts);
    return texts.map((text) => words(text, this.normalization).join(" "));
  }

  /** Texts -> the words of each that the vocabulary lacks, each once. */
  unknown(texts) {
    checkTexts(texts);
    return texts.map((text) => [
      ...new Set(words(text, this.normalization).filter((word) => !this.vocabulary.has(word))),
    ]);
  }

  /** Texts -> how many different words of the vocabulary each has; the code of a text with 0 says nothing of it. */
  known(texts) {
    checkTexts(texts);
    return texts.map(
      (text) => new Set(words(text, this.normalization).filter((word) => this.vocabulary.has(word))).size,
    );
  }
}
