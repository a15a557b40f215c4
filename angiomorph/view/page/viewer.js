// The page on which people look at a run. One module without dependencies: a page of its own, and a widget in a notebook.
//
// A source answers questions: ask(kind, asked, signal) gives {info, data}, see angiomorph/view/shown.py. Frames arrive as stored
// values, warps as half floats; the graphics card takes the logarithm, warps, subtracts and windows, so that moving the window or
// the run costs nothing, and another λ no more than its warps.

const UNKNOWN_TIME = 500; // ms between frames of which nothing tells the time
const FRAME_BYTES = 512 * 2 ** 20, WARP_BYTES = 384 * 2 ** 20, TEXTURE_BYTES = 384 * 2 ** 20;
const PICTURE_BYTES = 384 * 2 ** 20; // of grey pictures as they were on the screen: a machine without a graphics card replays them
const SETTLED = 300; // ms from the shown frame's warp at another λ to those of other frames
const IDLE = 500; // ms without a change, after which pictures of other frames are drawn ahead
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4, 8];
const FLICKER = 500; // ms that each picture stays
const CLICK = 3; // pixels that a click may move
const LARGEST_ZOOM = 16;
const NARROW = 860, WIDE = 1600; // pixels: below, controls stand under the pictures; from, text is larger
const AROUND = 2; // pixels on each side that a curve averages

// ---- Sources -----------------------------------------------------------------------------------------------------------------

class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  return { info: JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))), data: buffer.slice(4 + length) };
}

export class Server {
  constructor(base) {
    this.base = base;
  }

  async ask(kind, asked = {}, signal = undefined) {
    const saves = kind === "save", address = new URL(saves ? kind : `ask/${kind}`, this.base);
    address.search = new URLSearchParams(asked);
    const response = await fetch(address, { signal, cache: "no-store", method: saves ? "POST" : "GET" });
    if (response.status >= 500) throw new Error("the server is ending");
    if (!response.ok) throw new Refusal(await response.text(), response.status);
    return unpack(await response.arrayBuffer());
  }
}

export class Kernel {
  constructor(model) {
    this.model = model;
    this.waiting = new Map();
    this.asked = 0;
    model.on("msg:custom", (message, buffers) => {
      const asking = this.waiting.get(message.id);
      if (!asking) return;
      this.waiting.delete(message.id);
      if (message.error) return asking.reject(new Refusal(message.error, 400));
      const view = buffers[0];
      asking.resolve({ info: message.info, data: view ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : null });
    });
  }

  ask(kind, asked = {}) {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.model.send({ id, kind, asked });
    });
  }
}

// ---- What is kept, within bounds ---------------------------------------------------------------------------------------------

class Kept {
  constructor(bytes, discard = () => {}) {
    this.bytes = bytes;
    this.discard = discard;
    this.held = 0;
    this.entries = new Map();
  }

  get(key) {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry.value;
  }

  has(key) {
    return this.entries.has(key);
  }

  set(key, value, size) {
    this.remove(key);
    this.entries.set(key, { value, size });
    this.held += size;
    for (const oldest of this.entries.keys()) {
      if (this.held <= this.bytes || this.entries.size === 1) break;
      this.remove(oldest);
    }
  }

  remove(key) {
    const entry = this.entries.get(key);
    if (!entry) return;
    this.entries.delete(key);
    this.held -= entry.size;
    this.discard(entry.value);
  }

  clear() {
    for (const key of [...this.entries.keys()]) this.remove(key);
  }
}

export function readHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

// The hue of a direction, in degrees, as SHOW has it.
function hueOf(rows, columns) {
  return 360 * (Math.atan2(rows, columns) / (2 * Math.PI) + 0.5);
}

// ---- Drawing -----------------------------------------------------------------------------------------------------------------

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

// Of each pixel of the run: (frame minus background, frame, the warp's rows, its columns).
const SUBTRACT = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D; precision highp sampler2D;
uniform usampler2D frame; uniform sampler2D reference, warp, field;
uniform bool logarithmic, subtracts, warps; uniform float weight, level; uniform vec2 shift; uniform ivec2 size;
out vec4 result;
float at(ivec2 place) { return texelFetch(reference, place, 0).r; }
void main() {
  ivec2 place = ivec2(gl_FragCoord.xy);
  float stored = float(texelFetch(frame, place, 0).r);
  float value = logarithmic ? log(max(stored, 1.0)) : stored;
  vec2 moved = warps ? weight * texture(warp, (vec2(place) + 0.5) / vec2(size)).rg : shift;
  float background = 0.0;
  if (subtracts) {
    vec2 from = clamp(vec2(place) + moved.yx, vec2(0.0), vec2(size - 1));
    ivec2 low = ivec2(floor(from)), high = min(low + 1, size - 1);
    vec2 part = from - vec2(low);
    background = mix(mix(at(low), at(ivec2(high.x, low.y)), part.x), mix(at(ivec2(low.x, high.y)), at(high), part.x), part.y);
  }
  bool inside = !subtracts || texelFetch(field, place, 0).r > 0.5; // behind a collimator there is nothing but noise
  result = inside ? vec4(subtracts ? value - background - level : value, value, moved) : vec4(0.0, value, 0.0, 0.0);
}`;

// Least and greatest value over time, and when: (least, its time, greatest, its time).
const GATHER = `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D subtracted, before; uniform float time; uniform bool first;
out vec4 result;
void main() {
  ivec2 place = ivec2(gl_FragCoord.xy);
  float value = texelFetch(subtracted, place, 0).r;
  vec4 known = first ? vec4(value, time, value, time) : texelFetch(before, place, 0);
  if (value < known.x) known.xy = vec2(value, time);
  if (value > known.z) known.zw = vec2(value, time);
  result = known;
}`;

// One picture on the screen, in grey or colour.
const SHOW = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D;
uniform sampler2D subtracted, gathered, field;
uniform int picture; uniform ivec2 size; uniform vec2 corner, origin; uniform float scale;
uniform vec2 window, frameWindow; uniform float landmarks, most; uniform bool inverted;
out vec4 colour;
const int FRAME = 0, NOW = 1, LEAST = 2, GREATEST = 3, PEAK = 4, WARP = 5, JACOBIAN = 6;
vec4 fetch(ivec2 place) {
  ivec2 inside = clamp(place, ivec2(0), size - 1);
  vec4 now = texelFetch(subtracted, inside, 0);
  if (picture == LEAST) now.r = texelFetch(gathered, inside, 0).r;
  if (picture == GREATEST) now.r = texelFetch(gathered, inside, 0).b;
  return now;
}
vec4 smoothly(vec2 place) {
  vec2 low = floor(place), part = place - low;
  ivec2 i = ivec2(low);
  return mix(mix(fetch(i), fetch(i + ivec2(1, 0)), part.x), mix(fetch(i + ivec2(0, 1)), fetch(i + 1), part.x), part.y);
}
float windowed(float value, vec2 about) { return clamp((value - about.x) / (about.y - about.x), 0.0, 1.0); }
vec3 hue(float h) { return clamp(abs(mod(h * 6.0 + vec3(0.0, 4.0, 2.0), 6.0) - 3.0) - 1.0, 0.0, 1.0); }
float grey(vec4 there) {
  float plain = windowed(there.g, frameWindow);
  float dark = picture == FRAME ? plain : mix(windowed(there.r, window), plain, landmarks);
  return inverted ? 1.0 - dark : dark;
}
void main() {
  vec2 place = (vec2(gl_FragCoord.x, gl_FragCoord.y) - corner) * vec2(1.0, -1.0) * scale + origin;
  if (any(lessThan(place, vec2(-0.5))) || any(greaterThan(place, vec2(size) - 0.5))) { colour = vec4(0.0, 0.0, 0.0, 1.0); return; }
  vec4 there = smoothly(place);
  if (picture == WARP) {
    vec2 moved = there.ba;
    float much = clamp(length(moved) / most, 0.0, 1.0);
    colour = vec4(mix(vec3(0.12), hue(atan(moved.x, moved.y) / 6.2831853 + 0.5), much), 1.0);
  } else if (picture == JACOBIAN) {
    ivec2 i = clamp(ivec2(floor(place + 0.5)), ivec2(0), size - 2);
    vec2 here = fetch(i).ba, down = fetch(i + ivec2(0, 1)).ba - here, across = fetch(i + ivec2(1, 0)).ba - here;
    float area = (1.0 + down.x) * (1.0 + across.y) - down.y * across.x;
    float part = clamp(abs(area - 1.0) / 0.5, 0.0, 1.0);
    bool inside = texelFetch(field, i, 0).r * texelFetch(field, i + ivec2(0, 1), 0).r * texelFetch(field, i + ivec2(1, 0), 0).r > 0.5;
    if (!inside) area = 1.0;
    colour = vec4(area <= 0.0 ? vec3(1.0, 0.0, 1.0) : mix(vec3(0.92), area < 1.0 ? vec3(0.13, 0.4, 0.9) : vec3(0.9, 0.3, 0.1), part), 1.0);
  } else if (picture == PEAK) {
    vec4 all = texelFetch(gathered, clamp(ivec2(floor(place + 0.5)), ivec2(0), size - 1), 0);
    float much = clamp(-all.r / -window.x, 0.0, 1.0);
    colour = vec4(hue(0.72 * all.g) * much, 1.0);
  } else {
    colour = vec4(vec3(grey(there)), 1.0);
  }
}`;

// A grey picture that was drawn before.
const REPEAT = `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D drawn;
out vec4 colour;
void main() { colour = vec4(texelFetch(drawn, ivec2(gl_FragCoord.xy), 0).rrr, 1.0); }`;

const PICTURES = { frame: 0, now: 1, least: 2, greatest: 3, peak: 4, warp: 5, jacobian: 6 };

class Painter {
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: true });
    if (!gl || !gl.getExtension("EXT_color_buffer_float")) {
      throw new Error("This page needs WebGL2 with floating-point pictures: open it in a newer browser, or allow graphics acceleration.");
    }
    this.gl = gl;
    this.programs = Object.fromEntries(
      Object.entries({ subtract: SUBTRACT, gather: GATHER, show: SHOW, repeat: REPEAT }).map(([name, text]) => [name, this.build(text)]),
    );
    this.buffer = gl.createFramebuffer();
    gl.bindVertexArray(gl.createVertexArray());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.empty = this.upload(gl.R32F, 1, 1, gl.RED, gl.FLOAT, new Float32Array(1));
    this.emptyWarp = this.upload(gl.RG16F, 1, 1, gl.RG, gl.HALF_FLOAT, new Uint16Array(2));
  }

  build(text) {
    const gl = this.gl, program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, text]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      const shaders = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
      throw new Error(`The graphics card does not take this page's programs: ${shaders.join(" ")}`);
    }
    const places = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(program, i);
      places[name] = gl.getUniformLocation(program, name);
    }
    return { program, places };
  }

  upload(format, columns, rows, channels, type, values, smooth = false) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, columns, rows);
    if (values) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, columns, rows, channels, type, values);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, smooth ? gl.LINEAR : gl.NEAREST);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    return texture;
  }

  frame(columns, rows, values) {
    const gl = this.gl;
    return this.upload(gl.R16UI, columns, rows, gl.RED_INTEGER, gl.UNSIGNED_SHORT, values);
  }

  reference(columns, rows, values) {
    return this.upload(this.gl.R32F, columns, rows, this.gl.RED, this.gl.FLOAT, values);
  }

  warp(columns, rows, values) {
    return this.upload(this.gl.RG16F, columns, rows, this.gl.RG, this.gl.HALF_FLOAT, values, true);
  }

  field(columns, rows, values) {
    return this.upload(this.gl.R8, columns, rows, this.gl.RED, this.gl.UNSIGNED_BYTE, values);
  }

  target(columns, rows) {
    return this.upload(this.gl.RGBA32F, columns, rows, this.gl.RGBA, this.gl.FLOAT, null);
  }

  grey(columns, rows) {
    return this.upload(this.gl.R8, columns, rows, this.gl.RED, this.gl.UNSIGNED_BYTE, null);
  }

  free(texture) {
    this.gl.deleteTexture(texture);
  }

  use(name, textures, values) {
    const gl = this.gl, { program, places } = this.programs[name];
    gl.useProgram(program);
    Object.entries(textures).forEach(([uniform, texture], unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(places[uniform], unit);
    });
    for (const [uniform, value] of Object.entries(values)) {
      const place = places[uniform];
      if (place === undefined) continue;
      if (uniform === "size") gl.uniform2i(place, ...value);
      else if (uniform === "picture") gl.uniform1i(place, value);
      else if (typeof value === "boolean") gl.uniform1i(place, value);
      else if (Array.isArray(value)) gl.uniform2f(place, ...value);
      else gl.uniform1f(place, value);
    }
  }

  into(texture, columns, rows) {
    const gl = this.gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    gl.viewport(0, 0, columns, rows);
    gl.disable(gl.SCISSOR_TEST);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // Begin a picture, black: on the screen, or on a texture of its size.
  begin(texture, columns, rows) {
    const gl = this.gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, texture && this.buffer);
    if (texture) gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    gl.viewport(0, 0, columns, rows);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  part(left, bottom, width, height) {
    const gl = this.gl;
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, bottom, width, height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // Whether all that was asked of the graphics card until the last `mark` is done.
  get idle() {
    const gl = this.gl;
    if (this.fence && gl.getSyncParameter(this.fence, gl.SYNC_STATUS) !== gl.SIGNALED) return false;
    if (this.fence) gl.deleteSync(this.fence);
    this.fence = null;
    return true;
  }

  mark() {
    const gl = this.gl;
    this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
  }

  read(texture, columns, rows) {
    const gl = this.gl, values = new Float32Array(4 * columns * rows);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    gl.readPixels(0, 0, columns, rows, gl.RGBA, gl.FLOAT, values);
    return values;
  }
}

// ---- The page's parts --------------------------------------------------------------------------------------------------------

function make(tag, given = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...inside.filter((part) => part !== null));
  return element;
}

function drawn(tag, given = {}, ...inside) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

const ICONS = {
  play: "M3 1 L15 8 L3 15 Z",
  stop: "M3 1 H6.5 V15 H3 Z M9.5 1 H13 V15 H9.5 Z",
  before: "M12 1 L4 8 L12 15 Z",
  after: "M4 1 L12 8 L4 15 Z",
};

const icon = (name) => drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, drawn("path", { d: ICONS[name] }));

const LAYOUTS = {
  side: ["Side by side", "1"],
  swipe: ["Swipe", "2"],
  flicker: ["Flicker", "3"],
  plain: ["Plain DSA", "4"],
  bsa: ["BSA", "5"],
  frame: ["Frame", "6"],
};
const TIMES = { now: "Each frame", least: "Minimum", greatest: "Maximum", peak: "Time to peak" };
const OVER = { now: "", least: "minimum over time", greatest: "maximum over time", peak: "time to peak" };
const TITLES = { bsa: "BSA", jacobian: "|J| of the background" };
const BESIDES = { bsa: "BSA", warp: "Warp as colour", jacobian: "Jacobian |J|" };
const SAVES = {
  dicom: ["DICOM", "The whole subtracted run at this λ, background and guard; it names the patient as the run does"],
  h5: ["HDF5", "BSA and warp of the whole run as arrays"],
  mp4: ["MP4", "A video of the whole run as you see it: λ, background, guard, window; plain DSA beside BSA"],
  gif: ["GIF", "A small animation of the whole run, as the video"],
  html: ["HTML", "A report of the whole run, which opens by itself"],
};
const MARKS = { none: "None", grid: "Grid", arrows: "Arrows" };

const HELP = [
  ["Run", [
    ["Space", "play or stop"],
    ["← →, wheel", "frame before, after"],
    ["Home End", "first, last frame"],
    ["[ ]", "slower, faster"],
  ]],
  ["λ and background", [
    ["↑ ↓", "λ up, down by 0.05"],
    ["L", "the model's own λ"],
    ["B", "remask: this frame is the background"],
    ["Shift + arrows", "shift the plain DSA's background by half a pixel"],
    ["0", "background and shift as opened"],
    ["G", "guard on, off"],
  ]],
  ["Picture", [
    ["1 … 6", "side by side, swipe, flicker, plain DSA, BSA, frame"],
    ["T", "each frame, minimum, maximum over time, time to peak"],
    ["W", "BSA, warp, |J|"],
    ["O", "grid, arrows over it"],
    ["M", "landmarks: 0, 20, 100 % of the mask"],
  ]],
  ["Grey and place", [
    ["Drag", "window: across for its width, upwards for a brighter picture"],
    ["A", "window of this frame"],
    ["I", "invert"],
    ["Click", "curve over time at this point"],
    ["C", "curve at the picture's centre"],
    [", .", "narrower, wider window"],
    ["; '", "brighter, darker picture"],
    ["Ctrl + wheel, + −", "zoom"],
    ["Right drag, Ctrl + arrows", "move the picture"],
    ["F", "pictures alone, controls again"],
    ["R", "picture and window as opened"],
    ["P", "save what is seen as PNG"],
    ["?", "this help; Esc closes it"],
  ]],
];

export class Viewer {
  constructor(root, source, { whole = false } = {}) {
    this.root = root;
    this.source = source;
    this.whole = whole; // whether the page is this viewer's alone, so that all keys are for it
    this.run = null;
    this.state = {
      frame: 1, playing: false, speed: 1, layout: "side", hyper: 0, background: "start", guard: true, refine: true, window: null,
      frameWindow: null, inverted: false, landmarks: 0, shift: [0, 0], zoom: 1, centre: null, time: "now", beside: "bsa", marks: "none",
      split: 0.5, point: null,
    };
    this.frames = new Kept(FRAME_BYTES);
    this.warps = new Kept(WARP_BYTES);
    this.backgrounds = new Map();
    this.references = new Map();
    this.weights = new Map();
    this.warpedAt = -Infinity; // when the shown frame was warped at the last λ
    this.hypers = []; // that were asked for, the last first
    this.lost = false;
    this.ended = new AbortController();
    this.build();
  }

  // -- building

  build() {
    const { root } = this;
    root.classList.add("angiomorph");
    root.tabIndex = 0;
    root.setAttribute("aria-label", "AngioMorph viewer");
    root.viewer = this;
    const button = (text, key, act, given = {}) =>
      make("button", { type: "button", onclick: act, ...given }, text, key ? make("kbd", { "aria-hidden": "true" }, key) : null);
    const field = (text, control) => {
      const id = `angiomorph-${Math.random().toString(36).slice(2)}`;
      control.id = id;
      return make("div", { class: "field" }, make("label", { htmlFor: id }, text), control);
    };
    const select = (options, change) =>
      make("select", { onchange: (event) => change(event.target.value) },
        ...options.map(([value, text]) => make("option", { value }, text)));

    const p = (this.parts = {});
    p.picture = make("canvas", { role: "img", "aria-label": "The run, subtracted" });
    p.marks = make("canvas", { class: "marks", "aria-hidden": "true" });
    p.captions = [make("div", { class: "caption" }), make("div", { class: "caption" })];
    p.corners = [make("div", { class: "corner" }), make("div", { class: "corner" })];
    p.divider = make("div", {
      class: "divider", tabIndex: 0, role: "slider", "aria-label": "Divider between plain DSA and BSA", "aria-valuemin": 0, "aria-valuemax": 100,
      hidden: true,
    });
    p.banner = make("div", { class: "banner", role: "alert", hidden: true });
    p.stage = make("section", { class: "stage", "aria-label": "Pictures" }, p.picture, p.marks, ...p.captions, ...p.corners, p.divider);

    p.hyper = make("input", {
      type: "range", class: "hyper", min: 0, max: 1, step: 0.01, "aria-label": "λ, weight of the warp's smoothness",
      oninput: () => this.setHyper(Number(p.hyper.value)),
    });
    p.hyperValue = make("output", {}, "–");
    p.progress = make("p", { role: "status" });
    p.layouts = Object.entries(LAYOUTS).map(([name, [text, key]]) => {
      return button(text, key, () => this.change({ layout: name }), { "data-layout": name });
    });
    p.time = select(Object.entries(TIMES), (time) => this.change({ time }));
    p.beside = select(Object.entries(BESIDES), (beside) => this.change({ beside }));
    p.marksChoice = select(Object.entries(MARKS), (marks) => this.change({ marks }));
    p.landmarks = make("input", {
      type: "range", min: 0, max: 100, step: 1, value: 0, oninput: () => this.change({ landmarks: Number(p.landmarks.value) / 100 }),
    });
    p.windowValue = make("output", { title: "centre and width" }, "–");
    p.invert = button("Invert", "I", () => this.change({ inverted: !this.state.inverted }), { "aria-pressed": "false" });
    p.backgroundValue = make("output", {}, "–");
    p.backgroundSays = make("p", {});
    p.warning = make("p", { class: "warning" });
    p.shiftValue = make("p", {});
    p.guard = button("Guard", "G", () => this.change({ guard: !this.state.guard }), { "aria-pressed": "true" });
    p.refine = button("Refinement", "", () => this.setRefine(!this.state.refine), { "aria-pressed": "true", hidden: true });
    p.guardSays = make("p", {});
    p.curve = drawn("svg", { class: "curve", role: "img", "aria-label": "Values over time at the clicked point", viewBox: "0 0 266 132" });
    p.curveSays = make("p", {}, "Click into a picture: value over time there.");
    p.saves = make("div", { class: "row" }, button("PNG of what is seen", "P", () => this.exportPicture(), { "data-act": "png" }));
    p.saved = make("p", { class: "saved", role: "status" });
    p.about = make("p", {});
    p.panel = make("aside", { "aria-label": "Controls" },
      make("header", {}, make("h1", {}, "AngioMorph"),
        button("Help", "?", () => this.toggleHelp(), { "aria-label": "Help: keys and mouse" })),
      p.about,
      make("h2", { class: "as-is" }, "λ", make("kbd", {}, "↑ ↓"), p.hyperValue),
      p.hyper,
      make("div", { class: "ends" }, make("span", {}, "follow the frame"),
        (p.own = button("Model's own", "L", () => this.setHyper(this.run.hyper))), make("span", {}, "stay smooth")),
      p.progress,
      make("h2", {}, "View"),
      make("div", { class: "three", role: "group", "aria-label": "View" }, ...p.layouts),
      field("Over time", p.time),
      field("Right shows", p.beside),
      field("Overlay", p.marksChoice),
      make("h2", {}, "Grey", p.windowValue),
      make("div", { class: "row" }, button("Auto", "A", () => this.autoWindow()), p.invert, button("Reset", "R", () => this.reset())),
      field("Landmarks", p.landmarks),
      make("h2", {}, "Background", p.backgroundValue),
      make("div", { class: "row" },
        ...(p.remasks = [
          button("Remask: this frame", "B", () => this.remask(), { "data-act": "remask" }),
          button("As opened", "0", () => this.asOpened(), { "data-act": "as-opened" }),
        ])),
      p.backgroundSays, p.warning, p.shiftValue,
      make("h2", {}, "Warp"),
      make("div", { class: "row" }, p.guard, p.refine),
      p.guardSays,
      make("h2", {}, "Curve"),
      p.curve, p.curveSays,
      make("h2", {}, "Save"),
      p.saves, p.saved,
      make("p", {}, "Research use only; not for diagnosis or treatment."),
    );

    p.play = button(icon("play"), "", () => this.change({ playing: !this.state.playing }), { class: "play", "aria-label": "Play" });
    p.speed = select(SPEEDS.map((speed) => [speed, `${speed} ×`]), (speed) => this.change({ speed: Number(speed) }));
    p.speed.setAttribute("aria-label", "Speed");
    p.speed.value = "1";
    p.line = make("canvas", { "aria-hidden": "true" });
    p.scrub = make("input", {
      type: "range", min: 1, max: 1, step: 1, value: 1, "aria-label": "Frame",
      oninput: () => this.change({ frame: Number(p.scrub.value), playing: false }),
    });
    p.where = make("output", {}, "–");
    p.bar = make("footer", {},
      make("div", { class: "row" },
        button(icon("before"), "", () => this.step(-1), { "aria-label": "Frame before" }), p.play,
        button(icon("after"), "", () => this.step(1), { "aria-label": "Frame after" }), p.speed),
      make("div", { class: "line" }, p.line, p.scrub), p.where);
    p.help = make("div", { class: "help", role: "dialog", "aria-modal": "true", "aria-label": "Keys and mouse", hidden: true },
      make("div", {},
        make("div", { class: "columns" },
          ...HELP.map(([title, lines]) => make("section", {}, make("h2", {}, title),
            make("dl", {}, ...lines.flatMap(([keys, what]) => [make("dt", {}, make("kbd", {}, keys)), make("dd", {}, what)]))))),
        make("p", {}, "Amber frames on the time line were left unwarped by the guard, blue ones are the background."),
        make("div", { class: "row" }, (p.closeHelp = button("Close", "Esc", () => this.toggleHelp())))));
    p.help.addEventListener("click", (event) => event.target === p.help && this.toggleHelp());
    root.replaceChildren(p.stage, p.panel, p.bar, p.banner, p.help);
    this.listen();
  }

  listen() {
    const { parts: p } = this, signal = this.ended.signal;
    (this.whole ? document : this.root).addEventListener("keydown", (event) => this.key(event), { signal });
    this.resizing = new ResizeObserver(() => this.fit());
    this.resizing.observe(this.root);
    this.resizing.observe(p.stage);
    this.resizing.observe(p.line);
    p.stage.addEventListener("pointerdown", (event) => this.drag(event));
    p.stage.addEventListener("contextmenu", (event) => event.preventDefault());
    p.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    p.divider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      this.change({ split: Math.min(1, Math.max(0, this.state.split + step)) });
    });
    p.line.addEventListener("pointerdown", (event) => {
      const box = p.line.getBoundingClientRect();
      const at = Math.floor(((event.clientX - box.left) / box.width) * this.run.frames) + 1;
      this.change({ frame: Math.min(this.run.frames, Math.max(1, at)), playing: false });
    });
    this.giveKeysBack();
    p.picture.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.say("The graphics card was reset: load the page again.");
    });
  }

  // Lay the page out by its own width, which in a notebook is the cell's.
  fit() {
    this.root.classList.toggle("narrow", this.root.clientWidth < NARROW);
    this.root.classList.toggle("wide", this.root.clientWidth >= WIDE);
    this.draw();
  }

  // After the mouse has done with a control, keys are the page's again; those who come by Tab keep it.
  giveKeysBack() {
    const { root } = this, give = (event) => {
      if (this.byPointer && event.target.closest("button, input, select") && !event.target.closest(".help, .divider")) root.focus({ preventScroll: true });
    };
    root.addEventListener("pointerdown", () => (this.byPointer = true), true);
    root.addEventListener("keydown", () => (this.byPointer = false), true);
    root.addEventListener("click", (event) => event.target.tagName !== "SELECT" && this.parts.help.hidden && give(event));
    root.addEventListener("change", give);
  }

  end() {
    this.ended.abort();
    this.resizing.disconnect();
  }

  // -- loading

  async open() {
    try {
      this.painter = new Painter(this.parts.picture);
    } catch (error) {
      this.say(error.message);
      return;
    }
    this.textures = new Kept(TEXTURE_BYTES, (texture) => this.painter.free(texture));
    this.pictures = new Kept(PICTURE_BYTES, (texture) => this.painter.free(texture));
    try {
      this.run = (await this.source.ask("run")).info;
    } catch (error) {
      this.refused(error);
      return;
    }
    const { run, painter, parts: p, state } = this;
    this.size = [run.columns, run.rows];
    this.targets = { plain: painter.target(...this.size), bsa: painter.target(...this.size) };
    this.composed = {};
    this.gathered = {};
    const gaps = run.times.slice(1).map((time, i) => time - run.times[i]);
    const known = gaps.filter((gap) => gap > 0).sort((a, b) => a - b);
    this.usualGap = known.length ? known[known.length >> 1] : UNKNOWN_TIME;
    this.gaps = Array.from({ length: run.frames }, (_, i) => (gaps[i] > 0 ? gaps[i] : this.usualGap));
    Object.assign(state, { hyper: run.hyper, guard: run.guard, frameWindow: [...run.window] });
    this.hypers = [run.hyper];
    p.scrub.max = run.frames;
    p.hyper.disabled = p.own.disabled = run.fixed;
    p.refine.hidden = !run.refine;
    p.guard.disabled = run.scaled;
    p.remasks.forEach((part) => (part.disabled = !run.remask));
    p.saves.append(...run.saves.map((kind) =>
      make("button", { type: "button", "data-act": kind, title: SAVES[kind][1], onclick: () => this.saveRun(kind) }, SAVES[kind][0])));
    const rate = known.length ? `${(1000 / this.usualGap).toFixed(1)} frames/s` : "rate unknown";
    p.about.textContent = `${run.frames} frames of ${run.columns} × ${run.rows}, ${rate}, model ${run.model}`;
    this.draw();
    this.tick();
    await Promise.all([this.loadFrames(), this.loadBackground("start")]);
  }

  async loadFrames() {
    const { frames, rows, columns } = this.run, ahead = Math.min(frames, Math.max(1, Math.floor(FRAME_BYTES / (2 * rows * columns)) - 4));
    const missing = () => {
      for (let i = 0; i < ahead; i++) {
        const number = ((this.state.frame - 1 + i) % frames) + 1;
        if (!this.frames.has(number) && !this.coming.has(number)) return number;
      }
      return 0;
    };
    this.coming = new Set();
    const fetchAll = async () => {
      let loaded = 0;
      for (let number = missing(); number && loaded < frames; number = missing(), loaded++) await this.loadFrame(number);
    };
    await Promise.all([fetchAll(), fetchAll(), fetchAll()]);
  }

  async loadFrame(number) {
    this.coming.add(number);
    try {
      const { data } = await this.ask("frame", { frame: number });
      this.frames.set(number, new Uint16Array(data), data.byteLength);
      if (number === this.state.frame) this.draw();
      else this.drawLine();
    } catch (error) {
      this.refused(error);
    } finally {
      this.coming.delete(number);
    }
  }

  async loadBackground(wanted) {
    if (!this.backgrounds.has(wanted)) {
      try {
        const { info: background, data } = await this.ask("background", { background: wanted });
        this.fieldValues = new Uint8Array(data);
        this.field ??= this.painter.field(...this.size, this.fieldValues.map((inside) => 255 * inside));
        background.of = new Array(this.run.frames + 1);
        for (const step of background.steps) for (const frame of step.frames) background.of[frame] = step.numbers.join();
        for (const { numbers } of background.steps) await this.loadReference(numbers.join());
        this.backgrounds.set(wanted, background);
      } catch (error) {
        this.refused(error);
        return;
      }
      if (wanted === "start") this.opened();
    }
    this.draw();
    this.pump();
  }

  opened() {
    const background = this.background, { state } = this;
    state.window ??= [...background.window];
    if (!this.touched) state.frame = background.fullest;
  }

  async loadReference(numbers) {
    if (this.references.has(numbers)) return;
    const { data } = await this.ask("reference", { background: numbers });
    const values = new Float32Array(data);
    this.references.set(numbers, { values, texture: this.painter.reference(...this.size, values) });
    for (const [key, { texture }] of this.references) { // few, besides those with which the run was opened
      const needed = [...this.backgrounds.values()].slice(0, 1).some((each) => each.of.includes(key));
      if (this.references.size <= 4 || needed || key === numbers) continue;
      this.painter.free(texture);
      this.references.delete(key);
      for (const [wanted, each] of this.backgrounds) if (each.of.includes(key)) this.backgrounds.delete(wanted);
    }
  }

  get background() {
    return this.backgrounds.get(this.state.background);
  }

  // -- asking, and a server that is gone

  async ask(kind, asked, signal) {
    for (;;) {
      try {
        return await this.source.ask(kind, asked, signal);
      } catch (error) {
        if (error.name === "AbortError" || error instanceof Refusal) throw error;
        await this.waitForServer();
      }
    }
  }

  waitForServer() {
    this.waiting ??= this.findServer().finally(() => (this.waiting = null));
    return this.waiting;
  }

  async findServer() {
    this.say("The server does not answer. Trying again …");
    this.lost = true;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 700));
      this.ended.signal.throwIfAborted();
      try {
        const { info } = await this.source.ask("run");
        if (info.key !== this.run.key) location.reload();
        break;
      } catch (error) {
        if (error instanceof Refusal) {
          this.refused(error);
          throw error;
        }
      }
    }
    this.lost = false;
    this.say("");
  }

  async watch() {
    while (!this.ended.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      if (document.hidden) continue;
      try {
        await this.ask("state");
      } catch (error) {
        if (error instanceof Refusal) return;
      }
    }
  }

  refused(error) {
    if (error.name === "AbortError") return;
    this.say(error.status === 403 ? "Another server answers: open the address that it printed." : error.message);
  }

  say(text) {
    this.parts.banner.textContent = text;
    this.parts.banner.hidden = !text;
  }

  // -- warps

  key_of(hyper, frame) {
    return [this.state.background, hyper, this.state.refine ? 1 : 0, frame].join("|");
  }

  get wish() {
    const { background, hyper, refine } = this.state;
    return [background, hyper, refine ? 1 : 0].join("|");
  }

  findWarp(frame) {
    for (const hyper of this.hypers) {
      const warp = this.warps.get(this.key_of(hyper, frame));
      if (warp) return { ...warp, hyper };
    }
    return null;
  }

  weightOf(frame) {
    if (!this.state.guard || this.run.scaled) return 1;
    return this.weights.get(this.wish)?.[frame - 1] ?? 1;
  }

  nextMissing() {
    const { frames } = this.run;
    for (let i = 0; i < frames; i++) {
      const frame = ((this.state.frame - 1 + i) % frames) + 1;
      if (!this.warps.has(this.key_of(this.state.hyper, frame))) return frame;
    }
    return 0;
  }

  async pump() {
    if (this.pumping || !this.background) return;
    this.pumping = true;
    try {
      for (let left = true; left && !this.ended.signal.aborted && this.background; ) left = await this.pumpOnce();
    } finally {
      this.pumping = false;
    }
  }

  async pumpOnce() {
    const { wish, state } = this, frame = this.nextMissing();
    const asked = { background: state.background, hyper: state.hyper, refine: state.refine ? 1 : 0 };
    const capacity = this.bytesOfWarp ? this.warps.bytes / this.bytesOfWarp : Infinity;
    if (this.failedWish === wish) return false;
    if (frame !== state.frame) this.warpedAt ??= performance.now();
    const wait = frame === state.frame ? 0 : SETTLED - (performance.now() - this.warpedAt);
    if (wait > 0) { // the server is free for the next λ of a slider that still moves
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, wait);
      });
      return true;
    }
    this.asking = { wish, abort: new AbortController() };
    try {
      if (frame && (frame === state.frame || this.warpsOf(wish) < capacity - 1)) {
        const began = performance.now();
        const judge = frame === state.frame ? 0 : 1; // the shown frame at once, the guard's part of it later
        const { info, data } = await this.ask("warp", { ...asked, frame, judge }, this.asking.abort.signal);
        this.took = performance.now() - began;
        this.bytesOfWarp = data.byteLength;
        this.warps.set(`${wish}|${frame}`, this.keepWarp(info, data), data.byteLength);
      } else if (!this.weights.has(wish)) {
        const { info } = await this.ask("weights", asked, this.asking.abort.signal);
        if (info.missing.length) await this.ask("warp", { ...asked, frame: info.missing[0] }, this.asking.abort.signal);
        else this.weights.set(wish, info.weights);
      } else {
        return false;
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        this.failedWish = wish;
        this.refused(error);
      }
    }
    this.draw();
    return true;
  }

  warpsOf(wish) {
    let count = 0;
    for (const key of this.warps.entries.keys()) count += key.startsWith(`${wish}|`);
    return count;
  }

  keepWarp(info, data) {
    const half = new Uint16Array(data);
    return { ...info, half, key: Symbol("warp") };
  }

  wanted() {
    this.wake?.();
    if (this.asking && this.asking.wish !== this.wish) this.asking.abort.abort();
    this.pump();
  }

  // -- what people change

  change(changes) {
    this.touched ||= "frame" in changes;
    Object.assign(this.state, changes);
    if ("playing" in changes) this.shownAt = performance.now();
    this.draw();
    if ("frame" in changes) this.frames.has(this.state.frame) || this.loadFrames();
  }

  setHyper(hyper) {
    if (this.run.fixed) return;
    hyper = Math.round(Math.min(1, Math.max(0, hyper)) * 1000) / 1000;
    this.state.hyper = hyper;
    this.warpedAt = null;
    this.hypers = [hyper, ...this.hypers.filter((each) => each !== hyper)].slice(0, 50);
    this.draw();
    this.wanted();
  }

  setRefine(refine) {
    this.state.refine = refine;
    this.draw();
    this.wanted();
  }

  async setBackground(background) {
    if (!this.run.remask) return;
    await this.loadBackground(background);
    if (!this.backgrounds.has(background)) return;
    this.state.background = background;
    this.draw();
    this.wanted();
  }

  remask() {
    return this.setBackground(String(this.state.frame));
  }

  asOpened() {
    this.state.shift = [0, 0];
    return this.setBackground("start");
  }

  shiftBy(rows, columns) {
    const [row, column] = this.state.shift;
    this.change({ shift: [row + rows, column + columns] });
  }

  step(by) {
    const { frames } = this.run;
    this.change({ frame: ((this.state.frame - 1 + by + frames) % frames) + 1, playing: false });
  }

  reset() {
    const window = this.openedWindow ?? this.background?.window;
    this.change({ zoom: 1, centre: null, inverted: false, landmarks: 0, frameWindow: [...this.run.window], window: window ? [...window] : null });
  }

  autoWindow() {
    if (this.shows(this.pointed ?? "bsa") === PICTURES.frame) return this.change({ frameWindow: [...this.run.window] });
    const values = this.values(this.findWarp(this.state.frame) ? "bsa" : "plain"), every = Math.max(1, Math.round(values.length / 50_000));
    const inside = values.filter((_, i) => i % every === 0 && this.fieldValues[i]).sort();
    if (!inside.length) return this.change({ window: [...this.background.window] });
    const mean = inside.reduce((sum, value) => sum + value, 0) / inside.length;
    const spread = Math.sqrt(inside.reduce((sum, value) => sum + (value - mean) ** 2, 0) / inside.length);
    const depth = Math.max(-inside[Math.floor(0.005 * inside.length)], 1.5 * spread, 1e-6); // as angiomorph/pictures.py has it
    return this.change({ window: [-depth, depth / 2] });
  }

  cycle(name, values) {
    const at = values.indexOf(this.state[name]);
    this.change({ [name]: values[(at + 1) % values.length] });
  }

  toggleHelp() {
    const { help, closeHelp } = this.parts;
    help.hidden = !help.hidden;
    (help.hidden ? this.root : closeHelp).focus();
  }

  key(event) {
    const { target, key } = event, kind = target.tagName, moves = event.ctrlKey && key.startsWith("Arrow");
    if (!this.run || (event.ctrlKey && !moves) || event.metaKey || event.altKey) return;
    if (key === "Escape") {
      if (!this.parts.help.hidden) this.toggleHelp();
      return;
    }
    const own = { INPUT: /^(Arrow|Home|End|Page)/, SELECT: /./, BUTTON: /^( |Enter)$/, TEXTAREA: /./ }[kind];
    const held = key.startsWith("Arrow") ? (moves ? "Control" : event.shiftKey ? "Shift" : "") : "";
    if (own?.test(key) && !held) return;
    const act = this.keys(event)[key.length === 1 ? key.toLowerCase() : held + key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  keys() {
    const { state, run } = this, layouts = Object.keys(LAYOUTS);
    const speed = (by) => this.change({ speed: SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(state.speed) + by))] });
    return {
      " ": () => this.change({ playing: !state.playing }),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      PageUp: () => this.step(-1),
      PageDown: () => this.step(1),
      ArrowUp: () => this.setHyper(state.hyper + 0.05),
      ArrowDown: () => this.setHyper(state.hyper - 0.05),
      ShiftArrowUp: () => this.shiftBy(0.5, 0),
      ShiftArrowDown: () => this.shiftBy(-0.5, 0),
      ShiftArrowLeft: () => this.shiftBy(0, 0.5),
      ShiftArrowRight: () => this.shiftBy(0, -0.5),
      ControlArrowUp: () => this.moveBy(0, -0.1),
      ControlArrowDown: () => this.moveBy(0, 0.1),
      ControlArrowLeft: () => this.moveBy(-0.1, 0),
      ControlArrowRight: () => this.moveBy(0.1, 0),
      "+": () => this.zoomBy(1.25),
      "=": () => this.zoomBy(1.25),
      "-": () => this.zoomBy(0.8),
      ",": () => this.turnGrey(-25, 0),
      ".": () => this.turnGrey(25, 0),
      ";": () => this.turnGrey(0, -20),
      "'": () => this.turnGrey(0, 20),
      c: () => this.pick(this.centre),
      f: () => this.root.classList.toggle("alone"),
      Home: () => this.change({ frame: 1, playing: false }),
      End: () => this.change({ frame: run.frames, playing: false }),
      "[": () => speed(-1),
      "]": () => speed(1),
      ...Object.fromEntries(layouts.map((layout) => [LAYOUTS[layout][1], () => this.change({ layout })])),
      0: () => this.asOpened(),
      a: () => this.autoWindow(),
      b: () => this.remask(),
      g: () => this.change({ guard: !state.guard }),
      i: () => this.change({ inverted: !state.inverted }),
      l: () => this.setHyper(run.hyper),
      m: () => this.cycle("landmarks", [0, 0.2, 1]),
      o: () => this.cycle("marks", Object.keys(MARKS)),
      p: () => this.exportPicture(),
      r: () => this.reset(),
      t: () => this.cycle("time", Object.keys(TIMES)),
      w: () => this.cycle("beside", Object.keys(BESIDES)),
      "?": () => this.toggleHelp(),
    };
  }

  wheel(event) {
    event.preventDefault();
    if (!this.run) return;
    if (!event.ctrlKey) {
      this.rolled = (this.rolled ?? 0) + event.deltaY;
      if (Math.abs(this.rolled) < 40) return;
      this.step(Math.sign(this.rolled));
      this.rolled = 0;
      return;
    }
    const panel = this.panelAt(event), zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.state.zoom * Math.exp(-event.deltaY / 400)));
    if (!panel) return;
    const [x, y] = this.placeOf(event, panel), [cx, cy] = this.centre;
    const part = this.state.zoom / zoom;
    this.change({ zoom, centre: zoom === 1 ? null : [x + (cx - x) * part, y + (cy - y) * part] });
  }

  drag(event) {
    if (!this.run) return;
    const { stage, divider } = this.parts, began = { x: event.clientX, y: event.clientY }, panel = this.panelAt(event);
    const name = panel && this.shows(panel.name) === PICTURES.frame ? "frameWindow" : "window";
    const before = { window: this.state[name], centre: this.centre, split: this.state.split }, scale = this.scale(panel);
    const dividing = event.target === divider, moving = event.button !== 0;
    let far = 0;
    this.pointed = panel?.name;
    if (!dividing) this.root.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    const move = (next) => {
      const dx = next.clientX - began.x, dy = next.clientY - began.y;
      far = Math.max(far, Math.hypot(dx, dy));
      if (dividing) this.change({ split: Math.min(1, Math.max(0, before.split + dx / stage.clientWidth)) });
      else if (far <= CLICK) return;
      else if (moving) this.change({ centre: [before.centre[0] - dx * scale, before.centre[1] - dy * scale] });
      else if (before.window) this.change({ [name]: this.dragged(before.window, dx, dy) });
    };
    const stop = (next) => {
      stage.removeEventListener("pointermove", move);
      stage.removeEventListener("pointerup", stop);
      stage.removeEventListener("pointercancel", stop);
      if (next.type === "pointerup" && !dividing && !moving && far <= CLICK && panel) this.pick(this.placeOf(next, panel));
    };
    stage.addEventListener("pointermove", move);
    stage.addEventListener("pointerup", stop);
    stage.addEventListener("pointercancel", stop);
  }

  dragged([low, high], dx, dy) {
    const width = high - low, wider = width * Math.exp(dx / 250), centre = (low + high) / 2 + (dy / 400) * width;
    this.windowed = true;
    return [centre - wider / 2, centre + wider / 2];
  }

  turnGrey(dx, dy) {
    const name = this.shows(this.panels[0].name) === PICTURES.frame ? "frameWindow" : "window";
    if (this.state[name]) this.change({ [name]: this.dragged(this.state[name], dx, dy) });
  }

  zoomBy(times) {
    const zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.state.zoom * times));
    this.change({ zoom, centre: zoom === 1 ? null : this.centre });
  }

  // Move the picture by parts of what is seen of it.
  moveBy(across, down) {
    const { width, height } = this.panels[0], scale = this.scale(), [x, y] = this.centre;
    this.change({ centre: [x + across * width * scale, y + down * height * scale] });
  }

  pick([x, y]) {
    const column = Math.round(x), row = Math.round(y);
    if (column < 0 || row < 0 || column >= this.run.columns || row >= this.run.rows) return;
    this.change({ point: [row, column] });
    this.parts.curveSays.scrollIntoView({ block: "nearest" });
  }

  // -- where pictures are

  get panels() {
    const { clientWidth: width, clientHeight: height } = this.parts.stage;
    const { layout, split } = this.state;
    const gap = 2, half = (width - gap) / 2, all = { left: 0, width, within: [0, width] };
    if (layout === "side") return [
      { name: "plain", left: 0, width: half, height, within: [0, half] },
      { name: "bsa", left: half + gap, width: half, height, within: [half + gap, width] },
    ];
    if (layout === "swipe") return [
      { name: "plain", ...all, height, within: [0, split * width] },
      { name: "bsa", ...all, height, within: [split * width, width] },
    ];
    if (layout === "flicker") return [{ name: Math.floor(performance.now() / FLICKER) % 2 ? "bsa" : "plain", ...all, height }];
    return [{ name: layout === "plain" ? "plain" : layout === "frame" ? "frame" : "bsa", ...all, height }];
  }

  get centre() {
    return this.state.centre ?? [(this.run.columns - 1) / 2, (this.run.rows - 1) / 2];
  }

  scale(panel) {
    const { width, height } = panel ?? this.panels[0];
    return Math.max(this.run.columns / width, this.run.rows / height) / this.state.zoom;
  }

  panelAt(event) {
    const box = this.parts.stage.getBoundingClientRect(), x = event.clientX - box.left;
    return this.panels.find((panel) => x >= panel.within[0] && x <= panel.within[1]);
  }

  placeOf(event, panel) {
    const box = this.parts.stage.getBoundingClientRect(), scale = this.scale(panel), [cx, cy] = this.centre;
    return [
      cx + (event.clientX - box.left - panel.left - panel.width / 2) * scale,
      cy + (event.clientY - box.top - panel.height / 2) * scale,
    ];
  }

  shows(name) {
    if (name === "frame" || !this.background) return PICTURES.frame;
    if (name === "bsa" && this.state.beside !== "bsa") return PICTURES[this.state.beside];
    return PICTURES[this.state.time];
  }

  // -- drawing

  draw() {
    this.dirty = true;
    this.ahead = 0; // frames from the shown one to the next whose picture is drawn while nothing changes
  }

  tick() {
    if (this.ended.signal.aborted) return;
    requestAnimationFrame(() => this.tick());
    const now = performance.now(), { state } = this;
    if (state.playing) {
      const wait = this.gaps[state.frame - 1] / state.speed;
      if (now - this.shownAt >= wait) {
        const next = (state.frame % this.run.frames) + 1;
        this.shownAt = now - this.shownAt < 2 * wait ? this.shownAt + wait : now;
        if (this.frames.has(next)) this.change({ frame: next });
      }
    }
    if (state.layout === "flicker") {
      const phase = Math.floor(now / FLICKER);
      if (phase !== this.phase) this.dirty = true;
      this.phase = phase;
    }
    if (!this.dirty && now - this.drawnAt > IDLE) this.drawAhead();
    if (!this.dirty || !this.run) return;
    this.drawnAt = now;
    if (!this.windowed && this.background && this.frames.has(state.frame) && this.findWarp(state.frame)) {
      this.windowed = true;
      this.autoWindow();
      this.openedWindow = [...state.window];
    }
    this.dirty = false;
    this.paint();
    this.drawLine();
    this.write();
    this.pump();
  }

  texture(key, size, made) {
    let texture = this.textures.get(key);
    if (!texture) {
      texture = made();
      this.textures.set(key, texture, size);
    }
    return texture;
  }

  // What a subtracted frame is made of; null while the frame is not here.
  find(name, frame) {
    const { background, state } = this, values = this.frames.get(frame);
    if (!values) return null;
    const warp = name === "bsa" && background ? this.findWarp(frame) : null;
    const numbers = background?.of[frame], shift = name === "plain" ? state.shift : [0, 0], weight = warp ? this.weightOf(frame) : 0;
    return { frame, values, warp, numbers, shift, weight, what: [frame, numbers, warp && this.idOf(warp), weight, ...shift].join() };
  }

  compose(found, target) {
    const { painter, run, background, size } = this, { frame, values, warp, numbers, shift, weight } = found;
    const textures = {
      field: this.field ?? painter.empty,
      frame: this.texture(`frame ${frame}`, values.byteLength, () => painter.frame(...size, values)),
      reference: numbers ? this.references.get(numbers).texture : painter.empty,
      warp: warp ? this.texture(this.idOf(warp), warp.half.byteLength, () => painter.warp(warp.columns, warp.rows, warp.half)) : painter.emptyWarp,
    };
    painter.use("subtract", textures, {
      logarithmic: run.logarithmic, subtracts: Boolean(numbers), warps: Boolean(warp), weight, shift, size,
      level: background?.levels[frame - 1] ?? 0,
    });
    painter.into(target, ...size);
  }

  idOf(warp) {
    this.ids ??= new Map();
    if (!this.ids.has(warp.key)) this.ids.set(warp.key, `warp ${this.ids.size}`);
    return this.ids.get(warp.key);
  }

  // Seconds from the run's start to a frame, or its number where nothing tells the time.
  timeOf(frame) {
    const { times } = this.run;
    return times.at(-1) > times[0] ? (times[frame - 1] - times[0]) / 1000 : frame;
  }

  sayTime(frame) {
    return this.run.times.at(-1) > this.run.times[0] ? `${this.timeOf(frame).toFixed(1)} s` : `frame ${frame}`;
  }

  // Where a frame lies between the first that shows iodine, 0, and the last, 1.
  partOfTime(frame) {
    const [from, to] = [this.background?.iodine_from ?? 1, this.run.frames].map((each) => this.timeOf(each));
    return to > from ? Math.max(0, (this.timeOf(frame) - from) / (to - from)) : 0;
  }

  // What pictures over time are made of.
  findAll(name) {
    return Array.from({ length: this.run.frames }, (_, i) => this.find(name, i + 1)).filter(Boolean);
  }

  gather(name, all) {
    const { painter, size } = this, what = [this.background?.iodine_from, ...all.map((found) => found.what)].join("|");
    if (this.gathered[name]?.what === what) return this.gathered[name].texture;
    this.gathered[name] ??= { textures: [painter.target(...size), painter.target(...size)] };
    const entry = this.gathered[name], work = (this.work ??= painter.target(...size));
    all.forEach((found, i) => {
      this.compose(found, work);
      const [before, after] = i % 2 ? entry.textures : [...entry.textures].reverse();
      painter.use("gather", { subtracted: work, before }, { time: this.partOfTime(found.frame), first: i === 0 });
      painter.into(after, ...size);
      entry.texture = after;
    });
    entry.what = what;
    return entry.texture;
  }

  // The parts of a frame's picture, all that they depend on among it.
  findParts(frame) {
    const { state, size } = this, ratio = window.devicePixelRatio || 1, { height } = this.parts.picture;
    return this.panels.flatMap((panel) => {
      const name = panel.name === "bsa" ? "bsa" : "plain", picture = this.shows(panel.name), found = this.find(name, frame);
      if (!found) return [];
      const overTime = picture >= PICTURES.least && picture <= PICTURES.peak;
      const [from, to] = panel.within.map((place) => Math.round(place * ratio));
      const values = {
        picture, size, scale: this.scale(panel) / ratio, origin: this.centre,
        corner: [(panel.left + panel.width / 2) * ratio, height - (panel.height / 2) * ratio],
        window: state.window ?? [-1, 1], frameWindow: state.frameWindow, landmarks: panel.name === "frame" ? 1 : state.landmarks,
        inverted: state.inverted, most: picture === PICTURES.warp ? this.largest() : 1,
      };
      return [{ name, found, all: overTime ? this.findAll(name) : null, box: [from, 0, to - from, height], values }];
    });
  }

  // Draw a frame's picture on the screen, or on a texture of the screen's size.
  drawParts(parts, texture = null) {
    const { painter, targets } = this, { width, height } = this.parts.picture;
    for (const { name, found } of parts) {
      if (this.composed[name] !== found.what) this.compose(found, targets[name]);
      this.composed[name] = found.what;
    }
    const gathered = parts.map(({ name, all }) => (all ? this.gather(name, all) : painter.empty));
    painter.begin(texture, width, height);
    parts.forEach(({ name, box, values }, i) => {
      painter.use("show", { subtracted: targets[name], gathered: gathered[i], field: this.field ?? painter.empty }, values);
      painter.part(...box);
    });
  }

  // The kept picture of a frame; drawn if it is not there, and null of one that is not kept.
  keepPicture(parts, draws) {
    const { width, height } = this.parts.picture, size = width * height;
    if (!parts.length || parts.some((part) => part.all || part.values.picture > PICTURES.now)) return null;
    if (size * this.run.frames > PICTURE_BYTES) return null; // the first would be gone before it is shown again
    const what = JSON.stringify([width, height, parts.map(({ found, box, values }) => [found.what, box, values])]);
    const kept = this.pictures.get(what);
    if (kept || !draws) return kept ?? null;
    const texture = this.painter.grey(width, height);
    this.drawParts(parts, texture);
    this.pictures.set(what, texture, size);
    return texture;
  }

  drawAhead() {
    const { run, state, painter } = this;
    if (!this.background || document.hidden || this.pumping || this.ahead >= run.frames || !painter.idle) return;
    this.keepPicture(this.findParts(((state.frame - 1 + this.ahead++) % run.frames) + 1), true);
    painter.mark(); // one at a time, so that a slow card is free when something changes
  }

  paint() {
    const { painter, state } = this, { stage, picture } = this.parts, ratio = window.devicePixelRatio || 1;
    const width = Math.round(stage.clientWidth * ratio), height = Math.round(stage.clientHeight * ratio);
    if (picture.width !== width || picture.height !== height) Object.assign(picture, { width, height });
    const parts = this.findParts(state.frame), kept = this.keepPicture(parts, state.playing);
    if (kept) {
      painter.begin(null, width, height);
      painter.use("repeat", { drawn: kept }, {});
      painter.part(0, 0, width, height);
    } else {
      this.drawParts(parts);
    }
    this.drawMarks(this.panels, ratio);
    this.drawCurve();
  }

  largest() {
    const warp = this.findWarp(this.state.frame);
    if (!warp) return 1;
    if (warp.largest === undefined) {
      const entry = this.warps.get(this.key_of(warp.hyper, this.state.frame));
      let most = 0;
      for (let i = 0; i < warp.half.length; i += 2) most = Math.max(most, Math.hypot(readHalf(warp.half[i]), readHalf(warp.half[i + 1])));
      warp.largest = entry.largest = Math.max(1, most);
    }
    return warp.largest;
  }

  warpAt(warp, row, column) {
    const r = Math.min(warp.rows - 1, Math.max(0, ((row + 0.5) * warp.rows) / this.run.rows - 0.5));
    const c = Math.min(warp.columns - 1, Math.max(0, ((column + 0.5) * warp.columns) / this.run.columns - 0.5));
    const r0 = Math.floor(r), c0 = Math.floor(c), r1 = Math.min(warp.rows - 1, r0 + 1), c1 = Math.min(warp.columns - 1, c0 + 1);
    const at = (i, j, axis) => readHalf(warp.half[2 * (i * warp.columns + j) + axis]);
    return [0, 1].map((axis) =>
      (1 - (r - r0)) * ((1 - (c - c0)) * at(r0, c0, axis) + (c - c0) * at(r0, c1, axis)) +
      (r - r0) * ((1 - (c - c0)) * at(r1, c0, axis) + (c - c0) * at(r1, c1, axis)));
  }

  drawMarks(panels, ratio) {
    const { marks } = this.parts, { state, run } = this, width = this.parts.picture.width, height = this.parts.picture.height;
    if (marks.width !== width || marks.height !== height) Object.assign(marks, { width, height });
    const pen = marks.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    for (const panel of panels) {
      const scale = this.scale(panel), [cx, cy] = this.centre;
      const place = (row, column) => [panel.left + panel.width / 2 + (column - cx) / scale, panel.height / 2 + (row - cy) / scale];
      pen.save();
      pen.beginPath();
      pen.rect(panel.within[0], 0, panel.within[1] - panel.within[0], panel.height);
      pen.clip();
      this.drawKey(pen, panel);
      const warp = panel.name === "bsa" && state.marks !== "none" ? this.findWarp(state.frame) : null;
      const spacing = Math.max(run.rows, run.columns) / 32, times = this.lengthen(spacing);
      if (warp) this.drawWarp(pen, warp, place, spacing);
      if (warp && times > 1) pen.fillText(`arrows ${times} × as long as the warp`, panel.within[0] + 10, panel.height - 36);
      if (state.point) {
        const [x, y] = place(...state.point), size = Math.max(4, AROUND / scale);
        pen.strokeStyle = panel.name === "bsa" ? "#5cc8ff" : "#ffb454";
        pen.lineWidth = 1.5;
        pen.strokeRect(x - size, y - size, 2 * size, 2 * size);
      }
      pen.restore();
    }
  }

  // How many times as long as the warp arrows are, so that they are seen; the grid is as the warp is.
  lengthen(spacing) {
    return this.state.marks === "arrows" ? Math.max(1, Math.round(spacing / this.largest())) : 1;
  }

  drawWarp(pen, warp, place, spacing) {
    const { run, state } = this, weight = this.weightOf(state.frame) * this.lengthen(spacing), points = [];
    for (let row = spacing / 2; row < run.rows; row += spacing) {
      const line = [];
      for (let column = spacing / 2; column < run.columns; column += spacing) {
        const [rows, columns] = this.warpAt(warp, row, column).map((part) => part * weight);
        line.push({ here: place(row, column), from: place(row + rows, column + columns) });
      }
      points.push(line);
    }
    pen.strokeStyle = "rgb(92 200 255 / .85)";
    pen.lineWidth = state.marks === "grid" ? 1 : 1.5;
    pen.beginPath();
    if (state.marks === "grid") {
      const lines = [...points, ...points[0].map((_, i) => points.map((line) => line[i]))];
      for (const line of lines) line.forEach(({ from }, i) => (i ? pen.lineTo(...from) : pen.moveTo(...from)));
      pen.stroke();
      return;
    }
    for (const { here, from } of points.flat()) { // from where the background comes, to where it goes
      const [x, y] = [here[0] - from[0], here[1] - from[1]], long = Math.hypot(x, y), head = Math.min(6, 0.5 * long);
      pen.moveTo(...from);
      pen.lineTo(...here);
      if (long < 1) continue;
      for (const side of [-0.5, 0.5]) {
        pen.moveTo(...here);
        pen.lineTo(here[0] - (head * (x + side * y)) / long, here[1] - (head * (y - side * x)) / long);
      }
    }
    pen.stroke();
  }

  // What the colours of a panel mean.
  drawKey(pen, panel) {
    const picture = this.shows(panel.name), left = panel.within[0] + 10, bottom = panel.height - 36;
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = "#e8edf3";
    pen.shadowColor = "#000";
    pen.shadowBlur = 3;
    if (picture === PICTURES.peak) {
      this.drawBar(pen, left, bottom, (part) => `hsl(${360 * 0.72 * part} 100% 50%)`, [this.background?.iodine_from ?? 1, this.run.frames].map((frame) => this.sayTime(frame)));
    }
    if (picture === PICTURES.jacobian) { // as SHOW has it
      const end = (part) => (part < 0.5 ? [33, 102, 230] : [230, 77, 26]).map((to) => 235 + (to - 235) * Math.abs(2 * part - 1));
      this.drawBar(pen, left, bottom, (part) => `rgb(${end(part).join(" ")})`, ["0.5 enlarged", "1.5 reduced"]);
      pen.fillStyle = "#f0f";
      pen.fillRect(left + 190, bottom - 10, 10, 10);
      pen.fillStyle = "#e8edf3";
      pen.fillText("≤ 0 folds", left + 205, bottom - 1);
    }
    if (picture === PICTURES.warp) { // where the background comes from, seen from the middle of the wheel
      const radius = 26, x = left + radius, y = bottom - radius;
      pen.shadowBlur = 0;
      for (let i = 0; i < 72; i++) {
        pen.fillStyle = `hsl(${hueOf(Math.sin((i * Math.PI) / 36), Math.cos((i * Math.PI) / 36))} 100% 50%)`;
        pen.beginPath();
        pen.moveTo(x, y);
        pen.arc(x, y, radius, ((i - 0.6) * Math.PI) / 36, ((i + 0.6) * Math.PI) / 36);
        pen.fill();
      }
      pen.fillStyle = "#e8edf3";
      pen.shadowBlur = 3;
      pen.fillText(`comes from there, full at ${this.largest().toFixed(1)} px`, x + radius + 6, y + 4);
    }
    pen.shadowBlur = 0;
  }

  drawBar(pen, left, bottom, colour, [from, to]) {
    const wide = 170;
    pen.shadowBlur = 3;
    pen.fillText(from, left, bottom - 14);
    pen.fillText(to, left + wide - pen.measureText(to).width, bottom - 14);
    pen.shadowBlur = 0;
    for (let i = 0; i < wide; i++) {
      pen.fillStyle = colour(i / wide);
      pen.fillRect(left + i, bottom - 10, 1, 10);
    }
  }

  // -- curves: on the processor, of a few pixels

  curveOf(name) {
    const { run, background, state } = this, [row, column] = state.point;
    return Array.from({ length: run.frames }, (_, i) => {
      const values = this.frames.get(i + 1), warp = name === "bsa" ? this.findWarp(i + 1) : null;
      if (!values || !background || (name === "bsa" && !warp)) return null;
      const reference = this.references.get(background.of[i + 1]).values, weight = this.weightOf(i + 1);
      let sum = 0, count = 0;
      for (let r = Math.max(0, row - AROUND); r <= Math.min(run.rows - 1, row + AROUND); r++) {
        for (let c = Math.max(0, column - AROUND); c <= Math.min(run.columns - 1, column + AROUND); c++) {
          const stored = values[r * run.columns + c];
          const [dr, dc] = warp ? this.warpAt(warp, r, c).map((part) => part * weight) : state.shift;
          sum += (run.logarithmic ? Math.log(Math.max(stored, 1)) : stored) - this.sample(reference, r + dr, c + dc);
          count++;
        }
      }
      return sum / count - background.levels[i];
    });
  }

  sample(values, row, column) {
    const { rows, columns } = this.run, r = Math.min(rows - 1, Math.max(0, row)), c = Math.min(columns - 1, Math.max(0, column));
    const r0 = Math.floor(r), c0 = Math.floor(c), r1 = Math.min(rows - 1, r0 + 1), c1 = Math.min(columns - 1, c0 + 1);
    const upper = values[r0 * columns + c0] * (1 - (c - c0)) + values[r0 * columns + c1] * (c - c0);
    const lower = values[r1 * columns + c0] * (1 - (c - c0)) + values[r1 * columns + c1] * (c - c0);
    return upper * (1 - (r - r0)) + lower * (r - r0);
  }

  drawCurve() {
    const { state, parts: p, run } = this;
    if (!state.point || !this.background) return;
    const curves = { plain: this.curveOf("plain"), bsa: this.curveOf("bsa") };
    const known = [...curves.plain, ...curves.bsa].filter((value) => value !== null);
    if (!known.length) return;
    // Iodine upwards, as time-density curves are drawn.
    const low = Math.min(0, ...known.map((value) => -value)), high = Math.max(0, 1e-6, ...known.map((value) => -value));
    const left = 40, right = 258, top = 20, bottom = 112, [start, end] = [1, run.frames].map((frame) => this.timeOf(frame));
    const x = (i) => left + ((right - left) * (this.timeOf(i + 1) - start)) / (end - start || 1);
    const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low), digits = high - low > 20 ? 0 : 2;
    const parts = [
      drawn("line", { x1: left, x2: right, y1: y(0), y2: y(0), stroke: "#3a4552" }),
      drawn("line", { x1: x(state.frame - 1), x2: x(state.frame - 1), y1: top, y2: bottom, stroke: "#55606d", "stroke-dasharray": "3 3" }),
      drawn("text", { x: right, y: 11, "text-anchor": "end" }, `row ${state.point[0] + 1}, column ${state.point[1] + 1}`),
      drawn("text", { x: left, y: 11 }, `iodine, ${run.logarithmic ? "ln units" : "stored values"}`),
      drawn("text", { x: left, y: 126 }, this.sayTime(1)), drawn("text", { x: right, y: 126, "text-anchor": "end" }, this.sayTime(run.frames)),
    ];
    const apart = (value) => value === 0 || Math.abs(y(value) - y(0)) > 10;
    for (const value of [...new Set([low, 0, high])].filter(apart)) parts.push(drawn("text", { x: left - 4, y: y(value) + 3, "text-anchor": "end" }, value.toFixed(digits)));
    for (const [name, colour] of [["plain", "#ffb454"], ["bsa", "#5cc8ff"]]) {
      const points = curves[name].map((value, i) => value === null ? null : `${x(i).toFixed(1)},${y(-value).toFixed(1)}`).filter(Boolean);
      parts.push(drawn("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 1.6, "data-curve": name }));
      const now = curves[name][state.frame - 1];
      if (now !== null) parts.push(drawn("circle", { cx: x(state.frame - 1), cy: y(-now), r: 2.6, fill: colour }));
    }
    p.curve.replaceChildren(...parts);
    const said = (value) => (value === null ? "–" : (-value).toFixed(digits + 1));
    const key = (colour, text) => {
      const line = make("i");
      line.style.borderColor = colour;
      return make("span", {}, line, text);
    };
    p.curveSays.replaceChildren(make("span", { class: "legend" },
      key("#ffb454", `DSA ${said(curves.plain[state.frame - 1])}`), key("#5cc8ff", `BSA ${said(curves.bsa[state.frame - 1])}`)),
      ...(this.sayMixed() ? [make("span", { class: "late" }, this.sayMixed())] : []));
    this.curves = curves;
  }

  // -- the time line and words

  drawLine() {
    const { line } = this.parts, { run, state, background } = this, ratio = window.devicePixelRatio || 1;
    if (!run) return;
    const width = Math.round(line.clientWidth * ratio), height = Math.round(line.clientHeight * ratio);
    if (line.width !== width || line.height !== height) Object.assign(line, { width, height });
    const pen = line.getContext("2d"), each = width / run.frames, gap = each > 6 * ratio ? ratio : 0;
    const weights = state.guard ? this.weights.get(this.wish) : null;
    pen.clearRect(0, 0, width, height);
    for (let frame = 1; frame <= run.frames; frame++) {
      const own = background?.of[frame]?.split(",").includes(String(frame)), left = (frame - 1) * each;
      const warped = this.warps.has(this.key_of(state.hyper, frame)), held = weights && weights[frame - 1] < 1 && !own;
      pen.fillStyle = own ? "#3f7fd0" : held ? "#ffb454" : warped ? "#4f5d6d" : this.frames.has(frame) ? "#2f3945" : "#1b2129";
      pen.fillRect(left, height * 0.3, Math.max(1, each - gap), height * 0.7);
      if (held && weights[frame - 1] > 0) { // in part
        pen.fillStyle = "#4f5d6d";
        pen.fillRect(left, height * (1 - 0.7 * weights[frame - 1]), Math.max(1, each - gap), height);
      }
    }
    pen.fillStyle = "#e8edf3";
    const at = (state.frame - 0.5) * each;
    pen.beginPath();
    pen.moveTo(at - 5 * ratio, 0);
    pen.lineTo(at + 5 * ratio, 0);
    pen.lineTo(at, height * 0.26);
    pen.fill();
    pen.fillRect(at - ratio / 2, 0, ratio, height);
  }

  write() {
    const { parts: p, state, run, background } = this, warp = background && this.findWarp(state.frame);
    const weights = this.weights.get(this.wish), count = this.warpsOf(this.wish), number = (value) => value.toFixed(2);
    const time = run.times[run.frames - 1] ? ` · ${(run.times[state.frame - 1] / 1000).toFixed(2)} s` : "";
    p.where.textContent = `${state.frame} / ${run.frames}${time}`;
    p.scrub.value = state.frame;
    if (p.play.dataset.playing !== String(state.playing)) {
      p.play.dataset.playing = state.playing;
      p.play.replaceChildren(icon(state.playing ? "stop" : "play"));
      p.play.setAttribute("aria-label", state.playing ? "Stop" : "Play");
    }
    p.speed.value = String(state.speed);
    p.hyper.value = state.hyper;
    p.hyperValue.textContent = number(state.hyper);
    p.hyper.setAttribute("aria-valuetext", number(state.hyper));
    for (const part of p.layouts) part.setAttribute("aria-pressed", String(part.dataset.layout === state.layout));
    p.time.value = state.time;
    p.beside.value = state.beside;
    p.marksChoice.value = state.marks;
    p.landmarks.value = Math.round(100 * state.landmarks);
    p.landmarks.setAttribute("aria-valuetext", `${p.landmarks.value} % of the mask`);
    p.invert.setAttribute("aria-pressed", String(state.inverted));
    p.guard.setAttribute("aria-pressed", String(state.guard));
    p.refine.setAttribute("aria-pressed", String(state.refine));
    p.progress.textContent = this.sayProgress(count);
    if (state.window) {
      const [low, high] = state.window, digits = high - low > 20 ? 0 : 3;
      p.windowValue.textContent = `C ${((low + high) / 2).toFixed(digits)}  W ${(high - low).toFixed(digits)}`;
    }
    this.writeBackground(weights);
    this.writeCaptions(warp, weights);
  }

  sayProgress(count) {
    if (!this.background) return "The network is being loaded …";
    if (count < this.run.frames) return `Warps at this λ: ${count} of ${this.run.frames} frames`;
    return this.weights.has(this.wish) ? "All frames are at this λ." : "The guard judges the run …";
  }

  writeBackground(weights) {
    const { parts: p, background, state, run } = this;
    if (!background) return;
    const numbers = [...new Set(background.steps.flatMap((step) => step.numbers))];
    const words = { number: "named here", tag: "named by the run", arrival: "before iodine arrives", first: "the first" };
    p.backgroundValue.textContent = `frame ${numbers.length > 3 ? `${numbers[0]} … ${numbers.at(-1)}` : numbers.join(", ")}`;
    p.backgroundSays.textContent = words[background.choice];
    p.warning.textContent = [...run.warnings, ...background.warnings].join(" ");
    const [rows, columns] = state.shift;
    p.shiftValue.textContent = rows || columns ? `Plain DSA shifted by ${-rows} rows, ${-columns} columns` : "";
    const held = weights?.map((weight, i) => [weight, i + 1]).filter(([weight, frame]) => weight < 1 && !numbers.includes(frame));
    const none = held?.filter(([weight]) => weight === 0).length ?? 0;
    p.guardSays.textContent = !weights ? "" : !state.guard ? "Every warp in full." : held.length
      ? `Left unwarped: ${none} frames; warped in part: ${held.length - none}.` : "Every frame is warped: the motion is evident.";
  }

  writeCaptions(warp, weights) {
    const { parts: p, state, background } = this, panels = this.panels;
    p.divider.hidden = state.layout !== "swipe";
    p.divider.style.left = `${100 * state.split}%`;
    p.divider.setAttribute("aria-valuenow", Math.round(100 * state.split));
    [0, 1].forEach((i) => {
      const panel = panels[i], caption = p.captions[i], corner = p.corners[i];
      caption.hidden = corner.hidden = !panel;
      if (!panel) return;
      const swiped = state.layout === "swipe" && i === 1;
      for (const part of [caption, corner]) {
        part.style.left = swiped ? "" : `${panel.left}px`;
        part.style.right = swiped ? "0" : "";
      }
      caption.replaceChildren(...this.title(panel.name, warp, weights));
      corner.textContent = swiped ? "" : this.cornerOf(panel.name);
    });
  }

  title(name, warp, weights) {
    const { state, background } = this, small = (text, late = false) => make("small", { class: late ? "late" : "" }, ` ${text}`);
    if (!background) return ["Frame as acquired", small("subtracted as soon as the network is there")];
    if (name === "frame") return ["Frame as acquired"];
    const own = background.of[state.frame]?.split(",").includes(String(state.frame)) && state.time === "now" ? [small("background frame")] : [];
    const over = OVER[state.time] ? [small(OVER[state.time])] : [];
    if (name === "plain") return ["Plain DSA", ...(state.shift.some(Boolean) ? [small("shifted")] : []), ...over, ...own];
    const title = state.beside === "warp" ? `Warp, up to ${this.largest().toFixed(1)} px` : TITLES[state.beside];
    if (!warp) return [title, small("warp to come", true)];
    const weight = this.weightOf(state.frame), shown = `λ ${state.hyper.toFixed(2)}`;
    const held = state.guard && weights && weight < 1 ? [small(weight ? `warped by ${Math.round(100 * weight)} %` : "left unwarped", true)] : [];
    if (state.beside === "bsa" && over.length) return [title, ...(this.sayMixed() ? [small(this.sayMixed(), true)] : [small(shown)]), ...over];
    const late = warp.hyper !== state.hyper;
    return [title, small(late ? `λ ${warp.hyper.toFixed(2)}, ${state.hyper.toFixed(2)} to come` : shown, late), ...own, ...(own.length ? [] : held)];
  }

  // What a picture or curve over all frames has to say while some of them are at another λ, or have no warp.
  sayMixed() {
    const { run, state } = this, at = Array.from({ length: run.frames }, (_, i) => this.findWarp(i + 1)?.hyper === state.hyper).filter(Boolean).length;
    return at < run.frames ? `λ ${state.hyper.toFixed(2)} in ${at} of ${run.frames} frames, others to come` : "";
  }

  cornerOf(name) {
    const { state, run } = this, picture = this.shows(name), about = picture === PICTURES.frame ? state.frameWindow : state.window;
    if (!about || picture > PICTURES.peak) return `frame ${state.frame} / ${run.frames}`;
    const [low, high] = about, digits = high - low > 20 ? 0 : 2;
    const marks = state.landmarks && name !== "frame" ? ` · landmarks ${Math.round(100 * state.landmarks)} %` : "";
    return `frame ${state.frame} / ${run.frames} · C ${((low + high) / 2).toFixed(digits)} W ${(high - low).toFixed(digits)}${marks}`;
  }

  // -- export

  async exportPicture() {
    this.paint();
    this.write();
    const { picture, marks, captions, corners, stage, divider } = this.parts, ratio = window.devicePixelRatio || 1;
    const canvas = make("canvas", { width: picture.width, height: picture.height }), pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    pen.drawImage(marks, 0, 0);
    pen.scale(ratio, ratio);
    pen.shadowColor = "#000";
    pen.shadowBlur = 3;
    pen.fillStyle = "#e8edf3";
    const box = stage.getBoundingClientRect();
    for (const part of [...captions, ...corners].filter((each) => !each.hidden)) {
      const there = part.getBoundingClientRect();
      pen.font = `${captions.includes(part) ? 14 : 12}px system-ui, sans-serif`;
      pen.fillText([...part.childNodes].map((node) => node.textContent).join(" "), there.left - box.left + 8, there.top - box.top + 17);
    }
    if (!divider.hidden) pen.fillRect(this.state.split * stage.clientWidth - 1, 0, 2, stage.clientHeight);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    this.download(blob, `angiomorph_frame_${this.state.frame}.png`);
  }

  async saveRun(kind) {
    const { state, parts: p } = this;
    p.saved.textContent = "The whole run is being registered …";
    const asked = { file: kind, background: state.background, hyper: state.hyper, refine: state.refine ? 1 : 0, guard: state.guard ? 1 : 0 };
    if (state.window) [asked.black, asked.white] = state.inverted ? [...state.window].reverse() : state.window;
    try {
      const { info, data } = await this.source.ask("save", asked);
      this.download(new Blob([data]), info.name);
      p.saved.textContent = `Saved: ${info.name}`;
    } catch (error) {
      p.saved.textContent = "";
      this.refused(error);
    }
  }

  download(blob, name) {
    const address = URL.createObjectURL(blob);
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  // -- for those who measure

  values(name = "bsa") {
    const target = (this.work ??= this.painter.target(...this.size)), found = this.find(name, this.state.frame);
    if (!found) return null;
    this.compose(found, target);
    const all = this.painter.read(target, ...this.size);
    return Float32Array.from({ length: all.length / 4 }, (_, i) => all[4 * i]);
  }
}

// ---- As a page, and as a widget in a notebook --------------------------------------------------------------------------------

export default {
  render({ model, el }) {
    el.style.height = "640px";
    const viewer = new Viewer(el, new Kernel(model));
    viewer.open();
    return () => viewer.end();
  },
};

const place = document.getElementById("angiomorph-viewer");
if (place) {
  const viewer = new Viewer(place, new Server(document.baseURI), { whole: true });
  viewer.open();
  viewer.watch();
}
