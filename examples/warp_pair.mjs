// An exported model in a program without Python: the warp of one background onto one frame, by onnxruntime-node.
//
//     npm install onnxruntime-node
//     node warp_pair.mjs model.onnx moving.f32 fixed.f32 ROWS COLUMNS moved.f32
//
// The frames are raw float32 in [0, 1], row by row, iodine dark. Prints the warp's range, and writes the moved background.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const ort = createRequire(process.cwd() + "/")("onnxruntime-node");
const [model, moving, fixed, rowsText, columnsText, out] = process.argv.slice(2);
const [rows, columns] = [Number(rowsText), Number(columnsText)];

function readFrame(path) {
  const bytes = readFileSync(path);
  if (bytes.length !== 4 * rows * columns) throw new Error(`${path}: expected ${rows} x ${columns} float32, got ${bytes.length} bytes`);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

// moved(x) = frame(x + warp(x)), bilinear; beyond the border the edge pixels go on.
function warpFrame(frame, warp) {
  const clamp = (value, last) => Math.min(Math.max(value, 0), last);
  return Float32Array.from(frame, (_, pixel) => {
    const row = clamp(Math.floor(pixel / columns) + warp[2 * pixel], rows - 1);
    const column = clamp((pixel % columns) + warp[2 * pixel + 1], columns - 1);
    const [top, left] = [Math.floor(row), Math.floor(column)];
    const [bottom, right] = [Math.min(top + 1, rows - 1), Math.min(left + 1, columns - 1)];
    const across = (line) => frame[line * columns + left] * (1 - column + left) + frame[line * columns + right] * (column - left);
    return across(top) * (1 - row + top) + across(bottom) * (row - top);
  });
}

const session = await ort.InferenceSession.create(model);
const background = readFrame(moving);
const tensor = (frame) => new ort.Tensor("float32", frame, [1, rows, columns, 1]);
const { warp } = await session.run({ moving: tensor(background), fixed: tensor(readFrame(fixed)) });
const [least, most] = warp.data.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [0, 0]);
console.log(`warp ${warp.dims.join(" x ")}: ${least.toFixed(2)} to ${most.toFixed(2)} pixels`);
writeFileSync(out, new Uint8Array(warpFrame(background, warp.data).buffer));
