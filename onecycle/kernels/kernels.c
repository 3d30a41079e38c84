/* Batch norm, ReLU and max pooling, forward and backward, in as few passes over the activations as
   possible. On a CPU these passes wait for memory, so each pass saved saves time.

   Compiled once per element type, by `compiling.py`:
     ELEMENT_BF16    elements are bfloat16, arithmetic is float
     ELEMENT_FLOAT   both are float
     ELEMENT_DOUBLE  both are double: for gradient checks

   Activations are M rows of C channels in memory (B H W C, which PyTorch calls channels_last).
   `scale` and `shift` normalize a value x to x * scale + shift, the input of the ReLU. The backward
   passes compute it again instead of storing it.

   Sums are taken over blocks of BLOCK_ROWS rows, so that a result does not depend on the number of
   threads. The caller adds the blocks up, in order. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_ROWS 512

#if defined(ELEMENT_BF16)
typedef uint16_t element;
typedef float real;

static inline real widen(element bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

static inline element narrow(real value) { /* to the nearest, ties to even */
    uint32_t word;
    memcpy(&word, &value, 4);
    uint32_t rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
    return value != value ? 0x7fc0 : (element)rounded;
}

typedef int16_t order;

static inline order rank(element bits) { /* grows with the value; NaN of either sign on top */
    int16_t word = (int16_t)bits;
    int16_t magnitude = (int16_t)(word & 0x7fff);
    int16_t rank = (int16_t)(word ^ ((word >> 15) & 0x7fff));
    return magnitude > 0x7f80 ? (int16_t)0x7fff : rank;
}

static inline int exceeds(order one, order other) { return one > other; }
#else
#if defined(ELEMENT_FLOAT)
typedef float element;
#elif defined(ELEMENT_DOUBLE)
typedef double element;
#endif
typedef element real;
typedef element order;

static inline real widen(element value) { return value; }
static inline element narrow(real value) { return value; }
static inline order rank(element value) { return value; }

static inline int exceeds(order one, order other) { /* NaN exceeds every number */
    return (one > other) | ((one != one) & (other == other));
}
#endif

static inline int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

/* Rows per block of the sums, for the caller, who allocates them. */
int64_t block_rows(void) { return BLOCK_ROWS; }

/* Merges the mean and the sum of squared deviations of the rows so far with those of more rows, `m`
   and `q` (Chan, Golub and LeVeque, 1983). `share` is the new rows' share of all rows, and `weight`
   is `share` times the number of rows so far. */
#define MERGE(m, q)                                                                                \
    do {                                                                                           \
        real delta = (m) - mean[c];                                                                \
        mean[c] += delta * share;                                                                  \
        square[c] += (q) + delta * delta * weight;                                                 \
    } while (0)

/* The mean of each channel over the rows, and the sum of squared deviations from it.

   Each group of eight rows has its own mean, so that no value affects the precision of the others:
   values far from zero, or an outlier anywhere, cost no more than their own rounding. Only the first
   row's value, which all rows have in common, is subtracted before. */
static void block_moments(const element *restrict x, int64_t rows, int64_t C, real *restrict mean,
                          real *restrict square) {
    memset(mean, 0, C * sizeof(real));
    memset(square, 0, C * sizeof(real));
    int64_t row = 0;
    for (; row + 8 <= rows; row += 8) {
        const element *restrict p = x + row * C;
        real share = (real)8 / (row + 8), weight = row * share;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            real origin = widen(x[c]);
            real d0 = widen(p[c]) - origin, d1 = widen(p[c + C]) - origin;
            real d2 = widen(p[c + 2 * C]) - origin, d3 = widen(p[c + 3 * C]) - origin;
            real d4 = widen(p[c + 4 * C]) - origin, d5 = widen(p[c + 5 * C]) - origin;
            real d6 = widen(p[c + 6 * C]) - origin, d7 = widen(p[c + 7 * C]) - origin;
            real m = (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))) * (real)0.125;
            d0 -= m, d1 -= m, d2 -= m, d3 -= m, d4 -= m, d5 -= m, d6 -= m, d7 -= m;
            real q = ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) +
                     ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7));
            MERGE(m, q);
        }
    }
    for (; row < rows; row++) {
        const element *restrict p = x + row * C;
        real share = (real)1 / (row + 1), weight = row * share;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) MERGE(widen(p[c]) - widen(x[c]), 0);
    }
}

/* result[0][c] and result[1][c]: mean and biased variance of each channel over M rows. `blocks` has
   room for two vectors per block of rows: its mean, relative to its first row, and its sum of
   squares. They are merged in order, whatever the number of threads. */
void moments(const element *restrict x, int64_t M, int64_t C, real *restrict blocks,
             double *restrict result) {
    int64_t count = (M + BLOCK_ROWS - 1) / BLOCK_ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < count; block++) {
        int64_t row = block * BLOCK_ROWS;
        real *room = blocks + block * 2 * C;
        block_moments(x + row * C, smaller(M - row, BLOCK_ROWS), C, room, room + C);
    }
    double *restrict mean = result, *restrict square = result + C;
    memset(result, 0, 2 * C * sizeof(double));
    for (int64_t block = 0; block < count; block++) {
        int64_t row = block * BLOCK_ROWS;
        const element *restrict first = x + row * C;
        const real *restrict m = blocks + block * 2 * C, *restrict q = m + C;
        double rows = smaller(M - row, BLOCK_ROWS), share = rows / (row + rows);
        double weight = row * share;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            double delta = (double)widen(first[c]) + m[c] - mean[c];
            mean[c] += delta * share;
            square[c] += q[c] + delta * delta * weight;
        }
    }
    for (int64_t c = 0; c < C; c++) square[c] /= M;
}

/* y = relu(x * scale + shift), plus `added` if that is not NULL. NaN stays NaN. */
void norm_relu(const element *restrict x, const element *restrict added, element *restrict y,
               int64_t M, int64_t C, const real *restrict scale, const real *restrict shift) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < M; row++) {
        const element *restrict p = x + row * C;
        element *restrict out = y + row * C;
        if (added) {
            const element *restrict q = added + row * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                real value = widen(p[c]) * scale[c] + shift[c];
                out[c] = narrow((value < 0 ? 0 : value) + widen(q[c]));
            }
        } else {
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                real value = widen(p[c]) * scale[c] + shift[c];
                out[c] = narrow(value < 0 ? 0 : value);
            }
        }
    }
}

/* The gradient before the ReLU: the one after it if the input was above zero, else 0. */
static inline real passed(element gradient, real x, real scale, real shift) {
    return x * scale + shift > 0 ? widen(gradient) : 0;
}

/* sums[block][0][c], sums[block][1][c]: sum of g and of g * (x - mean) over the block's rows, where
   g is the gradient before the ReLU. */
void gradient_sums(const element *restrict gradient, const element *restrict x, int64_t M,
                   int64_t C, const real *restrict scale, const real *restrict shift,
                   const real *restrict mean, real *restrict sums) {
    int64_t blocks = (M + BLOCK_ROWS - 1) / BLOCK_ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        real *restrict first = sums + block * 2 * C, *restrict second = first + C;
        memset(first, 0, 2 * C * sizeof(real));
        int64_t row = block * BLOCK_ROWS, end = smaller(M, row + BLOCK_ROWS);
        for (; row + 2 <= end; row += 2) {
            const element *restrict p = x + row * C, *restrict g = gradient + row * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                real x0 = widen(p[c]), x1 = widen(p[c + C]);
                real g0 = passed(g[c], x0, scale[c], shift[c]);
                real g1 = passed(g[c + C], x1, scale[c], shift[c]);
                first[c] += g0 + g1;
                second[c] += g0 * (x0 - mean[c]) + g1 * (x1 - mean[c]);
            }
        }
        for (; row < end; row++) {
            const element *restrict p = x + row * C, *restrict g = gradient + row * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                real x0 = widen(p[c]), g0 = passed(g[c], x0, scale[c], shift[c]);
                first[c] += g0;
                second[c] += g0 * (x0 - mean[c]);
            }
        }
    }
}

/* The gradient of x: scale * g + slope * x + offset, with g as above. */
void norm_relu_backward(const element *restrict gradient, const element *restrict x,
                        element *restrict dx, int64_t M, int64_t C, const real *restrict scale,
                        const real *restrict shift, const real *restrict slope,
                        const real *restrict offset) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < M; row++) {
        const element *restrict p = x + row * C, *restrict g = gradient + row * C;
        element *restrict out = dx + row * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            real x0 = widen(p[c]), g0 = passed(g[c], x0, scale[c], shift[c]);
            out[c] = narrow(scale[c] * g0 + slope[c] * x0 + offset[c]);
        }
    }
}

static void pool_pixel(const element *restrict p0, const element *restrict p1,
                       const element *restrict p2, const element *restrict p3,
                       element *restrict y, uint8_t *restrict place, int64_t C) {
#pragma omp simd
    for (int64_t c = 0; c < C; c++) {
        element upper_left = p0[c], upper_right = p1[c], lower_left = p2[c], lower_right = p3[c];
        order r0 = rank(upper_left), r1 = rank(upper_right);
        order r2 = rank(lower_left), r3 = rank(lower_right);
        order right_above = exceeds(r1, r0), right_below = exceeds(r3, r2);
        element above = right_above ? upper_right : upper_left;
        element below = right_below ? lower_right : lower_left;
        order rank_above = right_above ? r1 : r0, rank_below = right_below ? r3 : r2;
        order lower = exceeds(rank_below, rank_above);
        y[c] = lower ? below : above;
        place[c] = (uint8_t)(lower ? right_below + 2 : right_above);
    }
}

/* Maximum of 2 x 2 pixels with stride 2, and which of the four it was (the first of equal ones). A
   last row or column without a partner is left out, as in PyTorch. */
void max_pool(const element *restrict x, int64_t B, int64_t H, int64_t W, int64_t C,
              element *restrict y, uint8_t *restrict place) {
    int64_t h = H / 2, w = W / 2;
#pragma omp parallel for schedule(static)
    for (int64_t line = 0; line < B * h; line++) {
        const element *pixel = x + (line / h * H + line % h * 2) * W * C;
        for (int64_t j = 0; j < w; j++, pixel += 2 * C) {
            int64_t out = (line * w + j) * C;
            const element *under = pixel + W * C;
            pool_pixel(pixel, pixel + C, under, under + C, y + out, place + out, C);
        }
    }
}

/* `norm_relu_backward` and the backward pass of `max_pool` in one. `x` is pooled; `dx` is not, and
   must be filled with zeros if H or W is odd. */
void pool_norm_relu_backward(const element *restrict gradient, const element *restrict x,
                             const uint8_t *restrict place, element *restrict dx, int64_t B,
                             int64_t H, int64_t W, int64_t C, const real *restrict scale,
                             const real *restrict shift, const real *restrict slope,
                             const real *restrict offset) {
    int64_t h = H / 2, w = W / 2;
#pragma omp parallel for schedule(static)
    for (int64_t line = 0; line < B * h; line++) {
        element *top = dx + (line / h * H + line % h * 2) * W * C;
        for (int64_t j = 0; j < w; j++, top += 2 * C) {
            int64_t in = (line * w + j) * C;
            const element *restrict p = x + in, *restrict g = gradient + in;
            const uint8_t *restrict at = place + in;
            element *restrict d0 = top, *restrict d1 = d0 + C;
            element *restrict d2 = d0 + W * C, *restrict d3 = d2 + C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                real x0 = widen(p[c]), g0 = passed(g[c], x0, scale[c], shift[c]);
                element value = narrow(scale[c] * g0 + slope[c] * x0 + offset[c]);
                uint16_t chosen = at[c];
                d0[c] = chosen == 0 ? value : 0;
                d1[c] = chosen == 1 ? value : 0;
                d2[c] = chosen == 2 ? value : 0;
                d3[c] = chosen == 3 ? value : 0;
            }
        }
    }
}
