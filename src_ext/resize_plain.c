/* The resize in plain C, for any machine. */
#include "resize.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 8 };

typedef struct {
    const Source *source;
    const Target *target;
    int32_t *sums;        /* (dst_row): one row of the vertical pass */
    int16_t *high, *low;  /* (x.size, padded): x weights in two parts, zero beyond the count; grey only */
    int16_t *wide;        /* (src_width + BLOCK): one source row; grey only */
    uint8_t *ring;        /* (y.most, dst_row): rows between the passes */
    ptrdiff_t padded;     /* x.most, rounded up to whole blocks */
} Work;

static inline ptrdiff_t whole_blocks(ptrdiff_t count)
{
    return (count + BLOCK - 1) / BLOCK * BLOCK;
}

/* Grey rows are multiplied in 16 bits, for which every compiler has a fast dot product. For RGB this was measured to be
 * slower than the plain loop, since the channels must be drawn apart first. */
static void split_weights(const Work *work)
{
    const Pass *x = &work->target->x;
    for (ptrdiff_t i = 0; i < x->size; i++) {
        const int32_t *weight = x->weights + i * x->taps;
        ptrdiff_t count = x->bounds[2 * i + 1];
        for (ptrdiff_t k = 0; k < work->padded; k++) {
            int32_t w = k < count ? weight[k] : 0;
            work->high[i * work->padded + k] = high_part(w);
            work->low[i * work->padded + k] = low_part(w);
        }
    }
}

static void horizontal_grey(const Work *work, const uint8_t *restrict line, uint8_t *restrict out)
{
    const Pass *x = &work->target->x;
    int16_t *restrict wide = work->wide;
    for (ptrdiff_t j = 0; j < work->source->width; j++)
        wide[j] = line[j];
    for (ptrdiff_t i = 0; i < x->size; i++) {
        const int16_t *restrict high = work->high + i * work->padded, *restrict low = work->low + i * work->padded;
        const int16_t *pixel = wide + x->bounds[2 * i];
        ptrdiff_t count = whole_blocks(x->bounds[2 * i + 1]);
        uint32_t highs = 0, lows = HALF;
        for (ptrdiff_t k = 0; k < count; k++) {
            highs += (uint32_t)(high[k] * pixel[k]);
            lows += (uint32_t)(low[k] * pixel[k]);
        }
        out[i] = clip8((int32_t)((highs << LOW_BITS) + lows));
    }
}

static void horizontal_rgb(const Work *work, const uint8_t *restrict line, uint8_t *restrict out)
{
    const Pass *x = &work->target->x;
    for (ptrdiff_t i = 0; i < x->size; i++) {
        const uint8_t *pixel = line + 3 * (ptrdiff_t)x->bounds[2 * i];
        const int32_t *weight = x->weights + i * x->taps;
        int32_t red = HALF, green = HALF, blue = HALF;
        for (int32_t k = 0; k < x->bounds[2 * i + 1]; k++, pixel += 3) {
            red += weight[k] * pixel[0];
            green += weight[k] * pixel[1];
            blue += weight[k] * pixel[2];
        }
        out[3 * i] = clip8(red);
        out[3 * i + 1] = clip8(green);
        out[3 * i + 2] = clip8(blue);
    }
}

static void horizontal(const Work *work, ptrdiff_t row, uint8_t *out)
{
    const Source *source = work->source;
    (source->channels == 1 ? horizontal_grey : horizontal_rgb)(work, source->pixels + row * source->stride, out);
}

static const uint8_t *row_at(const Work *work, ptrdiff_t row)
{
    const Source *source = work->source;
    const Target *target = work->target;
    return target->x.bounds ? work->ring + row % target->y.most * target->row : source->pixels + row * source->stride;
}

/* A row between two, as in most enlargements: no weight is negative and they add up to one, so nothing is to be clipped,
 * and compilers without a product of 32 bits for vectors have one of 16. */
static void blend(const uint8_t *restrict a, const uint8_t *restrict b, const int32_t *weight, uint8_t *restrict out,
                  ptrdiff_t count)
{
    const int16_t high[2] = {high_part(weight[0]), high_part(weight[1])};
    const int16_t low[2] = {low_part(weight[0]), low_part(weight[1])};
    for (ptrdiff_t j = 0; j < count; j++) {
        int16_t first = a[j], second = b[j];
        uint32_t highs = (uint32_t)(high[0] * first) + (uint32_t)(high[1] * second);
        uint32_t lows = (uint32_t)(low[0] * first) + (uint32_t)(low[1] * second);
        out[j] = (uint8_t)(((highs << LOW_BITS) + lows + HALF) >> PRECISION);
    }
}

/* Only the rows that the vertical pass asks for go through the horizontal one, each once and just before its first
 * use, into a ring of y.most rows. */
static void vertical(const Work *work)
{
    const Target *target = work->target;
    int32_t *restrict sums = work->sums;
    ptrdiff_t done = 0;
    for (ptrdiff_t i = 0; i < target->height; i++) {
        ptrdiff_t first = target->y.bounds[2 * i], end = first + target->y.bounds[2 * i + 1];
        const int32_t *weight = target->y.weights + i * target->y.taps;
        if (target->x.bounds) {
            for (done = done < first ? first : done; done < end; done++)
                horizontal(work, done, work->ring + done % target->y.most * target->row);
        }
        uint8_t *restrict out = target->dst + i * target->row;
        if (end - first == 2 && weight[0] >= 0 && weight[1] >= 0 && weight[0] + weight[1] == 1 << PRECISION) {
            blend(row_at(work, first), row_at(work, first + 1), weight, out, target->row);
            continue;
        }
        for (ptrdiff_t j = 0; j < target->row; j++)
            sums[j] = HALF;
        for (ptrdiff_t row = first; row < end; row++) {
            const uint8_t *restrict line = row_at(work, row);
            int32_t w = weight[row - first];
            for (ptrdiff_t j = 0; j < target->row; j++)
                sums[j] += w * line[j];
        }
        for (ptrdiff_t j = 0; j < target->row; j++)
            out[j] = clip8(sums[j]);
    }
}

/* Takes the scratch in one piece, widest type first. No size overflows: sides are below 2^29, and x.size * x.most is at
 * most the size of a table that is in memory. */
static int make(const Source *source, const Target *target)
{
    int grey = target->x.bounds && source->channels == 1;
    Work work = {.source = source, .target = target, .padded = grey ? whole_blocks(target->x.most) : 0};
    size_t sums = target->y.bounds ? (size_t)target->row : 0;
    size_t weights = (size_t)(target->x.size * work.padded);
    size_t wide = grey ? (size_t)(source->width + BLOCK) : 0;
    size_t ring = target->x.bounds && target->y.bounds ? (size_t)(target->y.most * target->row) : 0;
    char *scratch = calloc(1, sums * sizeof(int32_t) + (2 * weights + wide) * sizeof(int16_t) + ring + 1);
    if (!scratch)
        return -1;
    work.sums = (int32_t *)(void *)scratch;
    work.high = (int16_t *)(void *)(scratch + sums * sizeof(int32_t));
    work.low = work.high + weights;
    work.wide = work.low + weights;
    work.ring = (uint8_t *)(work.wide + wide);
    if (grey)
        split_weights(&work);
    if (target->y.bounds) {
        vertical(&work);
    } else {
        for (ptrdiff_t i = 0; i < target->height; i++) {
            if (target->x.bounds)
                horizontal(&work, i, target->dst + i * target->row);
            else
                memcpy(target->dst + i * target->row, source->pixels + i * source->stride, (size_t)target->row);
        }
    }
    free(scratch);
    return 0;
}

int resize_plain(const Source *source, const Target *targets, ptrdiff_t count)
{
    int failed = 0;
    for (ptrdiff_t t = 0; t < count && !failed; t++)
        failed = make(source, targets + t);
    return failed;
}
