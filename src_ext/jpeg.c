#include "jpeg.h"

#include <stdlib.h>
#include <string.h>

#include "resize.h"

enum { SIDE = 8, BLOCK = SIDE * SIDE, CONST_BITS = 13, PASS_BITS = 2 };

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Annex K of the standard, row by row: luma and chroma. */
static const uint8_t tables[2][BLOCK] = {
    {16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,  14, 13, 16, 24, 40,  57,
     69, 56, 14, 17, 22,  29,  51,  87,  80, 62, 18, 22, 37,  56,  68,  109, 103, 77, 24, 35, 55,  64,
     81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99},
    {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
     99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99},
};

/* Samples of one component, padded to whole blocks. */
typedef struct {
    uint8_t *samples;
    ptrdiff_t height, width;  /* that count */
    ptrdiff_t rows, columns;  /* with the padding */
    int32_t steps[BLOCK];     /* of its quantisation */
} Plane;

static ptrdiff_t whole_blocks(ptrdiff_t size)
{
    return (size + SIDE - 1) / SIDE * SIDE;
}

static void set_steps(Plane *plane, int which, int quality)
{
    int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    for (int i = 0; i < BLOCK; i++) {
        int step = (tables[which][i] * scale + 50) / 100;
        plane->steps[i] = step < 1 ? 1 : step > 255 ? 255 : step;
    }
}

/* Constants of the two transforms, with CONST_BITS fractional bits. */
enum {
    F_0_298 = 2446, F_0_390 = 3196, F_0_541 = 4433, F_0_765 = 6270, F_0_899 = 7373, F_1_175 = 9633, F_1_501 = 12299,
    F_1_847 = 15137, F_1_961 = 16069, F_2_053 = 16819, F_2_562 = 20995, F_3_072 = 25172,
};

INLINE int32_t descale(int32_t value, int bits)
{
    return (value + (1 << (bits - 1))) >> bits;
}

INLINE void turn(const int32_t *restrict in, int32_t *restrict out)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            out[j * SIDE + i] = in[i * SIDE + j];
}

/* One pass of the forward transform down each of eight columns, which a compiler does side by side. */
INLINE void forward(const int32_t *restrict in, int32_t *restrict out, const int first)
{
    const int bits = first ? CONST_BITS - PASS_BITS : CONST_BITS + PASS_BITS;
    for (int i = 0; i < SIDE; i++) {
        const int32_t *v = in + i;
        int32_t *to = out + i;
        int32_t t0 = v[0] + v[56], t7 = v[0] - v[56], t1 = v[8] + v[48], t6 = v[8] - v[48];
        int32_t t2 = v[16] + v[40], t5 = v[16] - v[40], t3 = v[24] + v[32], t4 = v[24] - v[32];
        int32_t t10 = t0 + t3, t13 = t0 - t3, t11 = t1 + t2, t12 = t1 - t2;
        to[0] = first ? (t10 + t11) * (1 << PASS_BITS) : descale(t10 + t11, PASS_BITS);
        to[32] = first ? (t10 - t11) * (1 << PASS_BITS) : descale(t10 - t11, PASS_BITS);
        int32_t z1 = (t12 + t13) * F_0_541;
        to[16] = descale(z1 + t13 * F_0_765, bits);
        to[48] = descale(z1 - t12 * F_1_847, bits);
        z1 = t4 + t7;
        int32_t z2 = t5 + t6, z3 = t4 + t6, z4 = t5 + t7, z5 = (z3 + z4) * F_1_175;
        t4 *= F_0_298;
        t5 *= F_2_053;
        t6 *= F_3_072;
        t7 *= F_1_501;
        z1 *= -F_0_899;
        z2 *= -F_2_562;
        z3 = z3 * -F_1_961 + z5;
        z4 = z4 * -F_0_390 + z5;
        to[56] = descale(t4 + z1 + z3, bits);
        to[40] = descale(t5 + z2 + z4, bits);
        to[24] = descale(t6 + z2 + z3, bits);
        to[8] = descale(t7 + z1 + z4, bits);
    }
}

/* One pass of the inverse transform down each of eight columns. */
INLINE void inverse(const int32_t *restrict in, int32_t *restrict out, const int first)
{
    const int bits = first ? CONST_BITS - PASS_BITS : CONST_BITS + PASS_BITS + 3;
    for (int i = 0; i < SIDE; i++) {
        const int32_t *v = in + i;
        int32_t *to = out + i;
        int32_t z1 = (v[16] + v[48]) * F_0_541;
        int32_t t2 = z1 - v[48] * F_1_847, t3 = z1 + v[16] * F_0_765;
        int32_t t0 = (v[0] + v[32]) * (1 << CONST_BITS), t1 = (v[0] - v[32]) * (1 << CONST_BITS);
        int32_t t10 = t0 + t3, t13 = t0 - t3, t11 = t1 + t2, t12 = t1 - t2;
        t0 = v[56];
        t1 = v[40];
        t2 = v[24];
        t3 = v[8];
        z1 = t0 + t3;
        int32_t z2 = t1 + t2, z3 = t0 + t2, z4 = t1 + t3, z5 = (z3 + z4) * F_1_175;
        t0 *= F_0_298;
        t1 *= F_2_053;
        t2 *= F_3_072;
        t3 *= F_1_501;
        z1 *= -F_0_899;
        z2 *= -F_2_562;
        z3 = z3 * -F_1_961 + z5;
        z4 = z4 * -F_0_390 + z5;
        t0 += z1 + z3;
        t1 += z2 + z4;
        t2 += z2 + z3;
        t3 += z1 + z4;
        to[0] = descale(t10 + t3, bits);
        to[56] = descale(t10 - t3, bits);
        to[8] = descale(t11 + t2, bits);
        to[48] = descale(t11 - t2, bits);
        to[16] = descale(t12 + t1, bits);
        to[40] = descale(t12 - t1, bits);
        to[24] = descale(t13 + t0, bits);
        to[32] = descale(t13 - t0, bits);
    }
}

/* To the nearest whole step, halves away from zero, and back. The quotient is whole or at least 1 / (8 step) below the
 * next whole number, which is more than a float's rounding of numbers below 2^17. */
INLINE void quantise(int32_t *restrict values, const int32_t *restrict steps)
{
    for (int i = 0; i < BLOCK; i++) {
        int32_t step = 8 * steps[i], size = values[i] < 0 ? -values[i] : values[i];
        int32_t whole = (int32_t)((float)(size + step / 2) / (float)step) * steps[i];
        values[i] = values[i] < 0 ? -whole : whole;
    }
}

INLINE void round_trip_block(uint8_t *samples, ptrdiff_t stride, const int32_t *steps)
{
    int32_t a[BLOCK], b[BLOCK];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            a[y * SIDE + x] = samples[y * stride + x] - 128;
    turn(a, b);
    forward(b, a, 1);
    turn(a, b);
    forward(b, a, 0);
    quantise(a, steps);
    inverse(a, b, 1);
    turn(b, a);
    inverse(a, b, 0);
    turn(b, a);
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            int32_t value = a[y * SIDE + x] + 128;
            samples[y * stride + x] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    }
}

INLINE void round_trip_plane(const Plane *plane)
{
    for (ptrdiff_t y = 0; y < plane->rows; y += SIDE)
        for (ptrdiff_t x = 0; x < plane->columns; x += SIDE)
            round_trip_block(plane->samples + y * plane->columns + x, plane->columns, plane->steps);
}

static void plain_plane(const Plane *plane)
{
    round_trip_plane(plane);
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
__attribute__((target("avx2"))) static void avx2_plane(const Plane *plane)
{
    round_trip_plane(plane);
}
#else
#define avx2_plane plain_plane
#endif

/* Repeats the last column and the last row in the padding. */
static void pad(const Plane *plane)
{
    for (ptrdiff_t y = 0; y < plane->height; y++) {
        uint8_t *row = plane->samples + y * plane->columns;
        memset(row + plane->width, row[plane->width - 1], (size_t)(plane->columns - plane->width));
    }
    const uint8_t *last = plane->samples + (plane->height - 1) * plane->columns;
    for (ptrdiff_t y = plane->height; y < plane->rows; y++)
        memcpy(plane->samples + y * plane->columns, last, (size_t)plane->columns);
}

enum { FRACTION = 16, ROUND = 1 << (FRACTION - 1), MIDDLE = 128 << FRACTION };

/* Luma and, at full size, the two chroma values of each pixel. */
static void to_planes(const uint8_t *rgb, const Plane planes[3], uint8_t *const full[2])
{
    for (ptrdiff_t y = 0; y < planes->height; y++) {
        for (ptrdiff_t x = 0; x < planes->width; x++, rgb += 3) {
            int32_t r = rgb[0], g = rgb[1], b = rgb[2];
            ptrdiff_t at = y * planes->width + x;
            planes->samples[y * planes->columns + x] = (uint8_t)((19595 * r + 38470 * g + 7471 * b + ROUND) >> FRACTION);
            full[0][at] = (uint8_t)((-11059 * r - 21709 * g + 32768 * b + MIDDLE + ROUND - 1) >> FRACTION);
            full[1][at] = (uint8_t)((32768 * r - 27439 * g - 5329 * b + MIDDLE + ROUND - 1) >> FRACTION);
        }
    }
}

/* Means of two by two, rounded by turns down and up; behind the right and lower edge the edge itself. */
static void halve(const uint8_t *full, ptrdiff_t height, ptrdiff_t width, const Plane *plane)
{
    for (ptrdiff_t y = 0; y < plane->height; y++) {
        const uint8_t *upper = full + 2 * y * width, *lower = 2 * y + 1 < height ? upper + width : upper;
        for (ptrdiff_t x = 0; x < plane->columns; x++) {
            ptrdiff_t left = 2 * x < width ? 2 * x : width - 1, right = 2 * x + 1 < width ? 2 * x + 1 : width - 1;
            int sum = upper[left] + upper[right] + lower[left] + lower[right];
            plane->samples[y * plane->columns + x] = (uint8_t)((sum + 1 + (x & 1)) >> 2);
        }
    }
    for (ptrdiff_t y = plane->height; y < plane->rows; y++)
        memcpy(plane->samples + y * plane->columns, plane->samples + (plane->height - 1) * plane->columns,
               (size_t)plane->columns);
}

/* One row of doubled chroma: three parts of the nearer row and column and one of the farther; of up to two columns
 * simply both twice. */
static void double_row(const Plane *plane, ptrdiff_t y, uint8_t *out, ptrdiff_t width)
{
    ptrdiff_t near = y / 2, far = y % 2 ? near + 1 : near - 1, last = plane->width - 1;
    far = far < 0 ? 0 : far > plane->height - 1 ? plane->height - 1 : far;
    const uint8_t *a = plane->samples + near * plane->columns, *b = plane->samples + far * plane->columns;
    for (ptrdiff_t x = 0; x < width; x++) {
        ptrdiff_t column = x / 2, beside = x % 2 ? column + 1 : column - 1;
        beside = beside < 0 ? 0 : beside > last ? last : beside;
        if (last < 2)
            out[x] = a[column];
        else
            out[x] = (uint8_t)((3 * (3 * a[column] + b[column]) + 3 * a[beside] + b[beside] + 8 - (x & 1)) >> 4);
    }
}

INLINE uint8_t clip(int32_t value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void from_planes(const Plane planes[3], uint8_t *const row[2], uint8_t *rgb)
{
    for (ptrdiff_t y = 0; y < planes->height; y++) {
        for (int c = 0; c < 2; c++)
            double_row(planes + 1 + c, y, row[c], planes->width);
        for (ptrdiff_t x = 0; x < planes->width; x++, rgb += 3) {
            int32_t luma = planes->samples[y * planes->columns + x], cb = row[0][x] - 128, cr = row[1][x] - 128;
            rgb[0] = clip(luma + ((91881 * cr + ROUND) >> FRACTION));
            rgb[1] = clip(luma + ((-22554 * cb - 46802 * cr + ROUND) >> FRACTION));
            rgb[2] = clip(luma + ((116130 * cb + ROUND) >> FRACTION));
        }
    }
}

int jpeg_round_trip(uint8_t *images, ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, int channels, int quality)
{
    void (*work)(const Plane *) = has_avx2() ? avx2_plane : plain_plane;
    Plane planes[3];
    size_t sizes[3], total = 0;
    for (int c = 0; c < channels; c++) {
        Plane *plane = planes + c;
        plane->height = c ? (height + 1) / 2 : height;
        plane->width = c ? (width + 1) / 2 : width;
        plane->rows = whole_blocks(plane->height);
        plane->columns = whole_blocks(plane->width);
        set_steps(plane, c > 0, quality);
        total += sizes[c] = (size_t)(plane->rows * plane->columns);
    }
    size_t pixels = (size_t)(height * width);
    uint8_t *scratch = malloc(total + (channels == 3 ? 2 * pixels : 0));
    if (!scratch)
        return -1;
    uint8_t *at = scratch;
    for (int c = 0; c < channels; at += sizes[c++])
        planes[c].samples = at;
    uint8_t *const full[2] = {at, at + pixels}; /* and then a row each, once it is halved */
    for (ptrdiff_t i = 0; i < count; i++, images += height * width * channels) {
        if (channels == 1) {
            for (ptrdiff_t y = 0; y < height; y++)
                memcpy(planes->samples + y * planes->columns, images + y * width, (size_t)width);
        } else {
            to_planes(images, planes, full);
            halve(full[0], height, width, planes + 1);
            halve(full[1], height, width, planes + 2);
        }
        pad(planes);
        for (int c = 0; c < channels; c++)
            work(planes + c);
        if (channels == 1) {
            for (ptrdiff_t y = 0; y < height; y++)
                memcpy(images + y * width, planes->samples + y * planes->columns, (size_t)width);
        } else {
            from_planes(planes, full, images);
        }
    }
    free(scratch);
    return 0;
}
