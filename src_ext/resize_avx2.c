/* The resize with AVX2: a band of rows at a time, a row a lane.
 *
 * Horizontal pass. A band of source rows is turned so that one vector holds the same two neighbouring pixels (a unit) of
 * eight rows as 16-bit numbers; multiplied with a pair of weights, a unit adds its share to eight rows at once, and no
 * sum across a vector is ever needed. Grey takes two vectors a unit, sixteen rows; RGB three, the channels of eight rows,
 * so that each pair of weights is loaded once for all of them. Vertical pass. Rows are taken two by two in the same way.
 */
#include "resize.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 static inline __attribute__((always_inline))

enum { LANES = 8, GROUP = 4, PAD = 32 }; /* rows a vector, outputs stored together, bytes behind a row of the ring */

typedef struct {
    const Job *job;
    ptrdiff_t vectors;      /* of a unit: 2 for grey, 3 for RGB */
    ptrdiff_t rows;         /* of a band: 16 for grey, 8 for RGB */
    __m256i *units;         /* (units, vectors): the band */
    int32_t *high, *low;    /* (x.size, pairs): two 16-bit weights each */
    ptrdiff_t pairs;        /* units an output reads, at most */
    uint8_t *ring;          /* (held, ring_row): rows between the passes */
    ptrdiff_t held, ring_row, last; /* last: the row behind the last that is needed */
    ptrdiff_t done;         /* rows before this one have been in the ring */
} Work;

static inline int32_t two(int16_t first, int16_t second)
{
    return (int32_t)((uint32_t)(uint16_t)first | (uint32_t)(uint16_t)second << 16);
}

/* Weights by units: an output may start at an odd pixel, whose unit then has a zero in front. */
static void pair_weights(const Work *work)
{
    const Pass *x = &work->job->x;
    for (ptrdiff_t i = 0; i < x->size; i++) {
        const int32_t *weight = x->weights + i * x->taps;
        ptrdiff_t odd = x->bounds[2 * i] & 1, count = x->bounds[2 * i + 1];
        for (ptrdiff_t u = 0; u < work->pairs; u++) {
            ptrdiff_t k = 2 * u - odd;
            int32_t a = k >= 0 && k < count ? weight[k] : 0, b = k + 1 < count ? weight[k + 1] : 0;
            work->high[i * work->pairs + u] = two(high_part(a), high_part(b));
            work->low[i * work->pairs + u] = two(low_part(a), low_part(b));
        }
    }
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

/* Fills the units of a band from row `first` on; rows behind the last one that is needed repeat it. */
INLINE void fill_band(const Work *work, ptrdiff_t first, const int grey)
{
    const Job *job = work->job;
    ptrdiff_t bytes = job->src_width * job->channels;
    /* of four RGB pixels: the units R0R1, G0G1, B0B1, R2R3, G2G3, B2B3 */
    const __m256i apart = _mm256_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1,
                                           0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1);
    for (ptrdiff_t half = 0; half < work->rows / LANES; half++) {
        const uint8_t *line[LANES];
        for (ptrdiff_t r = 0; r < LANES; r++) {
            ptrdiff_t row = first + half * LANES + r;
            line[r] = job->src + (row < work->last ? row : work->last - 1) * job->src_stride;
        }
        __m256i part[LANES / 2];
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
                turn(part, work->units + at / 2 * 2 + half, 2, 8);
            else
                turn(part, work->units + at / 2, 1, 6);
        }
    }
}

/* From two sums to bytes that are clipped already, as 32-bit lanes. */
INLINE __m256i finish(__m256i highs, __m256i lows)
{
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(highs, LOW_BITS), lows);
    sum = _mm256_srai_epi32(sum, PRECISION);
    return _mm256_min_epi32(_mm256_max_epi32(sum, _mm256_setzero_si256()), _mm256_set1_epi32(255));
}

/* One output of all rows of a band: `vectors` results. */
INLINE void output(const Work *work, ptrdiff_t i, __m256i *result, const int vectors)
{
    const Pass *x = &work->job->x;
    const __m256i *unit = work->units + x->bounds[2 * i] / 2 * vectors;
    const int32_t *high = work->high + i * work->pairs, *low = work->low + i * work->pairs;
    ptrdiff_t count = (x->bounds[2 * i] % 2 + x->bounds[2 * i + 1] + 1) / 2;
    __m256i highs[3], lows[3];
    for (int v = 0; v < vectors; v++) {
        highs[v] = _mm256_setzero_si256();
        lows[v] = _mm256_set1_epi32(HALF);
    }
#pragma GCC unroll 2
    for (ptrdiff_t u = 0; u < count; u++) {
        __m256i h = _mm256_set1_epi32(high[u]), l = _mm256_set1_epi32(low[u]);
        for (int v = 0; v < vectors; v++) {
            __m256i pixels = unit[u * vectors + v];
            highs[v] = _mm256_add_epi32(highs[v], _mm256_madd_epi16(pixels, h));
            lows[v] = _mm256_add_epi32(lows[v], _mm256_madd_epi16(pixels, l));
        }
    }
    for (int v = 0; v < vectors; v++)
        result[v] = finish(highs[v], lows[v]);
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

/* Brings the band from `work->done` on through the horizontal pass into the ring. Bytes are written behind the end of a
 * ring's row, into its pad; rows that are not needed go to a spare one. */
AVX2 static void horizontal(Work *work)
{
    const Job *job = work->job;
    uint8_t *row[2 * LANES];
    for (ptrdiff_t r = 0; r < work->rows; r++) {
        ptrdiff_t number = work->done + r;
        row[r] = work->ring + (number < work->last ? number % work->held : work->held) * work->ring_row;
    }
    const __m256i none = _mm256_setzero_si256();
    if (job->channels == 1) {
        fill_band(work, work->done, 1);
        for (ptrdiff_t i = 0; i < job->x.size; i += GROUP) {
            __m256i upper[GROUP] = {none, none, none, none}, lower[GROUP] = {none, none, none, none};
            for (ptrdiff_t g = 0; g < GROUP && i + g < job->x.size; g++) {
                __m256i both[2];
                output(work, i + g, both, 2);
                upper[g] = both[0];
                lower[g] = both[1];
            }
            store_group(upper, row, i);
            store_group(lower, row + LANES, i);
        }
    } else {
        fill_band(work, work->done, 0);
        for (ptrdiff_t i = 0; i < job->x.size; i += GROUP) {
            __m256i pixels[3 * GROUP];
            for (ptrdiff_t g = 0; g < GROUP; g++) {
                if (i + g < job->x.size)
                    output(work, i + g, pixels + 3 * g, 3);
                else
                    pixels[3 * g] = pixels[3 * g + 1] = pixels[3 * g + 2] = none;
            }
            for (int part = 0; part < 3; part++)
                store_group(pixels + GROUP * part, row, 3 * i + GROUP * part);
        }
    }
    work->done += work->rows;
}

/* One output row from `count` rows of `bytes` bytes; `row_at` finds them. */
static inline const uint8_t *row_at(const Work *work, ptrdiff_t row)
{
    const Job *job = work->job;
    return job->x.bounds ? work->ring + row % work->held * work->ring_row : job->src + row * job->src_stride;
}

AVX2 static void vertical(const Work *work, ptrdiff_t i)
{
    const Job *job = work->job;
    ptrdiff_t first = job->y.bounds[2 * i], count = job->y.bounds[2 * i + 1], at = 0;
    const int32_t *weight = job->y.weights + i * job->y.taps;
    uint8_t *out = job->dst + i * job->dst_row;
    ptrdiff_t whole = job->x.bounds ? job->dst_row : job->dst_row / 16 * 16; /* the ring has a pad to read */
    for (; at < whole; at += 16) {
        __m256i highs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        __m256i lows[2] = {_mm256_set1_epi32(HALF), _mm256_set1_epi32(HALF)};
        for (ptrdiff_t k = 0; k < count; k += 2) {
            int both = k + 1 < count;
            int32_t second = both ? weight[k + 1] : 0;
            const uint8_t *a = row_at(work, first + k), *b = both ? row_at(work, first + k + 1) : a;
            __m128i upper = _mm_loadu_si128((const __m128i *)(const void *)(a + at));
            __m128i lower = _mm_loadu_si128((const __m128i *)(const void *)(b + at));
            __m256i h = _mm256_set1_epi32(two(high_part(weight[k]), high_part(second)));
            __m256i l = _mm256_set1_epi32(two(low_part(weight[k]), low_part(second)));
            __m256i near = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(upper, lower));
            __m256i far = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(upper, lower));
            highs[0] = _mm256_add_epi32(highs[0], _mm256_madd_epi16(near, h));
            lows[0] = _mm256_add_epi32(lows[0], _mm256_madd_epi16(near, l));
            highs[1] = _mm256_add_epi32(highs[1], _mm256_madd_epi16(far, h));
            lows[1] = _mm256_add_epi32(lows[1], _mm256_madd_epi16(far, l));
        }
        __m256i words = _mm256_packs_epi32(finish(highs[0], lows[0]), finish(highs[1], lows[1]));
        words = _mm256_permute4x64_epi64(words, 0xD8);
        __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        if (at + 16 <= job->dst_row) {
            _mm_storeu_si128((__m128i *)(void *)(out + at), bytes);
        } else {
            uint8_t tail[16];
            _mm_storeu_si128((__m128i *)(void *)tail, bytes);
            memcpy(out + at, tail, (size_t)(job->dst_row - at));
        }
    }
    for (; at < job->dst_row; at++) { /* rows of the source have no pad to read */
        int32_t sum = HALF;
        for (ptrdiff_t k = 0; k < count; k++)
            sum += weight[k] * row_at(work, first + k)[at];
        out[at] = clip8(sum);
    }
}

/* The scratch lies in one piece, the units first, at a multiple of their size. No size overflows, see resize_plain. */
int resize_avx2(const Job *job)
{
    int grey = job->channels == 1;
    Work work = {.job = job, .vectors = grey ? 2 : 3, .rows = grey ? 2 * LANES : LANES};
    const ptrdiff_t rows = job->y.bounds ? job->y.size : job->dst_height;
    work.last = job->y.bounds ? job->y.bounds[2 * rows - 2] + job->y.bounds[2 * rows - 1] : rows;
    size_t units = 0, weights = 0, ring = 0;
    if (job->x.bounds) {
        work.pairs = job->x.most / 2 + 1;
        work.held = (job->y.bounds ? job->y.most : 0) + work.rows;
        work.ring_row = job->dst_row + PAD;
        units = (size_t)((job->src_width / 2 + 9) * work.vectors); /* a band's last step fills whole vectors */
        weights = (size_t)(job->x.size * work.pairs);
        ring = (size_t)((work.held + 1) * work.ring_row);
    }
    char *scratch = malloc(sizeof(__m256i) * (units + 1) + 2 * weights * sizeof(int32_t) + ring);
    if (!scratch)
        return -1;
    work.units = (__m256i *)(void *)(scratch + (sizeof(__m256i) - (uintptr_t)scratch % sizeof(__m256i)));
    work.high = (int32_t *)(void *)(work.units + units);
    work.low = work.high + weights;
    work.ring = (uint8_t *)(work.low + weights);
    if (job->x.bounds)
        pair_weights(&work);
    for (ptrdiff_t i = 0; i < job->dst_height; i++) {
        if (job->x.bounds) {
            ptrdiff_t first = job->y.bounds ? job->y.bounds[2 * i] : i;
            ptrdiff_t end = job->y.bounds ? first + job->y.bounds[2 * i + 1] : i + 1;
            if (work.done < first)
                work.done = first;
            while (work.done < end)
                horizontal(&work);
        }
        if (job->y.bounds)
            vertical(&work, i);
        else
            memcpy(job->dst + i * job->dst_row, row_at(&work, i), (size_t)job->dst_row);
    }
    free(scratch);
    return 0;
}

int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

#else

int resize_avx2(const Job *job)
{
    return resize_plain(job);
}

int has_avx2(void)
{
    return 0;
}

#endif
