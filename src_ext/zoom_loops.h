/* The loops of the cubic spline zoom, for vectors of WIDE doubles.
 *
 * The spline coefficients of values s[0], ..., s[n - 1], mirrored at both ends, are two recursions, upwards
 * c[i] = s[i] + POLE * c[i - 1] and downwards e[i] = c[i] + POLE * e[i + 1] (Unser, Aldroubi and Eden 1993), times a
 * gain of -6 * POLE. A sample is the sum of four of them. What is done along one axis commutes with what is done along
 * another, so each axis is sampled before the next is filtered: a CT's x and y shrink first, and z, the one that grows,
 * comes last.
 *
 * A block is LANES neighbouring columns, filtered side by side in the nearest cache: voxels along x while y is
 * filtered, then rows that were turned for x, then columns of whole planes.
 *
 * The order of sums differs from scipy's, and with it their last bits. Each way is off by rounding errors alone. No
 * intermediate sum, gain included, exceeds 27 times the largest voxel: the filter makes it up to 3 times as large along
 * each axis, and the weights add up to 1. In units of 2^-53 of that, an axis here is off by at most 25 (filter 9,
 * weights 12, sum 4), and scipy by 140 (filters 30, weights and their products 45, the sum of 64 terms 64). Together
 * that is (75 + 140) * 27 * 2^-53 = 6.5e-13 of the largest voxel, and found was 1e-14. DOUBT is more, so where a value
 * is farther than that from a half, at which rounding turns, both give the same voxel.
 */
#ifndef MMTK_ZOOM_LOOPS_H
#define MMTK_ZOOM_LOOPS_H

#include "zoom.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 4, LANES = WIDE * PARTS, HORIZON = 32, ALIGNED = 64 };
static const double POLE = -0.26794919243112270647; /* sqrt(3) - 2 */
static const double DOUBT = 1e-12;

/* The vectors of GCC and clang, which need no instruction by name; of plain loops over a constant few lanes they make
 * much less. */
typedef double Doubles __attribute__((vector_size(8 * WIDE)));
typedef double Near __attribute__((vector_size(8 * WIDE), aligned(8), may_alias)); /* the same anywhere in memory */
typedef int64_t Longs __attribute__((vector_size(8 * WIDE)));
typedef int32_t Ints __attribute__((vector_size(4 * WIDE)));
#define INLINE static inline __attribute__((always_inline))

/* Where a block comes from: rows of LANES items. `start` weighs the first of them for the upward recursion's first
 * value, which needs no more than HORIZON: POLE^HORIZON is less than a last bit. */
typedef struct {
    const void *rows;
    ptrdiff_t pitch, count; /* pitch: items from row to row */
    const double *start;
} Columns;

typedef struct {
    double *block;  /* LANES columns, and */
    double *tile;   /* what is sampled of them along y */
    int32_t *slab;  /* (y.in, x_pitch): one of z, and */
    double *turned; /* (x_pitch, y_pitch): the same with y sampled, rows of y */
    double *planes; /* (z.in, plane): x and y sampled, rows of y, and zeros */
    int32_t *whole; /* (z.out, LANES): rounded, and */
    int16_t *clipped;
    double start[3][HORIZON]; /* for x, y and z */
    ptrdiff_t x_pitch, y_pitch, plane;
    int32_t largest; /* of all voxels, without their sign */
} Work;

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}

static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b)
{
    return a > b ? a : b;
}

/* c[0] of values mirrored at both ends, as weights of the first of them. */
static void weigh_start(double *start, ptrdiff_t n)
{
    double power = 1;
    ptrdiff_t count = smaller(n, HORIZON);
    for (ptrdiff_t i = 0; i < count; i++, power *= POLE)
        start[i] = power;
    if (n < 2 || n > HORIZON)
        return;
    double whole = 1 - power / POLE * (power / POLE);
    for (ptrdiff_t i = n - 2; i > 0; i--, power *= POLE)
        start[i] += power;
    for (ptrdiff_t i = 0; i < n; i++)
        start[i] /= whole;
}

INLINE void get(const double *from, Doubles *row)
{
    for (int p = 0; p < PARTS; p++)
        row[p] = *(const Near *)(from + WIDE * p);
}

INLINE void put(double *to, const Doubles *row)
{
    for (int p = 0; p < PARTS; p++)
        *(Near *)(to + WIDE * p) = row[p];
}

INLINE void load(const Columns *from, ptrdiff_t i, Doubles *row, const int whole)
{
    if (!whole) {
        get((const double *)from->rows + i * from->pitch, row);
        return;
    }
    const int32_t *at = (const int32_t *)from->rows + i * from->pitch;
    for (int p = 0; p < PARTS; p++, at += WIDE)
#if WIDE == 4
        row[p] = (Doubles){at[0], at[1], at[2], at[3]};
#else
        row[p] = (Doubles){at[0], at[1]};
#endif
}

/* Coefficients of a block, without their gain. */
INLINE void filter(const Columns *from, double *restrict block, const int whole)
{
    ptrdiff_t n = from->count;
    Doubles c[PARTS] = {0}, row[PARTS];
    for (ptrdiff_t i = n; i < TAPS; i++)
        put(block + i * LANES, c);
    if (n == 1) {
        load(from, 0, row, whole);
        put(block, row);
        return;
    }
    for (ptrdiff_t i = 0; i < n && i < HORIZON; i++) {
        load(from, i, row, whole);
        for (int p = 0; p < PARTS; p++)
            c[p] += from->start[i] * row[p];
    }
    put(block, c);
    for (ptrdiff_t i = 1; i < n; i++) {
        load(from, i, row, whole);
        for (int p = 0; p < PARTS; p++) {
            row[p] += POLE * c[p];
            c[p] = row[p];
        }
        put(block + i * LANES, c);
    }
    get(block + (n - 2) * LANES, row);
    for (int p = 0; p < PARTS; p++) {
        c[p] += POLE * row[p];
        c[p] *= 1 / (1 - POLE * POLE);
    }
    put(block + (n - 1) * LANES, c);
    for (ptrdiff_t i = n - 2; i >= 0; i--) {
        get(block + i * LANES, row);
        for (int p = 0; p < PARTS; p++) {
            row[p] += POLE * c[p];
            c[p] = row[p];
        }
        put(block + i * LANES, c);
    }
}

INLINE void sample(const double *block, const Axis *axis, ptrdiff_t k, Doubles *sum)
{
    const double *taps = block + (ptrdiff_t)axis->first[k] * LANES, *weight = axis->weights + k * TAPS;
    for (int p = 0; p < PARTS; p++) {
        sum[p] = weight[0] * *(const Near *)(taps + WIDE * p);
        for (int t = 1; t < TAPS; t++)
            sum[p] += weight[t] * *(const Near *)(taps + t * LANES + WIDE * p);
    }
}

INLINE void widen(const char *voxels, ptrdiff_t x_stride, ptrdiff_t width, int32_t *restrict row, int32_t *largest)
{
    int32_t most = *largest;
    for (ptrdiff_t i = 0; i < width; i++) {
        int32_t value = *(const int16_t *)(const void *)(voxels + i * x_stride), size = value < 0 ? -value : value;
        row[i] = value;
        most = size > most ? size : most;
    }
    *largest = most;
}

/* A slab of voxels as integers of 32 bits, which are twice as fast to turn into doubles. */
INLINE void take_slab(const Box *box, const Axis *x, const Axis *y, ptrdiff_t z, Work *work)
{
    for (ptrdiff_t k = 0; k < y->in; k++) {
        const char *voxels = box->voxels + z * box->strides[2] + k * box->strides[1];
        int32_t *row = work->slab + k * work->x_pitch;
        if (box->strides[0] == sizeof(int16_t))
            widen(voxels, sizeof(int16_t), x->in, row, &work->largest);
        else
            widen(voxels, box->strides[0], x->in, row, &work->largest);
    }
}

/* That slab along y, turned. */
INLINE void along_y(const Axis *y, Work *work)
{
    Columns from = {.pitch = work->x_pitch, .count = y->in, .start = work->start[1]};
    double *block = work->block, *tile = work->tile;
    for (ptrdiff_t at = 0; at < work->x_pitch; at += LANES) {
        from.rows = work->slab + at;
        filter(&from, block, 1);
        for (ptrdiff_t k = 0; k < y->out; k++) {
            Doubles row[PARTS];
            sample(block, y, k, row);
            put(tile + k * LANES, row);
        }
        for (ptrdiff_t l = 0; l < LANES; l++) {
            double *row = work->turned + (at + l) * work->y_pitch;
            for (ptrdiff_t k = 0; k < y->out; k++)
                row[k] = tile[k * LANES + l];
        }
    }
}

/* And along x, into a plane of (x.out, y.out). */
INLINE void along_x(const Axis *x, const Axis *y, double *plane, Work *work)
{
    Columns from = {.pitch = work->y_pitch, .count = x->in, .start = work->start[0]};
    for (ptrdiff_t at = 0; at < y->out; at += LANES) {
        ptrdiff_t width = smaller(y->out - at, LANES);
        from.rows = work->turned + at;
        filter(&from, work->block, 0);
        for (ptrdiff_t k = 0; k < x->out; k++) {
            Doubles row[PARTS];
            sample(work->block, x, k, row);
            if (width == LANES)
                put(plane + k * y->out + at, row);
            else
                memcpy(plane + k * y->out + at, row, (size_t)width * sizeof *plane);
        }
    }
}

/* A row rounded to integers, which fit: weights up to 2 and the recursions make a voxel at most 3400 times as large.
 * Where a value is farther than `limit` from its integer, `doubts` becomes other than 0. */
INLINE void round_row(const Doubles *row, int32_t *whole, double limit, Longs *doubts)
{
    const double unit = 6755399441055744.0; /* 3 * 2^51: what is added to it is rounded to an integer */
    for (int p = 0; p < PARTS; p++) {
        Doubles integer = row[p] + unit - unit, off = row[p] - integer;
        *doubts |= (off > limit) | (off < -limit);
        *(Ints *)(whole + WIDE * p) = __builtin_convertvector(integer, Ints);
    }
}

/* The planes along z, rounded and clipped; whether a value was in doubt. */
INLINE int along_z(const Axis *z, ptrdiff_t plane, int16_t *dst, Work *work)
{
    Columns from = {.pitch = work->plane, .count = z->in, .start = work->start[2]};
    double *block = work->block, limit = 0.5 - DOUBT * work->largest;
    int32_t *whole = work->whole;
    int16_t *restrict clipped = work->clipped;
    Longs doubts = {0};
    for (ptrdiff_t at = 0; at < plane; at += LANES) {
        size_t width = (size_t)smaller(plane - at, LANES);
        from.rows = work->planes + at;
        filter(&from, block, 0);
        for (ptrdiff_t k = 0; k < z->out; k++) {
            Doubles row[PARTS];
            sample(block, z, k, row);
            round_row(row, whole + k * LANES, limit, &doubts);
        }
        for (ptrdiff_t i = 0; i < z->out * LANES; i++) {
            int32_t value = whole[i] < INT16_MIN ? INT16_MIN : whole[i];
            clipped[i] = (int16_t)(value > INT16_MAX ? INT16_MAX : value);
        }
        for (ptrdiff_t k = 0; k < z->out; k++) {
            if (width == LANES)
                memcpy(dst + k * plane + at, clipped + k * LANES, LANES * sizeof *dst);
            else
                memcpy(dst + k * plane + at, clipped + k * LANES, width * sizeof *dst);
        }
    }
    int64_t any = 0;
    for (int l = 0; l < WIDE; l++)
        any |= doubts[l];
    return any != 0;
}

INLINE int all_axes(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst, Work *work)
{
    for (ptrdiff_t k = 0; k < z->in; k++) {
        take_slab(box, x, y, k, work);
        along_y(y, work);
        along_x(x, y, work->planes + k * work->plane, work);
    }
    return along_z(z, x->out * y->out, dst, work);
}

typedef int Loops(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst, Work *work);

static void *zeros(ptrdiff_t count, size_t size)
{
    size_t bytes = ((size_t)count * size + ALIGNED - 1) / ALIGNED * ALIGNED;
    void *all = aligned_alloc(ALIGNED, bytes);
    return all ? memset(all, 0, bytes) : NULL;
}

static ptrdiff_t padded(ptrdiff_t lanes)
{
    return (lanes + LANES - 1) / LANES * LANES;
}

static int zoom_by(Loops *loops, const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst)
{
    Work work = {.x_pitch = padded(x->in), .y_pitch = padded(y->out), .plane = padded(x->out * y->out)};
    ptrdiff_t longest = larger(larger(x->in, y->in), larger(z->in, TAPS));
    int result = -1;
    weigh_start(work.start[0], x->in);
    weigh_start(work.start[1], y->in);
    weigh_start(work.start[2], z->in);
    work.block = zeros(longest * LANES, sizeof(double));
    work.tile = zeros(y->out * LANES, sizeof(double));
    work.slab = zeros(y->in * work.x_pitch, sizeof(int32_t));
    work.turned = zeros(work.x_pitch * work.y_pitch, sizeof(double));
    work.planes = zeros(z->in * work.plane, sizeof(double));
    work.whole = zeros(z->out * LANES, sizeof(int32_t));
    work.clipped = zeros(z->out * LANES, sizeof(int16_t));
    if (work.block && work.tile && work.slab && work.turned && work.planes && work.whole && work.clipped)
        result = loops(box, x, y, z, dst, &work);
    free(work.block);
    free(work.tile);
    free(work.slab);
    free(work.turned);
    free(work.planes);
    free(work.whole);
    free(work.clipped);
    return result;
}

#endif
