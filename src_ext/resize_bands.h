/* The resize by bands of rows, a row a lane: what its paths share.
 *
 * A band of source rows is turned so that a vector holds the same few neighbouring pixels (a unit) of as many rows as it
 * has lanes; multiplied with the weights of that unit, it adds its share to all of these rows at once, and no sum across
 * a vector is ever needed. Each band is turned once for all targets. Rows of bytes come out, into a ring from which the
 * vertical pass takes them.
 */
#ifndef MMTK_RESIZE_BANDS_H
#define MMTK_RESIZE_BANDS_H

#include "resize.h"

#if defined(__GNUC__) || defined(__clang__)
#ifdef __x86_64__
#define MMTK_X86 1
#elif defined(__aarch64__)
#define MMTK_NEON 1
#endif
#endif

#if defined(MMTK_X86) || defined(MMTK_NEON)
#define MMTK_BANDS 1

#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

enum { PAD = 64, WHOLE = 32 }; /* bytes behind a row of the ring; rows shorter than WHOLE always go through the ring */

/* The rows of the source from `first` on, turned. */
typedef struct {
    const Source *source;
    ptrdiff_t first;
    void *units;
} Band;

/* One target under way. */
typedef struct {
    const Target *target;
    int32_t *weights;           /* (x.size, units, words): of the horizontal pass, as the path packs them, or NULL */
    uint8_t *ring;              /* (held, ring_row): rows between the passes, row r in place r % held, or NULL */
    ptrdiff_t units;            /* that an output reads, at most */
    ptrdiff_t held, ring_row;
    ptrdiff_t next;             /* the output row to come */
    const uint8_t **lines;      /* (y.most + 1): the rows that it is the sum of, and room for one more */
    int32_t *pairs;             /* (y.most + 1): room for their weights, as the path packs them */
} Making;

/* A path: for grey and for RGB, the rows of a band, the bytes of a row that are turned in one step, and the bytes that
 * this step fills; pixels of a unit, and 32-bit words of its weights. */
typedef struct {
    ptrdiff_t rows[2], step[2], filled[2], pixels, words;
    void (*pack)(const Making *making); /* the weights of the horizontal pass; NULL where they are taken as they are */
    void (*fill[2])(const Band *band);
    void (*across[2])(const Band *band, const Making *making); /* the horizontal pass of a band */
    void (*down)(const Making *making, uint8_t *out);          /* the vertical pass of the next row, from `lines` */
} Path;

int resize_by_bands(const Path *path, const Source *source, const Target *targets, ptrdiff_t count);
void down_avx2(const Making *making, uint8_t *out);

/* Where row `r` of a band begins in the source; behind the last row, that one again. */
static inline const uint8_t *band_row(const Band *band, ptrdiff_t r)
{
    ptrdiff_t row = band->first + r, last = band->source->height - 1;
    return band->source->pixels + (row < last ? row : last) * band->source->stride;
}

/* Where it goes between the passes. */
static inline uint8_t *ring_row(const Making *making, ptrdiff_t row)
{
    return making->ring + row % making->held * making->ring_row;
}

/* The weights of the horizontal pass, by units: an output may start inside a unit, which then has zeros in front. */
ALWAYS void pack_units(const Making *making, ptrdiff_t pixels, ptrdiff_t words,
                       void (*unit)(const int32_t *weights, int32_t *words))
{
    const Pass *x = &making->target->x;
    int32_t *to = making->weights;
    for (ptrdiff_t i = 0; i < x->size; i++) {
        const int32_t *weight = x->weights + i * x->taps;
        int32_t count = x->bounds[2 * i + 1], k = -(x->bounds[2 * i] & ((int32_t)pixels - 1));
        for (ptrdiff_t u = 0; u < making->units; u++, to += words) {
            int32_t weights[4];
            for (ptrdiff_t p = 0; p < pixels; p++, k++)
                weights[p] = (uint32_t)k < (uint32_t)count ? weight[k] : 0;
            unit(weights, to);
        }
    }
}

static inline int32_t two(int16_t first, int16_t second)
{
    return (int32_t)((uint32_t)(uint16_t)first | (uint32_t)(uint16_t)second << 16);
}

#endif
#endif
