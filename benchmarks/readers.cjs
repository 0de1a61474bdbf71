// The ONNX files of a release, run by onnxruntime-node: node readers.cjs RELEASE FOLDER.
// FOLDER has image.f32 and text.f32 (rows of float32), strings.json (normalised strings) and sizes.json;
// NAME.packed and NAME.codes are written beside them.
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-node");

async function main(release, folder) {
  const rows = JSON.parse(fs.readFileSync(path.join(folder, "sizes.json"), "utf8"));
  const features = (name) => {
    const bytes = fs.readFileSync(path.join(folder, `${name}.f32`));
    const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    return new ort.Tensor("float32", values, [rows[name], values.length / rows[name]]);
  };
  const strings = JSON.parse(fs.readFileSync(path.join(folder, "strings.json"), "utf8"));
  const inputs = {
    image: ["image.onnx", { image: features("image") }],
    text: ["text.onnx", { text: features("text") }],
    strings: ["text_raw.onnx", { text: new ort.Tensor("string", strings, [strings.length]) }],
  };
  for (const [name, [file, feed]] of Object.entries(inputs)) {
    const session = await ort.InferenceSession.create(path.join(release, file));
    const { packed_codes, codes } = await session.run(feed);
    fs.writeFileSync(path.join(folder, `${name}.packed`), Buffer.from(packed_codes.data.buffer));
    fs.writeFileSync(path.join(folder, `${name}.codes`), Buffer.from(codes.data.buffer));
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
