/* The resize with AVX2. A unit is two pixels as 16-bit numbers of eight rows, multiplied with a pair of weights in two
 * parts each. Grey takes two vectors a unit, sixteen rows; RGB three, the channels of eight rows, so that each pair of
 * weights is loaded once for all of them.
 */
#include "resize_bands.h"

#ifdef MMTK_X86

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 ALWAYS

enum { LANES = 8 };

static void pack(const int32_t *weights, int32_t *words)
{
    words[0] = two(high_part(weights[0]), high_part(weights[1]));
    words[1] = two(low_part(weights[0]), low_part(weights[1]));
}

/* Turns eight rows of eight 16-bit items (two bytes each), row r beside row r + 4, into items of eight rows, widened to
 * 16-bit numbers. Everything stays in its half of a vector, so that each step is one instruction for two rows. */
INLINE void turn(const __m256i row[LANES / 2], __m256i *out, ptrdiff_t step, int items)
{
    const __m256i none = _mm256_setzero_si256();
    __m256i a[4], b[4];
    for (int i = 0; i < 2; i++) {
        a[2 * i] = _mm256_unpacklo_epi16(row[2 * i], row[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(row[2 * i], row[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[2 * i] = _mm256_unpacklo_epi32(a[i], a[i + 2]);
        b[2 * i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 2]);
    }
    for (int i = 0; i < 4; i++) {
        if (2 * i < items)
            out[2 * i * step] = _mm256_unpacklo_epi8(b[i], none);
        if (2 * i + 1 < items)
            out[(2 * i + 1) * step] = _mm256_unpackhi_epi8(b[i], none);
    }
}

/* The last bytes of a row, fewer than 16, and zeros behind them. */
INLINE __m128i rest(const uint8_t *from, ptrdiff_t bytes)
{
    uint8_t tail[16] = {0};
    memcpy(tail, from, (size_t)bytes);
    return _mm_loadu_si128((const __m128i *)(const void *)tail);
}

INLINE void fill(const Band *band, const int grey)
{
    ptrdiff_t bytes = band->source->width * band->source->channels;
    /* of four RGB pixels: the units R0R1, G0G1, B0B1, R2R3, G2G3, B2B3 */
    const __m256i apart = _mm256_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1,
                                           0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1);
    for (ptrdiff_t half = 0; half < (grey ? 2 : 1); half++) {
        const uint8_t *line[LANES];
        for (ptrdiff_t r = 0; r < LANES; r++)
            line[r] = band_row(band, half * LANES + r);
        __m256i part[LANES / 2], *units = band->units;
        for (ptrdiff_t at = 0; at < bytes; at += grey ? 16 : 12) {
            for (int r = 0; r < LANES / 2; r++) {
                __m128i upper, lower;
                if (at + 16 <= bytes) {
                    upper = _mm_loadu_si128((const __m128i *)(const void *)(line[r] + at));
                    lower = _mm_loadu_si128((const __m128i *)(const void *)(line[r + 4] + at));
                } else {
                    upper = rest(line[r] + at, bytes - at);
                    lower = rest(line[r + 4] + at, bytes - at);
                }
                part[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(upper), lower, 1);
                if (!grey)
                    part[r] = _mm256_shuffle_epi8(part[r], apart);
            }
            if (grey)
                turn(part, units + at / 2 * 2 + half, 2, 8);
            else
                turn(part, units + at / 2, 1, 6);
        }
    }
}

/* One output of all rows of a band: `vectors` results, bytes that are clipped already, as 32-bit lanes. */
INLINE void output(const Band *band, const Making *making, ptrdiff_t i, __m256i *result, const int vectors)
{
    const Pass *x = &making->target->x;
    const __m256i *unit = (const __m256i *)band->units + x->bounds[2 * i] / 2 * vectors;
    const int32_t *words = making->weights + i * making->units * 2;
    ptrdiff_t count = (x->bounds[2 * i] % 2 + x->bounds[2 * i + 1] + 1) / 2;
    __m256i highs[3], lows[3];
    for (int v = 0; v < vectors; v++) {
        highs[v] = _mm256_setzero_si256();
        lows[v] = _mm256_set1_epi32(HALF);
    }
#pragma GCC unroll 2
    for (ptrdiff_t u = 0; u < count; u++) {
        __m256i h = _mm256_set1_epi32(words[2 * u]), l = _mm256_set1_epi32(words[2 * u + 1]);
        for (int v = 0; v < vectors; v++) {
            __m256i pixels = unit[u * vectors + v];
            highs[v] = _mm256_add_epi32(highs[v], _mm256_madd_epi16(pixels, h));
            lows[v] = _mm256_add_epi32(lows[v], _mm256_madd_epi16(pixels, l));
        }
    }
    for (int v = 0; v < vectors; v++) {
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(highs[v], LOW_BITS), lows[v]);
        sum = _mm256_max_epi32(_mm256_srai_epi32(sum, PRECISION), _mm256_setzero_si256());
        result[v] = _mm256_min_epi32(sum, _mm256_set1_epi32(255));
    }
}

/* Stores four outputs of eight rows, four bytes a row. */
INLINE void store_group(const __m256i four[GROUP], uint8_t *const row[LANES], ptrdiff_t at)
{
    const __m256i turned = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
                                            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(four[0], four[1]), _mm256_packs_epi32(four[2], four[3]));
    bytes = _mm256_shuffle_epi8(bytes, turned);
    int32_t lane[LANES];
    _mm256_storeu_si256((__m256i *)(void *)lane, bytes);
    for (int r = 0; r < LANES; r++)
        memcpy(row[r] + at, lane + r, GROUP);
}

AVX2 static void fill_grey(const Band *band)
{
    fill(band, 1);
}

AVX2 static void fill_rgb(const Band *band)
{
    fill(band, 0);
}

AVX2 static void across_grey(const Band *band, const Making *making)
{
    const ptrdiff_t size = making->target->x.size;
    uint8_t *row[2 * LANES];
    for (ptrdiff_t r = 0; r < 2 * LANES; r++)
        row[r] = ring_row(making, band->first + r);
    for (ptrdiff_t i = 0; i < size; i += GROUP) {
        __m256i upper[GROUP] = {0}, lower[GROUP] = {0};
        for (ptrdiff_t g = 0; g < GROUP && i + g < size; g++) {
            __m256i both[2];
            output(band, making, i + g, both, 2);
            upper[g] = both[0];
            lower[g] = both[1];
        }
        store_group(upper, row, i);
        store_group(lower, row + LANES, i);
    }
}

AVX2 static void across_rgb(const Band *band, const Making *making)
{
    const ptrdiff_t size = making->target->x.size;
    uint8_t *row[LANES];
    for (ptrdiff_t r = 0; r < LANES; r++)
        row[r] = ring_row(making, band->first + r);
    for (ptrdiff_t i = 0; i < size; i += GROUP) {
        __m256i pixels[3 * GROUP] = {0};
        for (ptrdiff_t g = 0; g < GROUP && i + g < size; g++)
            output(band, making, i + g, pixels + 3 * g, 3);
        for (int part = 0; part < 3; part++)
            store_group(pixels + GROUP * part, row, 3 * i + GROUP * part);
    }
}

int resize_avx2(const Source *source, const Target *targets, ptrdiff_t count)
{
    static const Path path = {
        .rows = {2 * LANES, LANES}, .step = {16, 12}, .filled = {16 * 32, 6 * 32}, .pixels = 2, .words = 2,
        .pack = pack, .fill = {fill_grey, fill_rgb}, .across = {across_grey, across_rgb},
    };
    return resize_by_bands(&path, source, targets, count);
}

int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

#else

int resize_avx2(const Source *source, const Target *targets, ptrdiff_t count)
{
    return resize_plain(source, targets, count);
}

int has_avx2(void)
{
    return 0;
}

#endif
