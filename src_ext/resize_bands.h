/* The resize by bands of rows, a row a lane: what its x86 paths share.
 *
 * A band of source rows is turned so that a vector holds the same few neighbouring pixels (a unit) of as many rows as it
 * has lanes; multiplied with the weights of that unit, it adds its share to all of these rows at once, and no sum across
 * a vector is ever needed. Each band is turned once for all targets. Rows of bytes come out, into a ring from which the
 * vertical pass takes them.
 */
#ifndef MMTK_RESIZE_BANDS_H
#define MMTK_RESIZE_BANDS_H

#include "resize.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define MMTK_X86 1

#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

enum { GROUP = 4, PAD = 64, MOST_ROWS = 16 }; /* outputs stored together, bytes behind a row of the ring, rows a band */

/* The rows of the source from `first` on, turned. */
typedef struct {
    const Source *source;
    ptrdiff_t first;
    void *units;
} Band;

/* One target under way. */
typedef struct {
    const Target *target;
    int32_t *weights;           /* (x.size, units, words): of the horizontal pass, as the path packs them */
    uint8_t *ring;              /* (held, ring_row): rows between the passes, row r in place r % held */
    ptrdiff_t units;            /* that an output reads, at most */
    ptrdiff_t held, ring_row;
    ptrdiff_t next;             /* the output row to come */
} Making;

/* A path: for grey and for RGB, the rows of a band, the bytes of a row that are turned in one step, at most sixteen, and
 * the bytes that this step fills; pixels of a unit, and 32-bit words of its weights. */
typedef struct {
    ptrdiff_t rows[2], step[2], filled[2], pixels, words;
    void (*pack)(const int32_t *weights, int32_t *words); /* the weights of a unit's pixels */
    void (*fill[2])(const Band *band);
    void (*across[2])(const Band *band, const Making *making); /* the horizontal pass of a band */
} Path;

int resize_by_bands(const Path *path, const Source *source, const Target *targets, ptrdiff_t count);

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

static inline int32_t two(int16_t first, int16_t second)
{
    return (int32_t)((uint32_t)(uint16_t)first | (uint32_t)(uint16_t)second << 16);
}

#endif
#endif
