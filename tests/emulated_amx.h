/* The tile instructions of AMX in plain C, so that convolution.c runs on any CPU with AVX-512 and
   bfloat16, and under sanitizers. Compile with `-include emulated_amx.h`.

   What Intel's manual says of them: 8 tiles for each thread, of the rows and bytes that were
   configured; a load or store goes row by row, `stride` bytes apart; TDPBF16PS adds products of pairs
   of bfloat16 values to floats. Using a tile that was not configured is an error here as there. */

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Not inlined: some dozens of copies of them would take a compiler ten seconds. */
#define SLOW static __attribute__((noinline, unused))

#undef _tile_loadconfig
#undef _tile_storeconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig emulated_loadconfig
#define _tile_storeconfig emulated_storeconfig
#define _tile_release emulated_release
#define _tile_zero emulated_zero
#define _tile_loadd emulated_loadd
#define _tile_stored emulated_stored
#define _tile_dpbf16ps emulated_dpbf16ps

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
} emulated_config;

static __thread emulated_config emulated_now;
static __thread union {
    uint8_t bytes[16][64];
    uint16_t halves[16][32];
    float floats[16][16];
} emulated_tile[8];

static inline void emulated_check(int tile) {
    if (!emulated_now.palette || tile < 0 || tile > 7 || !emulated_now.rows[tile]) abort();
}

SLOW void emulated_storeconfig(void *to) { memcpy(to, &emulated_now, 64); }

SLOW void emulated_release(void) {
    memset(&emulated_now, 0, 64);
    memset(emulated_tile, 0, sizeof emulated_tile);
}

SLOW void emulated_loadconfig(const void *from) {
    emulated_release();
    memcpy(&emulated_now, from, 64);
}

SLOW void emulated_zero(int tile) {
    emulated_check(tile);
    memset(&emulated_tile[tile], 0, sizeof emulated_tile[tile]);
}

SLOW void emulated_loadd(int tile, const void *from, int64_t stride) {
    emulated_zero(tile);
    for (int row = 0; row < emulated_now.rows[tile]; row++)
        memcpy(emulated_tile[tile].bytes[row], (const uint8_t *)from + row * stride,
               emulated_now.bytes_per_row[tile]);
}

SLOW void emulated_stored(int tile, void *to, int64_t stride) {
    emulated_check(tile);
    for (int row = 0; row < emulated_now.rows[tile]; row++)
        memcpy((uint8_t *)to + row * stride, emulated_tile[tile].bytes[row],
               emulated_now.bytes_per_row[tile]);
}

static inline float emulated_widen(uint16_t half) {
    uint32_t word = (uint32_t)half << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

/* Touches the tiles alone, so that there is nothing for a sanitizer to see. */
__attribute__((optimize("O3"), no_sanitize("address", "undefined"))) SLOW void emulated_dpbf16ps(int sums, int left, int right) {
    emulated_check(sums), emulated_check(left), emulated_check(right);
    for (int m = 0; m < emulated_now.rows[sums]; m++)
        for (int k = 0; k < emulated_now.bytes_per_row[left] / 4; k++) {
            float one = emulated_widen(emulated_tile[left].halves[m][2 * k]);
            float two = emulated_widen(emulated_tile[left].halves[m][2 * k + 1]);
            for (int n = 0; n < emulated_now.bytes_per_row[sums] / 4; n++)
                emulated_tile[sums].floats[m][n] +=
                    one * emulated_widen(emulated_tile[right].halves[k][2 * n]) +
                    two * emulated_widen(emulated_tile[right].halves[k][2 * n + 1]);
        }
}
