// What training does to a photo before the network: Pillow's bilinear resizing (a canvas scales in a
// way of its own), and its grey. The bytes are the same, with one exception: Pillow 13 resizes some
// tall images down first and then across, so some bytes differ by 1.

/**
 * The whole photo or its middle at the network's size, as uint8 H W C.
 *
 * @param {{width: number, height: number, rows: function(number, number): Uint8Array}} photo
 *     `rows(top, count)` gives rows as RGBA, on white. They are asked for in strips, in order.
 * @param {[number, number]} size height and width to resize to.
 * @param {"crop" | "squash"} rule `crop` scales the photo until it covers the size and keeps the
 *     middle; `squash` scales both sides.
 * @param {1 | 3} channels grey or RGB.
 */
function networkInput(photo, [height, width], rule, channels) {
  const [left, top, right, bottom] = box(photo, height, width, rule);
  const columns = taps(photo.width, left, right, width);
  const lines = taps(photo.height, top, bottom, height);
  const resized = down(across(photo, columns, lines), width, lines);
  return channels === 1 ? grey(resized) : resized;
}

/** The part of the photo that is scaled. Pixels around it count at its edges. */
function box(photo, height, width, rule) {
  let [across, down] = [photo.width, photo.height];
  if (rule === "crop") {
    if (across * height > down * width) across = (down * width) / height;
    else down = (across * height) / width;
  }
  const [left, top] = [(photo.width - across) / 2, (photo.height - down) / 2];
  return [left, top, photo.width - left, photo.height - top];
}

const BITS = 22; // of a weight, as Pillow has them: sums of 8-bit values stay below 2^31
const HALF = 2 ** (BITS - 1);
const STRIP = 2 ** 20; // pixels read at a time: some browsers limit a canvas to 2^24

/** For each output pixel along one side: the first input pixel that counts, and all weights. */
function taps(length, start, end, count) {
  [start, end] = [Math.fround(start), Math.fround(end)];
  const scale = Math.fround(end - start) / count;
  const reach = Math.max(scale, 1); // wider than a pixel when scaling down: antialiasing
  return Array.from({ length: count }, (_, index) => {
    const centre = start + (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(length, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let pixel = first; pixel < last; pixel++) {
      weights.push(Math.max(0, 1 - Math.abs((pixel - centre + 0.5) * (1 / reach))));
    }
    const sum = weights.reduce((one, other) => one + other, 0);
    return {
      first,
      weights: Int32Array.from(weights, (weight) => Math.trunc(0.5 + (weight / sum) * 2 ** BITS)),
    };
  });
}

/** The rows that count, with as many columns as the output has: uint8 RGB, and the first's index. */
function across(photo, columns, lines) {
  const top = lines[0].first;
  const bottom = lines.at(-1).first + lines.at(-1).weights.length;
  const values = new Uint8Array((bottom - top) * columns.length * 3);
  const strip = Math.max(1, Math.floor(STRIP / photo.width));
  let at = 0;
  for (let row = top; row < bottom; row += strip) {
    const count = Math.min(strip, bottom - row);
    const pixels = photo.rows(row, count);
    for (let y = 0; y < count; y++) {
      for (const { first, weights } of columns) {
        let [red, green, blue] = [HALF, HALF, HALF];
        let from = (y * photo.width + first) * 4;
        for (let k = 0; k < weights.length; k++, from += 4) {
          red += pixels[from] * weights[k];
          green += pixels[from + 1] * weights[k];
          blue += pixels[from + 2] * weights[k];
        }
        values[at++] = red >> BITS;
        values[at++] = green >> BITS;
        values[at++] = blue >> BITS;
      }
    }
  }
  return { top, values };
}

/** The rows of the output, from those of `across`. */
function down({ top, values }, width, lines) {
  const stride = width * 3;
  const out = new Uint8Array(lines.length * stride);
  lines.forEach(({ first, weights }, y) => {
    for (let x = 0; x < stride; x++) {
      let sum = HALF;
      let from = (first - top) * stride + x;
      for (let k = 0; k < weights.length; k++, from += stride) sum += values[from] * weights[k];
      out[y * stride + x] = sum >> BITS;
    }
  });
  return out;
}

/** The lightness of RGB values, with Pillow's weights (ITU-R 601-2). */
function grey(values) {
  return Uint8Array.from({ length: values.length / 3 }, (_, i) => {
    const [red, green, blue] = values.subarray(3 * i, 3 * i + 3);
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  });
}
