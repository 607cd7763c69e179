/* The cubic spline zoom of a box of int16 voxels, an axis at a time, in double. */
#ifndef MMTK_ZOOM_H
#define MMTK_ZOOM_H

#include <stddef.h>
#include <stdint.h>

enum { TAPS = 4 };

/* Sampling along an axis: output k is the sum over t < TAPS of weights[k][t] * c[first[k] + t], where c are the spline
 * coefficients of the `in` values there, but for their gain, which the weights bear (see zoom_loops.h). */
typedef struct {
    const int32_t *first;  /* (out,): 0 to in - TAPS, or 0 */
    const double *weights; /* (out, TAPS): from -2 to 2; where `in` is less than TAPS, the last ones count nothing */
    ptrdiff_t in, out;
} Axis;

/* Voxels, `strides` bytes apart along x, y and z; what lies side by side along x is fastest. */
typedef struct {
    const char *voxels;
    ptrdiff_t strides[3];
} Box;

/* `dst` takes (z.out, x.out, y.out) voxels, rounded to nearest and clipped. Returns -1 without memory, 1 where a value
 * lies so near a half that rounding errors may have turned it, and 0 where none does. */
int zoom_plain(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst);
int zoom_avx2(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst); /* for has_avx2() */

#endif
