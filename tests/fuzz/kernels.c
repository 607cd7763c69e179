/* The C kernels that take apart what a file holds, under libFuzzer and the sanitizers: PNG rows against the rules of the
 * standard, PackBits against itself with other room. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packbits.h"
#include "png.h"

#define EXPECT(what) ((what) ? (void)0 : (fprintf(stderr, "not so: %s\n", #what), abort()))

static int guess(int filter, int left, int up, int corner)
{
    int p = left + up - corner, a = abs(p - left), b = abs(p - up), c = abs(p - corner);
    switch (filter) {
    case 0:
        return 0;
    case 1:
        return left;
    case 2:
        return up;
    case 3:
        return (left + up) / 2;
    default:
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }
}

static void rows(const uint8_t *data, size_t size)
{
    ptrdiff_t channels = 1 + data[0] % 4, width = 1 + data[1] % 40, step = channels * width + 1;
    ptrdiff_t height = (ptrdiff_t)(size - 2) / step;
    if (height < 1)
        return;
    size_t bytes = (size_t)(height * step);
    uint8_t *raw = malloc(bytes), *plain = calloc(bytes, 1), *grey = malloc((size_t)(height * width));
    uint8_t *rounded = malloc((size_t)(height * width));
    memcpy(raw, data + 2, bytes);
    ptrdiff_t wrong = 0;
    for (ptrdiff_t y = 0; y < height && !wrong; y++) {
        int filter = raw[y * step];
        wrong = filter > 4 ? y + 1 : 0;
        for (ptrdiff_t i = 0; i < step - 1 && !wrong; i++) {
            uint8_t *now = plain + y * step + i;
            int left = i >= channels ? now[-channels] : 0, up = y ? now[-step] : 0;
            *now = (uint8_t)(raw[y * step + 1 + i] + guess(filter, left, up, y && i >= channels ? now[-step - channels] : 0));
        }
    }
    EXPECT(unfilter_grey(raw, grey, rounded, height, width, (int)channels) == wrong);
    for (ptrdiff_t y = 0; y < height && !wrong; y++) {
        for (ptrdiff_t x = 0; x < width; x++) {
            const uint8_t *p = plain + y * step + x * channels;
            int luma = channels < 3 ? p[0] : (9797 * p[0] + 19234 * p[1] + 3737 * p[2]) >> 15;
            int pillow = channels < 3 ? p[0] : (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 0x8000) >> 16;
            EXPECT(grey[y * width + x] == luma);
            EXPECT(rounded[y * width + x] == pillow);
        }
    }
    free(raw);
    free(plain);
    free(grey);
    free(rounded);
}

static void strips(const uint8_t *data, size_t size)
{
    size_t room = 2 * (size_t)data[0];
    uint8_t *packed = malloc(size), *dst = malloc(room + 1), *whole = malloc(128 * size + 1);
    memcpy(packed, data + 1, size - 1);
    ptrdiff_t all = unpack_bits(packed, (ptrdiff_t)(size - 1), whole, (ptrdiff_t)(128 * size));
    EXPECT(unpack_bits(packed, (ptrdiff_t)(size - 1), dst, (ptrdiff_t)room) == all);
    if (all >= 0 && (size_t)all <= room)
        EXPECT(memcmp(dst, whole, (size_t)all) == 0);
    free(packed);
    free(dst);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    static void (*const targets[])(const uint8_t *, size_t) = {rows, strips};
    targets[data[0] % 2](data + 1, size - 1);
    return 0;
}
