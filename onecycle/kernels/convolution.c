/* Convolutions 3 x 3 with padding 1 on AMX, the matrix unit of newer Xeons, in bfloat16.

   A tile of AMX holds 16 rows of 64 bytes, and one instruction multiplies 16 x 32 by 32 x 16 values
   and adds the product to 16 x 16 floats. The tiles here run along the images of a batch, at one
   pixel. So a small map fills them as well as a large one, every tap of the filter reads the same
   packed pixels, and pixels beyond the border are left out instead of multiplied by zero: at 4 x 4
   pixels these are 44 of 144 products.

   Activations are B H W C in memory (channels_last), weights are K 3 3 C; C and K are multiples of
   32, or of 16 if only `weight_gradient` is used. All sums are taken in an order that depends on the
   shape alone, not on the number of threads. */

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint16_t element; /* a bfloat16 */

#define TILE 512  /* elements of a tile, and */
#define SUMS 256  /* floats */
#define IMAGES 32 /* images side by side */
#define TAPS 9

/* Input or output channels, and pixels, of one visit to the sums of a gradient. Sized so that the
   packed pixels and the sums stay in a second-level cache of 2 MB. */
#define BLOCK 128
#define PIXELS 32

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static inline int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }
static inline int64_t larger(int64_t one, int64_t other) { return one > other ? one : other; }
static inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

/* ------------------------------------------------------------------------------------- tiles */

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
} tile_shapes;

/* Asks Linux to let this process use the tiles; 0 if it does not. */
int64_t allowed(void) { return !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA); }

/* Eight full tiles for this thread; `former` receives its old shapes, for `give_back`. */
static void take_tiles(tile_shapes *former) {
    tile_shapes full = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        full.bytes_per_row[i] = 64;
        full.rows[i] = 16;
    }
    _tile_storeconfig(former);
    _tile_loadconfig(&full);
}

static void give_back(const tile_shapes *former) {
    if (former->palette)
        _tile_loadconfig(former);
    else
        _tile_release();
}

/* ----------------------------------------------------------------------------------- packing */

/* 16 values of two rows, interleaved: the order in which AMX multiplies. NULL stands for zeros. */
static inline __m512i interleaved(const element *one, const element *two) {
    __m512i low = _mm512_setzero_si512(), high = low;
    if (one) low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)one));
    if (two) high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)two));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* Transpose 16 x 16 words. */
static inline void transpose(__m512i row[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        row[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        row[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        row[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        row[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        row[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        row[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

static inline void store(const __m512i row[16], element *tile) {
    for (int i = 0; i < 16; i++) _mm512_store_si512(tile + 32 * i, row[i]);
}

/* 16 columns of 32 rows, `stride` elements apart; rows from `present` on are zeros. The tile is
   [16 pairs of rows][16 columns][2]. */
static inline void pack_pairs(const element *x, int64_t stride, int64_t present, __m512i row[16]) {
    for (int i = 0; i < 16; i++, x += 2 * stride)
        row[i] = interleaved(2 * i < present ? x : NULL, 2 * i + 1 < present ? x + stride : NULL);
}

static inline void pack_right(const element *x, int64_t stride, int64_t present, element *tile) {
    __m512i row[16];
    pack_pairs(x, stride, present, row);
    store(row, tile);
}

/* The same as the left factor: [16 columns][32 rows]. */
static inline void pack_left(const element *x, int64_t stride, int64_t present, element *tile) {
    __m512i row[16];
    pack_pairs(x, stride, present, row);
    transpose(row);
    store(row, tile);
}

/* ------------------------------------------------------------------- gradient of the weights */

typedef struct {
    const element *x, *gradient; /* B H W C and B H W K */
    int64_t B, H, W, C, K;
    int64_t rows;   /* of a map, at a visit */
    int64_t groups; /* of IMAGES images, at a visit */
    int64_t kept;   /* rows of x that are packed at a time: a ring */
    int64_t blocks_K, blocks_C, slabs;
} work;

/* One thread's buffers, and its current block. */
typedef struct {
    element *left, *right; /* [groups][rows][W][tiles_K] and [groups][kept][W][tiles_C] tiles */
    float *sums;           /* [3 rows of the filter][tiles_K][tiles_C][3] tiles */
    int64_t first_K, tiles_K, first_C, tiles_C;
} room;

static work plan(int64_t B, int64_t H, int64_t W, int64_t C, int64_t K) {
    work the = {.B = B, .H = H, .W = W, .C = C, .K = K};
    the.rows = larger(1, smaller(H, PIXELS / W));
    the.groups = larger(1, smaller(PIXELS / (H * W), parts(B, IMAGES)));
    the.kept = smaller(the.rows + 2, H);
    the.blocks_K = parts(K, BLOCK);
    the.blocks_C = parts(C, BLOCK);
    /* Enough work for some dozens of threads. */
    int64_t wanted = parts(32, the.blocks_K * the.blocks_C);
    the.slabs = smaller(wanted, parts(B, IMAGES * the.groups));
    return the;
}

/* Number of slabs of images, for the caller, who allocates the sums of each. */
int64_t slabs(int64_t B, int64_t H, int64_t W, int64_t C, int64_t K) {
    return plan(B, H, W, C, K).slabs;
}

static void pack_group(const work *the, const room *my, int64_t group, int64_t image, int64_t top,
                       int64_t bottom, int64_t packed, int64_t needed) {
    int64_t W = the->W, present = larger(0, the->B - image);
    int64_t apart_K = the->H * W * the->K, apart_C = the->H * W * the->C;
    const element *gradient = the->gradient + image * apart_K + my->first_K;
    element *tile = my->left + group * the->rows * W * my->tiles_K * TILE;
    for (int64_t pixel = top * W; pixel < bottom * W; pixel++)
        for (int64_t k = 0; k < my->tiles_K; k++, tile += TILE)
            pack_left(gradient + pixel * the->K + 16 * k, apart_K, present, tile);
    const element *x = the->x + image * apart_C + my->first_C;
    for (int64_t row = packed; row < needed; row++) {
        tile = my->right + (group * the->kept + row % the->kept) * W * my->tiles_C * TILE;
        for (int64_t pixel = row * W; pixel < (row + 1) * W; pixel++)
            for (int64_t c = 0; c < my->tiles_C; c++, tile += TILE)
                pack_right(x + pixel * the->C + 16 * c, apart_C, present, tile);
    }
}

/* Tiles 0, 1, 2: sums of the filter's three columns. Tiles 3, 4, 5: x at three pixels side by side,
   `before`, `at` and `after`, of which each step loads one. */
#define STEP(before, at, after)                                                                    \
    _tile_loadd(6, left, 64);                                                                      \
    _tile_loadd(after, right, 64);                                                                 \
    _tile_dpbf16ps(0, 6, before);                                                                  \
    _tile_dpbf16ps(1, 6, at);                                                                      \
    _tile_dpbf16ps(2, 6, after);                                                                   \
    left += left_pixel, right += right_pixel;

#define LAST(before, at)                                                                           \
    _tile_loadd(6, left, 64);                                                                      \
    _tile_dpbf16ps(0, 6, before);                                                                  \
    _tile_dpbf16ps(1, 6, at);

/* Adds the product of a row of W pixels of the gradient with those of x at the same places and on
   both sides. */
static inline void add_row(const element *left, int64_t left_pixel, const element *right,
                           int64_t right_pixel, int64_t W) {
    _tile_loadd(6, left, 64);
    _tile_loadd(3, right, 64);
    _tile_dpbf16ps(1, 6, 3);
    if (W == 1) return;
    left += left_pixel, right += right_pixel;
    _tile_loadd(4, right, 64);
    _tile_dpbf16ps(2, 6, 4);
    right += right_pixel;
    int64_t left_over = W - 1;
    for (; left_over > 3; left_over -= 3) {
        STEP(3, 4, 5)
        STEP(4, 5, 3)
        STEP(5, 3, 4)
    }
    if (left_over == 1) {
        LAST(3, 4)
    } else if (left_over == 2) {
        STEP(3, 4, 5)
        LAST(4, 5)
    } else {
        STEP(3, 4, 5)
        STEP(4, 5, 3)
        LAST(5, 3)
    }
}

/* Adds the packed rows from `top` to `bottom` to all sums. */
static void add_rows(const work *the, const room *my, int64_t top, int64_t bottom) {
    int64_t W = the->W, left_pixel = my->tiles_K * TILE, right_pixel = my->tiles_C * TILE;
    float *sums = my->sums;
    for (int64_t down = -1; down <= 1; down++) {
        int64_t from = larger(top, -down), to = smaller(bottom, the->H - down);
        for (int64_t k = 0; k < my->tiles_K; k++)
            for (int64_t c = 0; c < my->tiles_C; c++, sums += 3 * SUMS) {
                _tile_loadd(0, sums, 64);
                _tile_loadd(1, sums + SUMS, 64);
                _tile_loadd(2, sums + 2 * SUMS, 64);
                for (int64_t group = 0; group < the->groups; group++)
                    for (int64_t row = from; row < to; row++) {
                        int64_t left = group * the->rows + row - top;
                        int64_t right = group * the->kept + (row + down) % the->kept;
                        add_row(my->left + left * W * left_pixel + k * TILE, left_pixel,
                                my->right + right * W * right_pixel + c * TILE, right_pixel, W);
                    }
                _tile_stored(0, sums, 64);
                _tile_stored(1, sums + SUMS, 64);
                _tile_stored(2, sums + 2 * SUMS, 64);
            }
    }
}

/* The sums of one block of channels over one slab of images. */
static void sum_slab(const work *the, const room *my, int64_t slab) {
    int64_t visits = parts(the->B, IMAGES * the->groups);
    memset(my->sums, 0, TAPS * my->tiles_K * my->tiles_C * SUMS * sizeof(float));
    for (int64_t at = visits * slab / the->slabs; at < visits * (slab + 1) / the->slabs; at++)
        for (int64_t top = 0, packed = 0; top < the->H; top += the->rows) {
            int64_t bottom = smaller(top + the->rows, the->H);
            int64_t needed = smaller(bottom + 1, the->H);
            for (int64_t group = 0; group < the->groups; group++) {
                int64_t image = (at * the->groups + group) * IMAGES;
                pack_group(the, my, group, image, top, bottom, packed, needed);
            }
            packed = needed;
            add_rows(the, my, top, bottom);
        }
}

/* Writes the sums from tiles to their places in K 3 3 C. */
static void write_sums(const work *the, const room *my, float *out) {
    const float *from = my->sums;
    for (int64_t row = 0; row < 3; row++)
        for (int64_t k = 0; k < my->tiles_K; k++)
            for (int64_t c = 0; c < my->tiles_C; c++)
                for (int64_t column = 0; column < 3; column++)
                    for (int64_t i = 0; i < 16; i++, from += 16) {
                        int64_t filter = my->first_K + 16 * k + i, tap = 3 * row + column;
                        memcpy(out + (filter * TAPS + tap) * the->C + my->first_C + 16 * c, from,
                               16 * sizeof(float));
                    }
}

static void *reserve(const work *the, room *my) {
    int64_t most_K = smaller(the->K, BLOCK) / 16, most_C = smaller(the->C, BLOCK) / 16;
    size_t left = the->groups * the->rows * the->W * most_K * TILE * sizeof(element);
    size_t right = the->groups * the->kept * the->W * most_C * TILE * sizeof(element);
    size_t sums = TAPS * most_K * most_C * SUMS * sizeof(float);
    char *memory = aligned_alloc(64, left + right + sums);
    if (!memory) return NULL;
    my->left = (element *)memory;
    my->right = (element *)(memory + left);
    my->sums = (float *)(memory + left + right);
    return memory;
}

static void add_up(const float *restrict partial, int64_t slabs, int64_t size,
                   float *restrict total) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < size; i += 16) {
        memcpy(total + i, partial + i, 16 * sizeof(float));
        for (int64_t slab = 1; slab < slabs; slab++)
            for (int64_t j = i; j < i + 16; j++) total[j] += partial[slab * size + j];
    }
}

/* total[K][3][3][C]: the gradient of the weights. `partial` has room for one per slab, and is
   `total` itself if there is one slab. Returns 0, or 1 if there was no memory. */
int64_t weight_gradient(const element *x, const element *gradient, int64_t B, int64_t H, int64_t W,
                        int64_t C, int64_t K, float *partial, float *total) {
    work the = plan(B, H, W, C, K);
    the.x = x, the.gradient = gradient;
    int64_t blocks = the.blocks_K * the.blocks_C, failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        room my;
        tile_shapes former;
        void *memory = reserve(&the, &my);
        failed = !memory;
        take_tiles(&former);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < the.slabs * blocks; task++) {
            if (!memory) continue;
            int64_t slab = task / blocks, block = task % blocks;
            my.first_K = block / the.blocks_C * BLOCK, my.first_C = block % the.blocks_C * BLOCK;
            my.tiles_K = smaller(BLOCK, K - my.first_K) / 16;
            my.tiles_C = smaller(BLOCK, C - my.first_C) / 16;
            sum_slab(&the, &my, slab);
            write_sums(&the, &my, partial + slab * K * TAPS * C);
        }
        give_back(&former);
        free(memory);
    }
    if (the.slabs > 1) add_up(partial, the.slabs, K * TAPS * C, total);
    return failed;
}

/* -------------------------------------------------------------------------------- convolution */

/* tiles[N / 16][9][D / 32]: the weights K 3 3 C as right factors. N = K outputs of D = C inputs, or
   mirrored, for the gradient of the input, N = C outputs of D = K inputs. */
void pack_weights(const element *weights, int64_t K, int64_t C, int64_t mirrored, element *tiles) {
    int64_t N = mirrored ? C : K, deep = (mirrored ? K : C) / 32;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < N / 16 * TAPS; at++) {
        int64_t first = at / TAPS * 16, tap = at % TAPS;
        for (int64_t d = 0; d < deep; d++) {
            element *tile = tiles + (at * deep + d) * TILE;
            if (mirrored) {
                const element *from = weights + (d * 32 * TAPS + TAPS - 1 - tap) * C + first;
                pack_right(from, TAPS * C, 32, tile);
                continue;
            }
            __m512i row[16];
            const element *from = weights + (first * TAPS + tap) * C + d * 32;
            for (int i = 0; i < 16; i++) row[i] = _mm512_loadu_si512(from + i * TAPS * C);
            transpose(row);
            store(row, tile);
        }
    }
}

/* [pixels][2][deep] tiles of 16 images x 32 channels, of 32 images from x on. */
static void pack_images(const element *x, int64_t present, int64_t pixels, int64_t deep,
                        element *tiles) {
    for (int64_t image = 0; image < IMAGES; image++)
        for (int64_t pixel = 0; pixel < pixels; pixel++) {
            element *to = tiles + (pixel * 2 + image / 16) * deep * TILE + image % 16 * 32;
            const element *from = x + (image * pixels + pixel) * deep * 32;
            for (int64_t d = 0; d < deep; d++, to += TILE, from += 32)
                if (image < present)
                    memcpy(to, from, 64);
                else
                    memset(to, 0, 64);
        }
}

/* Adds 32 images x 32 inputs per step, times the weights of 32 outputs, to tiles 0 to 3. */
static inline void add_tap(const element *images, const element *weights, int64_t apart,
                           int64_t deep) {
    const element *below = images + deep * TILE;
    for (int64_t d = 0; d < deep * TILE; d += TILE) {
        _tile_loadd(4, images + d, 64);
        _tile_loadd(6, weights + d, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, weights + apart + d, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, below + d, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* Rounds tiles 0 to 3 and writes them to y, the address of the first image's 32 channels. */
static inline void write_outputs(element *y, int64_t apart, int64_t present) {
    float sums[4][SUMS] __attribute__((aligned(64)));
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    for (int64_t image = 0; image < smaller(IMAGES, present); image++) {
        const float *row = sums[image / 16 * 2] + image % 16 * 16;
        __m512bh both = _mm512_cvtne2ps_pbh(_mm512_load_ps(row + SUMS), _mm512_load_ps(row));
        memcpy(y + image * apart, &both, 64);
    }
}

/* y[32 images][H][W][N], the outputs from `from` to `to`, of packed images. */
static void convolve_images(const element *images, const element *weights, element *y,
                            int64_t present, int64_t H, int64_t W, int64_t deep, int64_t N,
                            int64_t from, int64_t to) {
    int64_t apart = TAPS * deep * TILE;
    for (int64_t n = from; n < to; n += 32)
        for (int64_t pixel = 0; pixel < H * W; pixel++) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (int64_t tap = 0; tap < TAPS; tap++) {
                int64_t row = pixel / W + tap / 3 - 1, column = pixel % W + tap % 3 - 1;
                if (row < 0 || row >= H || column < 0 || column >= W) continue;
                add_tap(images + (row * W + column) * 2 * deep * TILE,
                        weights + n / 16 * apart + tap * deep * TILE, apart, deep);
            }
            write_outputs(y + pixel * N + n, H * W * N, present);
        }
}

/* y[B][H][W][N] from x[B][H][W][D] and packed weights. Returns 0, or 1 if there was no memory. */
int64_t convolve(const element *x, const element *weights, element *y, int64_t B, int64_t H,
                 int64_t W, int64_t D, int64_t N, int64_t threads) {
    int64_t blocks = parts(B, IMAGES), deep = D / 32, failed = 0;
    int64_t shares = smaller(N / 32, parts(2 * threads, blocks)); /* of the outputs: tasks for all */
#pragma omp parallel reduction(| : failed)
    {
        tile_shapes former;
        element *images = aligned_alloc(64, H * W * 2 * deep * TILE * sizeof(element));
        failed = !images;
        take_tiles(&former);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < blocks * shares; task++) {
            if (!images) continue;
            int64_t first = task / shares * IMAGES, share = task % shares;
            pack_images(x + first * H * W * D, B - first, H * W, deep, images);
            convolve_images(images, weights, y + first * H * W * N, B - first, H, W, deep, N,
                            N / 32 * share / shares * 32, N / 32 * (share + 1) / shares * 32);
        }
        give_back(&former);
        free(images);
    }
    return failed;
}
