// From a picture to the pixels that the model was trained on, as calibration/preprocess.py makes them: the shorter side
// resized with an antialiased filter, across before down, the centre cropped. The arithmetic is Pillow's (Resample.c):
// weights rounded to 22 bits, sums to 8. A test compares the two.

const PRECISION = 22;
const FILTERS = {
  bilinear: { support: 1, weight: x => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: x => {
      const a = -0.5, d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
};

/** Return the sizes before and after cropping: [width, height] of the picture resized until it covers the box. */
export function covering(width, height, [tall, wide]) {
  if (tall * width >= wide * height) return [Math.floor((2 * width * tall + height) / (2 * height)), tall];
  return [wide, Math.floor((2 * height * wide + width) / (2 * width))];
}

function weights(from, to, filter) {
  const scale = from / to, spread = Math.max(scale, 1), support = filter.support * spread;
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support + 0.5), from);
    const found = [];
    for (let i = first; i < last; i++) found.push(filter.weight((i - centre + 0.5) / spread));
    const sum = found.reduce((a, b) => a + b, 0);
    return { first, found: found.map(w => Math.trunc((w / sum) * 2 ** PRECISION + (w < 0 ? -0.5 : 0.5))) };
  });
}

const clip = value => Math.min(255, Math.max(0, value));

function across({ data, width, height }, to, filter) {
  const all = weights(width, to, filter), out = new Uint8Array(to * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < to; x++) {
      const { first, found } = all[x];
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (PRECISION - 1);
        for (let k = 0; k < found.length; k++) sum += data[(y * width + first + k) * 3 + c] * found[k];
        out[(y * to + x) * 3 + c] = clip(Math.floor(sum / 2 ** PRECISION));
      }
    }
  }
  return { data: out, width: to, height };
}

function down({ data, width, height }, to, filter) {
  const all = weights(height, to, filter), out = new Uint8Array(width * to * 3), row = width * 3;
  for (let y = 0; y < to; y++) {
    const { first, found } = all[y];
    for (let i = 0; i < row; i++) {
      let sum = 2 ** (PRECISION - 1);
      for (let k = 0; k < found.length; k++) sum += data[(first + k) * row + i] * found[k];
      out[y * row + i] = clip(Math.floor(sum / 2 ** PRECISION));
    }
  }
  return { data: out, width, height: to };
}

/** Return RGB pixels, Uint8Array of height * width * 3. `picture` holds RGB bytes; `input` is the manifest's. */
export function prepare(picture, input) {
  const filter = FILTERS[input.interpolation];
  const [wide, tall] = covering(picture.width, picture.height, input.box);
  if (wide !== picture.width) picture = across(picture, wide, filter);
  if (tall !== picture.height) picture = down(picture, tall, filter);
  const left = Math.floor((wide - input.width) / 2), top = Math.floor((tall - input.height) / 2);
  const out = new Uint8Array(input.height * input.width * 3);
  for (let y = 0; y < input.height; y++) {
    const start = ((top + y) * wide + left) * 3;
    out.set(picture.data.subarray(start, start + input.width * 3), y * input.width * 3);
  }
  return out;
}

/** Return the model's input of such pixels: moved into its range and type, in its layout. */
export function toInput(pixels, input) {
  const [low, high] = input.value_range, size = input.height * input.width;
  const integer = { uint8: Uint8Array, int8: Int8Array }[input.dtype];
  const out = integer ? new integer(pixels.length) : new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    const channel = i % 3;
    const place = input.layout === "NCHW" ? channel * size + (i - channel) / 3 : i;
    if (integer) out[place] = pixels[i] + low;
    else if (input.normalization === "caller") out[place] = pixels[i] / (255 * input.std[channel]) - input.mean[channel] / input.std[channel];
    else out[place] = pixels[i] * ((high - low) / 255) + low;
  }
  return out;
}
