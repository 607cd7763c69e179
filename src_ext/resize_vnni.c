/* The resize with AVX-512 VNNI. A unit is four pixels of sixteen rows, bytes as they are, and a weight is taken apart into
 * three signed bytes, w = a + 256 b + 65536 c: one instruction a byte multiplies and adds four pixels of all rows. The
 * three sums, put together modulo 2^32, give the final sum, which fits, exactly.
 *
 * With MMTK_SIMDE the instructions are replaced by what SIMDe says they do, so that the path can be tested anywhere.
 */
#include "resize_bands.h"

#ifdef MMTK_X86

#ifdef MMTK_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#define VNNI
#else
#include <immintrin.h>
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))
#endif
#define INLINE VNNI ALWAYS

enum { LANES = 16, UNIT = 4, DIGITS = 3, GROUP = 4 }; /* GROUP: outputs stored together */

static inline void pack_unit(const int32_t *weights, int32_t *words)
{
    for (int digit = 0; digit < DIGITS; digit++)
        words[digit] = 0;
    for (int p = 0; p < UNIT; p++) {
        int32_t left = weights[p];
        for (int digit = 0; digit < DIGITS; digit++) {
            int32_t byte = ((left + 128) & 255) - 128; /* -128 to 127, and what is left a multiple of 256 */
            words[digit] |= (int32_t)((uint32_t)(byte & 255) << (8 * p));
            left = (left - byte) / 256;
        }
    }
}

static void pack(const Making *making)
{
    pack_units(making, UNIT, DIGITS, pack_unit);
}

/* The last bytes of a row, fewer than 16, and zeros behind them. */
static inline __m128i rest(const uint8_t *from, ptrdiff_t bytes)
{
    uint8_t tail[16] = {0};
    memcpy(tail, from, (size_t)bytes);
    return _mm_loadu_si128((const __m128i *)(const void *)tail);
}

/* Sixteen bytes each of rows 0, 4, 8, 12 from `line` on. */
INLINE __m512i four_rows(const uint8_t *const *line, ptrdiff_t at, ptrdiff_t bytes)
{
    __m128i part[4];
    for (int r = 0; r < 4; r++) {
        const uint8_t *from = line[4 * r] + at;
        part[r] = at + 16 <= bytes ? _mm_loadu_si128((const __m128i *)(const void *)from) : rest(from, bytes - at);
    }
    __m512i all = _mm512_castsi128_si512(part[0]);
    all = _mm512_inserti32x4(all, part[1], 1);
    all = _mm512_inserti32x4(all, part[2], 2);
    return _mm512_inserti32x4(all, part[3], 3);
}

INLINE void fill(const Band *band, const int grey)
{
    const ptrdiff_t bytes = band->source->width * band->source->channels;
    /* of four RGB pixels: the units R0R1R2R3, G0G1G2G3, B0B1B2B3 */
    const __m512i apart = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
    const uint8_t *line[LANES];
    for (ptrdiff_t r = 0; r < LANES; r++)
        line[r] = band_row(band, r);
    __m512i *out = band->units;
    for (ptrdiff_t at = 0; at < bytes; at += grey ? 16 : 12, out += grey ? 4 : 3) {
        __m512i row[4], pairs[4];
        for (int r = 0; r < 4; r++) {
            row[r] = four_rows(line + r, at, bytes);
            if (!grey)
                row[r] = _mm512_shuffle_epi8(row[r], apart);
        }
        for (int i = 0; i < 2; i++) { /* each quarter of a vector: four units of four rows, turned */
            pairs[2 * i] = _mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
        }
        out[0] = _mm512_unpacklo_epi64(pairs[0], pairs[2]);
        out[1] = _mm512_unpackhi_epi64(pairs[0], pairs[2]);
        out[2] = _mm512_unpacklo_epi64(pairs[1], pairs[3]);
        if (grey)
            out[3] = _mm512_unpackhi_epi64(pairs[1], pairs[3]);
    }
}

/* One output of all rows of a band: for each channel, bytes that are clipped already, as 32-bit lanes. */
INLINE void output(const Band *band, const Making *making, ptrdiff_t i, __m512i *result, const int channels)
{
    const Pass *x = &making->target->x;
    const __m512i *unit = (const __m512i *)band->units + x->bounds[2 * i] / UNIT * channels;
    const int32_t *words = making->weights + i * making->units * DIGITS;
    ptrdiff_t count = (x->bounds[2 * i] % UNIT + x->bounds[2 * i + 1] + UNIT - 1) / UNIT;
    __m512i sums[3][DIGITS];
    for (int c = 0; c < channels; c++) {
        sums[c][0] = _mm512_set1_epi32(HALF);
        sums[c][1] = sums[c][2] = _mm512_setzero_si512();
    }
    for (ptrdiff_t u = 0; u < count; u++) {
        for (int digit = 0; digit < DIGITS; digit++) {
            __m512i weights = _mm512_set1_epi32(words[DIGITS * u + digit]);
            for (int c = 0; c < channels; c++)
                sums[c][digit] = _mm512_dpbusd_epi32(sums[c][digit], unit[u * channels + c], weights);
        }
    }
    for (int c = 0; c < channels; c++) {
        __m512i sum = _mm512_add_epi32(sums[c][0], _mm512_slli_epi32(sums[c][1], 8));
        sum = _mm512_add_epi32(sum, _mm512_slli_epi32(sums[c][2], 16));
        sum = _mm512_srli_epi32(_mm512_max_epi32(sum, _mm512_setzero_si512()), PRECISION);
        result[c] = _mm512_min_epi32(sum, _mm512_set1_epi32(255));
    }
}

/* Stores four outputs of sixteen rows, four bytes a row. */
INLINE void store_group(const __m512i four[GROUP], uint8_t *const row[LANES], ptrdiff_t at)
{
    __m512i bytes = four[0];
    bytes = _mm512_or_si512(bytes, _mm512_slli_epi32(four[1], 8));
    bytes = _mm512_or_si512(bytes, _mm512_slli_epi32(four[2], 16));
    bytes = _mm512_or_si512(bytes, _mm512_slli_epi32(four[3], 24));
    int32_t lane[LANES];
    _mm512_storeu_si512(lane, bytes);
    for (int r = 0; r < LANES; r++)
        memcpy(row[r] + at, lane + r, GROUP);
}

INLINE void across(const Band *band, const Making *making, const int channels)
{
    const ptrdiff_t size = making->target->x.size;
    uint8_t *row[LANES];
    for (ptrdiff_t r = 0; r < LANES; r++)
        row[r] = ring_row(making, band->first + r);
    for (ptrdiff_t i = 0; i < size; i += GROUP) {
        __m512i pixels[3 * GROUP];
        for (ptrdiff_t g = 0; g < GROUP; g++) {
            if (i + g < size)
                output(band, making, i + g, pixels + channels * g, channels);
            else
                for (int c = 0; c < channels; c++)
                    pixels[channels * g + c] = _mm512_setzero_si512();
        }
        for (int part = 0; part < channels; part++)
            store_group(pixels + GROUP * part, row, channels * i + GROUP * part);
    }
}

VNNI static void fill_grey(const Band *band)
{
    fill(band, 1);
}

VNNI static void fill_rgb(const Band *band)
{
    fill(band, 0);
}

VNNI static void across_grey(const Band *band, const Making *making)
{
    across(band, making, 1);
}

VNNI static void across_rgb(const Band *band, const Making *making)
{
    across(band, making, 3);
}

int resize_vnni(const Source *source, const Target *targets, ptrdiff_t count)
{
    static const Path path = {
        .rows = {LANES, LANES}, .step = {16, 12}, .filled = {4 * 64, 3 * 64}, .pixels = UNIT, .words = DIGITS,
        .pack = pack, .fill = {fill_grey, fill_rgb}, .across = {across_grey, across_rgb},
        .down = down_avx2,
    };
    return resize_by_bands(&path, source, targets, count);
}

int has_vnni(void)
{
#ifdef MMTK_SIMDE
    return has_avx2();
#else
    return has_avx2() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
#endif
}

#else

int resize_vnni(const Source *source, const Target *targets, ptrdiff_t count)
{
    return resize_plain(source, targets, count);
}

int has_vnni(void)
{
    return 0;
}

#endif
