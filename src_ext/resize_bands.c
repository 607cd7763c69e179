#include "resize_bands.h"

#ifdef MMTK_X86

#include <immintrin.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 };

#define AVX2 __attribute__((target("avx2")))

/* Weights by units: an output may start inside a unit, which then has zeros in front. */
static void pack_weights(const Making *making, const Path *path)
{
    const Pass *x = &making->target->x;
    int32_t *words = making->weights;
    for (ptrdiff_t i = 0; i < x->size; i++) {
        const int32_t *weight = x->weights + i * x->taps;
        ptrdiff_t count = x->bounds[2 * i + 1], k = -(x->bounds[2 * i] % path->pixels);
        for (ptrdiff_t u = 0; u < making->units; u++, words += path->words) {
            int32_t unit[4];
            for (ptrdiff_t p = 0; p < path->pixels; p++, k++)
                unit[p] = k >= 0 && k < count ? weight[k] : 0;
            path->pack(unit, words);
        }
    }
}

/* From two sums to bytes that are clipped already, as 32-bit lanes. */
AVX2 ALWAYS __m256i finish(__m256i highs, __m256i lows)
{
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(highs, LOW_BITS), lows);
    sum = _mm256_srai_epi32(sum, PRECISION);
    return _mm256_min_epi32(_mm256_max_epi32(sum, _mm256_setzero_si256()), _mm256_set1_epi32(255));
}

static inline const uint8_t *row_at(const Source *source, const Making *making, ptrdiff_t row)
{
    return making->target->x.bounds ? ring_row(making, row) : source->pixels + row * source->stride;
}

/* One output row of the vertical pass; its rows are taken two by two. */
AVX2 static void vertical(const Source *source, const Making *making, ptrdiff_t i)
{
    const Target *target = making->target;
    ptrdiff_t first = target->y.bounds[2 * i], count = target->y.bounds[2 * i + 1], at = 0;
    const int32_t *weight = target->y.weights + i * target->y.taps;
    uint8_t *out = target->dst + i * target->row;
    ptrdiff_t whole = target->x.bounds ? target->row : target->row / 16 * 16; /* the ring has a pad to read */
    for (; at < whole; at += 16) {
        __m256i highs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        __m256i lows[2] = {_mm256_set1_epi32(HALF), _mm256_set1_epi32(HALF)};
        for (ptrdiff_t k = 0; k < count; k += 2) {
            int both = k + 1 < count;
            int32_t second = both ? weight[k + 1] : 0;
            const uint8_t *a = row_at(source, making, first + k);
            const uint8_t *b = both ? row_at(source, making, first + k + 1) : a;
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
        if (at + 16 <= target->row) {
            _mm_storeu_si128((__m128i *)(void *)(out + at), bytes);
        } else {
            uint8_t tail[16];
            _mm_storeu_si128((__m128i *)(void *)tail, bytes);
            memcpy(out + at, tail, (size_t)(target->row - at));
        }
    }
    for (; at < target->row; at++) { /* rows of the source have no pad to read */
        int32_t sum = HALF;
        for (ptrdiff_t k = 0; k < count; k++)
            sum += weight[k] * row_at(source, making, first + k)[at];
        out[at] = clip8(sum);
    }
}

/* The row behind the last that an output row needs. */
static inline ptrdiff_t end_of(const Target *target, ptrdiff_t i)
{
    return target->y.bounds ? target->y.bounds[2 * i] + target->y.bounds[2 * i + 1] : i + 1;
}

/* No size overflows: sides are below 2^29, and x.size * x.most is at most the size of a table that is in memory. */
static int begin(Making *making, const Path *path, const Target *target, ptrdiff_t rows)
{
    making->target = target;
    if (!target->x.bounds)
        return 0;
    making->units = (target->x.most + 2 * (path->pixels - 1)) / path->pixels;
    making->held = (target->y.bounds ? target->y.most : 1) + rows;
    making->ring_row = target->row + PAD;
    making->weights = malloc((size_t)(target->x.size * making->units * path->words) * sizeof(int32_t));
    making->ring = malloc((size_t)(making->held * making->ring_row));
    if (!making->weights || !making->ring)
        return -1;
    pack_weights(making, path);
    return 0;
}

/* Band by band, as long as a target wants rows of it. */
static void run(const Path *path, Band *band, Making *all, ptrdiff_t count)
{
    const Source *source = band->source;
    const int rgb = source->channels == 3;
    for (; band->first < source->height; band->first += path->rows[rgb]) {
        const ptrdiff_t end = band->first + path->rows[rgb];
        int turned = 0;
        for (Making *making = all; making < all + count; making++) {
            const Target *target = making->target;
            if (making->next == target->height)
                continue;
            if (target->x.bounds) {
                if (!turned)
                    path->fill[rgb](band);
                turned = 1;
                path->across[rgb](band, making);
            }
            for (; making->next < target->height && end_of(target, making->next) <= end; making->next++) {
                ptrdiff_t i = making->next;
                if (target->y.bounds)
                    vertical(source, making, i);
                else
                    memcpy(target->dst + i * target->row, row_at(source, making, i), (size_t)target->row);
            }
        }
    }
}

int resize_by_bands(const Path *path, const Source *source, const Target *targets, ptrdiff_t count)
{
    const int rgb = source->channels == 3;
    const ptrdiff_t steps = source->width * source->channels / path->step[rgb] + 1;
    Band band = {.source = source};
    Making *all = calloc((size_t)count, sizeof *all);
    int failed = !all;
    band.units = aligned_alloc(ALIGNMENT, (size_t)(steps * path->filled[rgb]));
    failed |= !band.units;
    for (ptrdiff_t t = 0; t < count && !failed; t++)
        failed = begin(all + t, path, targets + t, path->rows[rgb]);
    if (!failed)
        run(path, &band, all, count);
    for (ptrdiff_t t = 0; all && t < count; t++) {
        free(all[t].weights);
        free(all[t].ring);
    }
    free(band.units);
    free(all);
    return failed ? -1 : 0;
}

#endif
