#include "png.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CHANNELS = 4 };

static inline int paeth(int left, int up, int corner)
{
    int by_left = up - corner, by_up = left - corner, by_corner = by_left + by_up;
    by_left = by_left < 0 ? -by_left : by_left;
    by_up = by_up < 0 ? -by_up : by_up;
    by_corner = by_corner < 0 ? -by_corner : by_corner;
    int nearest = by_up < by_left ? up : left;
    int least = by_up < by_left ? by_up : by_left;
    return by_corner < least ? corner : nearest;
}

/* One row; inlined for each step, so that the neighbours of each channel stay in registers: the next pixel waits for
 * them, and nothing else counts. */
static inline __attribute__((always_inline)) void unfilter(
    int filter, const uint8_t *restrict from, uint8_t *restrict now, const uint8_t *restrict above, ptrdiff_t bytes,
    const int step)
{
    int left[MOST_CHANNELS] = {0}, corner[MOST_CHANNELS] = {0};
    switch (filter) {
    case 0:
        memcpy(now, from, (size_t)bytes);
        break;
    case 1:
        for (ptrdiff_t i = 0; i < bytes; i += step) {
            for (int c = 0; c < step; c++)
                now[i + c] = (uint8_t)(left[c] = (left[c] + from[i + c]) & 255);
        }
        break;
    case 2:
        for (ptrdiff_t i = 0; i < bytes; i++)
            now[i] = (uint8_t)(from[i] + above[i]);
        break;
    case 3:
        for (ptrdiff_t i = 0; i < bytes; i += step) {
            for (int c = 0; c < step; c++)
                now[i + c] = (uint8_t)(left[c] = (((left[c] + above[i + c]) >> 1) + from[i + c]) & 255);
        }
        break;
    default:
        for (ptrdiff_t i = 0; i < bytes; i += step) {
            for (int c = 0; c < step; c++) {
                int up = above[i + c];
                now[i + c] = (uint8_t)(left[c] = (paeth(left[c], up, corner[c]) + from[i + c]) & 255);
                corner[c] = up;
            }
        }
    }
}

static inline __attribute__((always_inline)) int guess(const int filter, int left, int up, int corner)
{
    return filter == 3 ? (left + up) >> 1 : paeth(left, up, corner);
}

/* Two grey rows at once, the second a pixel behind the first: two chains that need not wait for each other. */
static inline __attribute__((always_inline)) void unfilter_two(
    const int one, const int two, const uint8_t *restrict from, uint8_t *restrict first, uint8_t *restrict second,
    const uint8_t *restrict above, ptrdiff_t width)
{
    const uint8_t *restrict next = from + width + 1;
    int left = (guess(one, 0, above[0], 0) + from[0]) & 255, corner = above[0], left_below = 0, corner_below = 0;
    first[0] = (uint8_t)left;
    for (ptrdiff_t x = 1; x < width; x++) {
        int up = above[x], value = (guess(one, left, up, corner) + from[x]) & 255;
        left_below = (guess(two, left_below, left, corner_below) + next[x - 1]) & 255;
        second[x - 1] = (uint8_t)left_below;
        corner_below = left;
        corner = up;
        left = value;
        first[x] = (uint8_t)value;
    }
    second[width - 1] = (uint8_t)(guess(two, left_below, left, corner_below) + next[width - 1]);
}

static void unfilter_pair(const uint8_t *raw, uint8_t *first, uint8_t *second, const uint8_t *above, ptrdiff_t width)
{
    int low = raw[width + 1] == 3; /* the second row's filter */
    if (raw[0] == 3 && low)
        unfilter_two(3, 3, raw + 1, first, second, above, width);
    else if (raw[0] == 3)
        unfilter_two(3, 4, raw + 1, first, second, above, width);
    else if (low)
        unfilter_two(4, 3, raw + 1, first, second, above, width);
    else
        unfilter_two(4, 4, raw + 1, first, second, above, width);
}

static inline int is_slow(uint8_t filter)
{
    return filter == 3 || filter == 4;
}

/* Grey rows need no luma: they are undone where they go. `zeros` stands above the first. */
static ptrdiff_t plain_grey(const uint8_t *raw, uint8_t *dst, ptrdiff_t height, ptrdiff_t width, const uint8_t *zeros)
{
    ptrdiff_t step = width + 1;
    for (ptrdiff_t y = 0; y < height; y++, raw += step) {
        uint8_t *now = dst + y * width;
        const uint8_t *above = y ? now - width : zeros;
        if (raw[0] > 4)
            return 1 + y;
        if (is_slow(raw[0]) && y + 1 < height && is_slow(raw[step])) {
            unfilter_pair(raw, now, now + width, above, width);
            y++;
            raw += step;
        } else {
            unfilter(raw[0], raw + 1, now, above, width, 1);
        }
    }
    return 0;
}

/* Alpha aside: libpng's luma, truncated, and Pillow's, rounded; either may be left out. */
static void to_grey(
    const uint8_t *restrict row, uint8_t *restrict truncated, uint8_t *restrict rounded, ptrdiff_t width, int channels)
{
    for (ptrdiff_t x = 0; channels == 2 && x < width; x++) {
        if (truncated)
            truncated[x] = row[2 * x];
        if (rounded)
            rounded[x] = row[2 * x];
    }
    for (ptrdiff_t x = 0; channels > 2 && truncated && x < width; x++) {
        const uint8_t *pixel = row + x * channels;
        truncated[x] = (uint8_t)((9797u * pixel[0] + 19234u * pixel[1] + 3737u * pixel[2]) >> 15);
    }
    for (ptrdiff_t x = 0; channels > 2 && rounded && x < width; x++) {
        const uint8_t *pixel = row + x * channels;
        rounded[x] = (uint8_t)((19595u * pixel[0] + 38470u * pixel[1] + 7471u * pixel[2] + 0x8000u) >> 16);
    }
}

ptrdiff_t unfilter_grey(
    const uint8_t *raw, uint8_t *truncated, uint8_t *rounded, ptrdiff_t height, ptrdiff_t width, int channels)
{
    ptrdiff_t bytes = width * channels, wrong = 0;
    uint8_t *scratch = calloc(2, (size_t)bytes); /* two rows, the first of zeros */
    if (!scratch)
        return -1;
    uint8_t *above = scratch, *now = scratch + bytes;
    if (channels == 1) {
        uint8_t *dst = truncated ? truncated : rounded;
        wrong = plain_grey(raw, dst, height, width, above);
        if (rounded && dst != rounded)
            memcpy(rounded, dst, (size_t)(height * width));
        height = 0;
    }
    for (ptrdiff_t y = 0; y < height; y++, raw += bytes + 1) {
        if (raw[0] > 4) {
            wrong = 1 + y;
            break;
        }
        switch (channels) {
        case 2:
            unfilter(raw[0], raw + 1, now, above, bytes, 2);
            break;
        case 3:
            unfilter(raw[0], raw + 1, now, above, bytes, 3);
            break;
        default:
            unfilter(raw[0], raw + 1, now, above, bytes, 4);
        }
        to_grey(now, truncated ? truncated + y * width : NULL, rounded ? rounded + y * width : NULL, width, channels);
        uint8_t *swap = above;
        above = now;
        now = swap;
    }
    free(scratch);
    return wrong;
}
