/* The resize with AVX2. A unit is two pixels as 16-bit numbers of eight rows, multiplied with a pair of weights in two
 * parts each. Grey takes two vectors a unit, sixteen rows; RGB three, the channels of eight rows, so that each pair of
 * weights is loaded once for all of them.
 */
#include "resize_bands.h"

#ifdef MMTK_X86

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 ALWAYS

#define IN_REGISTER(vector) __asm__("" : "+x"(vector)) /* else compilers load it for each use, and loads are scarce */

enum { LANES = 8, GROUP = 8 }; /* rows of a vector, outputs stored together */

static inline void pack_unit(const int32_t *weights, int32_t *words)
{
    words[0] = two(high_part(weights[0]), high_part(weights[1]));
    words[1] = two(low_part(weights[0]), low_part(weights[1]));
}

static void pack(const Making *making)
{
    pack_units(making, 2, 2, pack_unit);
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

/* One step of eight rows: sixteen grey pixels, or four RGB ones of the sixteen bytes. */
INLINE void fill_step(const uint8_t *const line[LANES], ptrdiff_t at, __m256i *out, const int grey)
{
    /* of four RGB pixels: the units R0R1, G0G1, B0B1, R2R3, G2G3, B2B3 */
    const __m256i apart = _mm256_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1,
                                           0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1);
    __m256i part[LANES / 2];
    for (int r = 0; r < LANES / 2; r++) {
        part[r] = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(line[r] + at)));
        part[r] = _mm256_inserti128_si256(part[r], _mm_loadu_si128((const __m128i *)(const void *)(line[r + 4] + at)), 1);
        if (!grey)
            part[r] = _mm256_shuffle_epi8(part[r], apart);
    }
    if (grey)
        turn(part, out, 2, 8);
    else
        turn(part, out, 1, 6);
}

INLINE void fill(const Band *band, const int grey)
{
    const ptrdiff_t step = grey ? 16 : 12, bytes = band->source->width * band->source->channels;
    for (ptrdiff_t half = 0; half < (grey ? 2 : 1); half++) {
        const uint8_t *line[LANES];
        for (ptrdiff_t r = 0; r < LANES; r++)
            line[r] = band_row(band, half * LANES + r);
        __m256i *out = (__m256i *)band->units + half;
        ptrdiff_t at = 0;
        for (; at + 16 <= bytes; at += step, out += grey ? 16 : 6)
            fill_step(line, at, out, grey);
        for (; at < bytes; at += step, out += grey ? 16 : 6) { /* the last bytes of the rows, and zeros behind them */
            uint8_t tail[LANES][16] = {{0}};
            const uint8_t *padded[LANES];
            for (ptrdiff_t r = 0; r < LANES; r++)
                padded[r] = memcpy(tail[r], line[r] + at, (size_t)(bytes - at));
            fill_step(padded, 0, out, grey);
        }
    }
}

/* From two sums to a number that is not yet clipped. */
INLINE __m256i whole(__m256i highs, __m256i lows)
{
    return _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(highs, LOW_BITS), lows), PRECISION);
}

/* Four vectors of such numbers, clipped to bytes; each half of a vector stays in its half. */
INLINE __m256i bytes(const __m256i four[4])
{
    return _mm256_packus_epi16(_mm256_packs_epi32(four[0], four[1]), _mm256_packs_epi32(four[2], four[3]));
}

/* One output of all rows of a band: `vectors` results, not yet clipped, as 32-bit lanes. */
INLINE void output(const Band *band, const Making *making, ptrdiff_t i, __m256i *result, const int vectors)
{
    const int32_t *bounds = making->target->x.bounds + 2 * i, *words = making->weights + i * making->units * 2;
    const uint32_t start = (uint32_t)bounds[0], units = (start % 2 + (uint32_t)bounds[1] + 1) / 2;
    const __m256i *unit = (const __m256i *)band->units + start / 2 * (size_t)vectors;
    const int32_t *end = words + 2 * units;
    __m256i highs[3], lows[3];
    for (int v = 0; v < vectors; v++) {
        highs[v] = _mm256_setzero_si256();
        lows[v] = _mm256_set1_epi32(HALF);
        IN_REGISTER(highs[v]);
        IN_REGISTER(lows[v]);
    }
    do {
        const __m256i h = _mm256_set1_epi32(words[0]), l = _mm256_set1_epi32(words[1]);
        for (int v = 0; v < vectors; v++) {
            __m256i pixels = unit[v];
            IN_REGISTER(pixels);
            highs[v] = _mm256_add_epi32(highs[v], _mm256_madd_epi16(pixels, h));
            lows[v] = _mm256_add_epi32(lows[v], _mm256_madd_epi16(pixels, l));
            IN_REGISTER(highs[v]);
            IN_REGISTER(lows[v]);
        }
        unit += vectors;
    } while ((words += 2) < end);
    for (int v = 0; v < vectors; v++)
        result[v] = whole(highs[v], lows[v]);
}

/* Stores eight outputs of eight rows, eight bytes a row. */
INLINE void store_group(const __m256i eight[GROUP], uint8_t *const row[LANES], ptrdiff_t at)
{
    const __m256i turned = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
                                            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i near = _mm256_shuffle_epi8(bytes(eight), turned), far = _mm256_shuffle_epi8(bytes(eight + 4), turned);
    __m256i even = _mm256_unpacklo_epi32(near, far), odd = _mm256_unpackhi_epi32(near, far);
    __m128i two_rows[4] = {
        _mm256_castsi256_si128(even), _mm256_castsi256_si128(odd),
        _mm256_extracti128_si256(even, 1), _mm256_extracti128_si256(odd, 1),
    };
    for (int r = 0; r < 4; r++) {
        _mm_storel_epi64((__m128i *)(void *)(row[2 * r] + at), two_rows[r]);
        _mm_storeh_pi((__m64 *)(void *)(row[2 * r + 1] + at), _mm_castsi128_ps(two_rows[r]));
    }
}

AVX2 static void fill_grey(const Band *band)
{
    fill(band, 1);
}

AVX2 static void fill_rgb(const Band *band)
{
    fill(band, 0);
}

/* The outputs behind the last are the last one again, and their bytes go into the pad. */
AVX2 static void across_grey(const Band *band, const Making *making)
{
    const ptrdiff_t size = making->target->x.size;
    uint8_t *row[2 * LANES];
    for (ptrdiff_t r = 0; r < 2 * LANES; r++)
        row[r] = ring_row(making, band->first + r);
    for (ptrdiff_t i = 0; i < size; i += GROUP) {
        __m256i upper[GROUP], lower[GROUP], both[2];
        for (ptrdiff_t g = 0; g < GROUP; g++) {
            output(band, making, i + g < size ? i + g : size - 1, both, 2);
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
        __m256i pixels[3 * GROUP];
        for (ptrdiff_t g = 0; g < GROUP; g++)
            output(band, making, i + g < size ? i + g : size - 1, pixels + 3 * g, 3);
        for (int part = 0; part < 3; part++)
            store_group(pixels + GROUP * part, row, 3 * i + GROUP * part);
    }
}

/* 32 columns of an output row, its rows two by two. */
INLINE __m256i columns(const Making *making, ptrdiff_t count, ptrdiff_t at)
{
    const __m256i none = _mm256_setzero_si256();
    const uint8_t *const *lines = making->lines;
    __m256i highs[4], lows[4];
    for (int v = 0; v < 4; v++) {
        highs[v] = none;
        lows[v] = _mm256_set1_epi32(HALF);
    }
    for (ptrdiff_t k = 0; k < count; k += 2) {
        __m256i h = _mm256_set1_epi32(making->pairs[k]), l = _mm256_set1_epi32(making->pairs[k + 1]);
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(lines[k] + at));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(lines[k + 1] + at));
        __m256i near = _mm256_unpacklo_epi8(a, b), far = _mm256_unpackhi_epi8(a, b);
        __m256i both[4] = {
            _mm256_unpacklo_epi8(near, none), _mm256_unpackhi_epi8(near, none),
            _mm256_unpacklo_epi8(far, none), _mm256_unpackhi_epi8(far, none),
        };
        for (int v = 0; v < 4; v++) {
            highs[v] = _mm256_add_epi32(highs[v], _mm256_madd_epi16(both[v], h));
            lows[v] = _mm256_add_epi32(lows[v], _mm256_madd_epi16(both[v], l));
        }
    }
    for (int v = 0; v < 4; v++)
        lows[v] = whole(highs[v], lows[v]);
    return bytes(lows);
}

INLINE void down(const Making *making, ptrdiff_t count, uint8_t *restrict out)
{
    const ptrdiff_t row = making->target->row;
    for (ptrdiff_t at = 0; at + 32 <= row; at += 32)
        _mm256_storeu_si256((__m256i *)(void *)(out + at), columns(making, count, at));
    if (row > 32 && row % 32) /* the last 32, some of them again */
        _mm256_storeu_si256((__m256i *)(void *)(out + row - 32), columns(making, count, row - 32));
}

AVX2 void down_avx2(const Making *making, uint8_t *out)
{
    const Target *target = making->target;
    const ptrdiff_t i = making->next, count = target->y.bounds[2 * i + 1], row = target->row;
    const int32_t *weight = target->y.weights + i * target->y.taps;
    making->lines[count] = making->lines[count - 1];
    for (ptrdiff_t k = 0; k < count; k += 2) {
        int32_t unit[2] = {weight[k], k + 1 < count ? weight[k + 1] : 0};
        pack_unit(unit, making->pairs + k);
    }
    if (row >= 32 && count <= 2) {
        down(making, 2, out); /* known to the compiler: nearly all that are enlarged */
    } else if (row >= 32) {
        down(making, count, out);
    } else { /* the ring has a pad to read */
        uint8_t narrow[32];
        _mm256_storeu_si256((__m256i *)(void *)narrow, columns(making, count, 0));
        memcpy(out, narrow, (size_t)row);
    }
}

int resize_avx2(const Source *source, const Target *targets, ptrdiff_t count)
{
    static const Path path = {
        .rows = {2 * LANES, LANES}, .step = {16, 12}, .filled = {16 * 32, 6 * 32}, .pixels = 2, .words = 2,
        .pack = pack, .fill = {fill_grey, fill_rgb}, .across = {across_grey, across_rgb},
        .down = down_avx2,
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
