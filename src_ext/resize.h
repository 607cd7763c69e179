/* The exact antialiased resize: what its paths share.
 *
 * The arithmetic is that of mmtk/imaging/_resizer.py: int32 weights with 22 fractional bits, the sum starts at one half,
 * is shifted down and clipped; the horizontal pass comes first and leaves uint8. Whoever calls a path has checked every
 * size and table entry: ranges rise and lie inside the input, no weight is beyond
 * LARGEST_WEIGHT, and no sum overflows an int32.
 */
#ifndef MMTK_RESIZE_H
#define MMTK_RESIZE_H

#include <stddef.h>
#include <stdint.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1), LOW_BITS = 12 };
enum { LARGEST_WEIGHT = 127 << 16 }; /* nearly 2, and three signed bytes */

/* Weights of one pass: output i is the sum over k < count of weights[i][k] * input[start + k]. */
typedef struct {
    const int32_t *bounds;  /* (size, 2): start, count; NULL where the pass is skipped */
    const int32_t *weights; /* (size, taps) */
    ptrdiff_t size, taps, most; /* most: the largest count */
} Pass;

/* An image: rows `stride` bytes apart, of 1 or 3 channels. */
typedef struct {
    const uint8_t *pixels;
    ptrdiff_t stride, height, width, channels;
} Source;

/* What is to be made of it, in one of its sizes. */
typedef struct {
    uint8_t *dst;
    ptrdiff_t height, row; /* row: bytes of an output row, width times channels */
    Pass x, y;
} Target;

static inline uint8_t clip8(int32_t sum)
{
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* A weight is taken as high * 2^12 + low, both of which fit 16 bits: two sums of 16-bit products, put together modulo
 * 2^32, give the final sum, which fits, exactly. */
static inline int16_t high_part(int32_t weight)
{
    return (int16_t)(weight >> LOW_BITS);
}

static inline int16_t low_part(int32_t weight)
{
    return (int16_t)(weight & ((1 << LOW_BITS) - 1));
}

/* Each makes all targets; -1 without memory, and then nothing that was set counts. */
int resize_plain(const Source *source, const Target *targets, ptrdiff_t count);
int resize_avx2(const Source *source, const Target *targets, ptrdiff_t count);
int resize_vnni(const Source *source, const Target *targets, ptrdiff_t count);
int resize_neon(const Source *source, const Target *targets, ptrdiff_t count);

/* Whether this build and machine have the path. */
int has_avx2(void);
int has_vnni(void);
int has_neon(void);

#endif
