/* The resize with NEON, which every 64-bit Arm has. A unit is a pixel as 32-bit numbers: of eight rows for grey, of four
 * rows and three channels for RGB. Four of them are multiplied with a whole weight and added up in one instruction, so
 * weights are taken as they are, in both passes.
 */
#include "resize_bands.h"

#ifdef MMTK_NEON

#include <arm_neon.h>

enum { LANES = 4, GROUP = 8, STEP = 8 }; /* rows of a vector, outputs stored together, pixels turned together */

/* Eight pixels of four rows, a pixel a vector. */
ALWAYS void turn(const uint8x8_t row[LANES], int32x4_t *out, ptrdiff_t step)
{
    uint8x8x2_t even = vzip_u8(row[0], row[2]), odd = vzip_u8(row[1], row[3]);
    for (int i = 0; i < 2; i++) {
        uint8x8x2_t pairs = vzip_u8(even.val[i], odd.val[i]); /* two pixels of rows 0 to 3, and the next two */
        for (int j = 0; j < 2; j++, out += 2 * step) {
            uint16x8_t two_pixels = vmovl_u8(pairs.val[j]);
            out[0] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(two_pixels)));
            out[step] = vreinterpretq_s32_u32(vmovl_high_u16(two_pixels));
        }
    }
}

/* `from`: where eight pixels of each row begin. */
ALWAYS void fill_step(const uint8_t *const *from, int32x4_t *out, const int channels)
{
    uint8x8_t plane[3][LANES];
    if (channels == 1) {
        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < LANES; r++)
                plane[half][r] = vld1_u8(from[half * LANES + r]);
            turn(plane[half], out + half, 2);
        }
        return;
    }
    for (int r = 0; r < LANES; r++) {
        uint8x8x3_t colours = vld3_u8(from[r]);
        for (int c = 0; c < 3; c++)
            plane[c][r] = colours.val[c];
    }
    for (int c = 0; c < 3; c++)
        turn(plane[c], out + c, 3);
}

ALWAYS void fill(const Band *band, const int channels)
{
    const ptrdiff_t bytes = band->source->width * channels, step = STEP * channels;
    const ptrdiff_t rows = channels == 1 ? 2 * LANES : LANES;
    int32x4_t *out = band->units;
    const uint8_t *line[2 * LANES];
    uint8_t tail[2 * LANES][3 * STEP] = {{0}};
    for (ptrdiff_t r = 0; r < rows; r++)
        line[r] = band_row(band, r);
    for (ptrdiff_t at = 0; at < bytes; at += step, out += STEP * (channels == 1 ? 2 : 3)) {
        if (at + step > bytes) { /* the last bytes of the rows, and zeros behind them */
            for (ptrdiff_t r = 0; r < rows; r++)
                line[r] = memcpy(tail[r], line[r], (size_t)(bytes - at));
        }
        fill_step(line, out, channels);
        for (ptrdiff_t r = 0; r < rows; r++)
            line[r] += step;
    }
}

/* One output of all rows of a band: `vectors` results, not yet clipped. */
ALWAYS void output(const Band *band, const Making *making, ptrdiff_t i, int32x4_t *result, const int vectors)
{
    const Pass *x = &making->target->x;
    const int32_t *weight = x->weights + i * x->taps, count = x->bounds[2 * i + 1];
    const int32x4_t *unit = (const int32x4_t *)band->units + (ptrdiff_t)x->bounds[2 * i] * vectors;
    int32x4_t sum[2][3]; /* two, as the next product need not wait for the sum of the last */
    for (int v = 0; v < vectors; v++) {
        sum[0][v] = vmlaq_n_s32(vdupq_n_s32(HALF), unit[v], weight[0]);
        sum[1][v] = vdupq_n_s32(0);
    }
    int32_t k = 1;
    for (; k + 1 < count; k += 2) {
        for (int v = 0; v < vectors; v++) {
            sum[0][v] = vmlaq_n_s32(sum[0][v], unit[k * vectors + v], weight[k]);
            sum[1][v] = vmlaq_n_s32(sum[1][v], unit[(k + 1) * vectors + v], weight[k + 1]);
        }
    }
    for (int v = 0; v < vectors; v++) {
        if (k < count)
            sum[0][v] = vmlaq_n_s32(sum[0][v], unit[k * vectors + v], weight[k]);
        result[v] = vshrq_n_s32(vaddq_s32(sum[0][v], sum[1][v]), PRECISION);
    }
}

/* Two vectors of numbers, clipped to bytes. */
ALWAYS uint8x8_t clipped(int32x4_t first, int32x4_t second)
{
    return vqmovun_s16(vcombine_s16(vqmovn_s32(first), vqmovn_s32(second)));
}

/* Stores eight outputs of four rows, eight bytes a row. */
ALWAYS void store_group(const int32x4_t eight[GROUP], uint8_t *const row[LANES], ptrdiff_t at)
{
    uint8_t bytes[GROUP * LANES];
    for (int i = 0; i < GROUP; i += 2)
        vst1_u8(bytes + i * LANES, clipped(eight[i], eight[i + 1]));
    uint8x8x4_t rows = vld4_u8(bytes);
    for (int r = 0; r < LANES; r++)
        vst1_u8(row[r] + at, rows.val[r]);
}

/* The outputs behind the last are the last one again, and their bytes go into the pad. */
ALWAYS void across(const Band *band, const Making *making, const int channels)
{
    const ptrdiff_t size = making->target->x.size;
    const int vectors = channels == 1 ? 2 : 3;
    uint8_t *row[2 * LANES];
    for (ptrdiff_t r = 0; r < (channels == 1 ? 2 * LANES : LANES); r++)
        row[r] = ring_row(making, band->first + r);
    for (ptrdiff_t i = 0; i < size; i += GROUP) {
        int32x4_t part[3][GROUP], all[3 * GROUP], result[3];
        for (ptrdiff_t g = 0; g < GROUP; g++) {
            output(band, making, i + g < size ? i + g : size - 1, result, vectors);
            for (int v = 0; v < vectors; v++) {
                part[v][g] = result[v];
                all[3 * g + v] = result[v];
            }
        }
        for (int v = 0; v < vectors; v++) {
            if (channels == 1)
                store_group(part[v], row + v * LANES, i);
            else
                store_group(all + GROUP * v, row, 3 * i + GROUP * v);
        }
    }
}

static void fill_grey(const Band *band)
{
    fill(band, 1);
}

static void fill_rgb(const Band *band)
{
    fill(band, 3);
}

static void across_grey(const Band *band, const Making *making)
{
    across(band, making, 1);
}

static void across_rgb(const Band *band, const Making *making)
{
    across(band, making, 3);
}

/* 16 columns of an output row. */
ALWAYS uint8x16_t columns(const uint8_t *const *lines, const int32_t *weight, ptrdiff_t count, ptrdiff_t at)
{
    int32x4_t sum[4];
    for (int v = 0; v < 4; v++)
        sum[v] = vdupq_n_s32(HALF);
    for (ptrdiff_t k = 0; k < count; k++) {
        uint8x16_t line = vld1q_u8(lines[k] + at);
        uint16x8_t near = vmovl_u8(vget_low_u8(line)), far = vmovl_high_u8(line);
        sum[0] = vmlaq_n_s32(sum[0], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(near))), weight[k]);
        sum[1] = vmlaq_n_s32(sum[1], vreinterpretq_s32_u32(vmovl_high_u16(near)), weight[k]);
        sum[2] = vmlaq_n_s32(sum[2], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(far))), weight[k]);
        sum[3] = vmlaq_n_s32(sum[3], vreinterpretq_s32_u32(vmovl_high_u16(far)), weight[k]);
    }
    for (int v = 0; v < 4; v++)
        sum[v] = vshrq_n_s32(sum[v], PRECISION);
    return vcombine_u8(clipped(sum[0], sum[1]), clipped(sum[2], sum[3]));
}

static void down(const Making *making, uint8_t *restrict out)
{
    const Target *target = making->target;
    const ptrdiff_t i = making->next, count = target->y.bounds[2 * i + 1], row = target->row;
    const int32_t *weight = target->y.weights + i * target->y.taps;
    const uint8_t *const *lines = making->lines;
    for (ptrdiff_t at = 0; at + 16 <= row; at += 16)
        vst1q_u8(out + at, columns(lines, weight, count, at));
    if (row % 16 == 0)
        return;
    if (row > 16) { /* the last 16, some of them again */
        vst1q_u8(out + row - 16, columns(lines, weight, count, row - 16));
    } else { /* the ring has a pad to read */
        uint8_t narrow[16];
        vst1q_u8(narrow, columns(lines, weight, count, 0));
        memcpy(out, narrow, (size_t)row);
    }
}

int resize_neon(const Source *source, const Target *targets, ptrdiff_t count)
{
    static const Path path = {
        .rows = {2 * LANES, LANES}, .step = {STEP, 3 * STEP}, .pixels = 1,
        .filled = {STEP * 2 * sizeof(int32x4_t), STEP * 3 * sizeof(int32x4_t)},
        .fill = {fill_grey, fill_rgb}, .across = {across_grey, across_rgb}, .down = down,
    };
    return resize_by_bands(&path, source, targets, count);
}

int has_neon(void)
{
    return 1;
}

#else

int resize_neon(const Source *source, const Target *targets, ptrdiff_t count)
{
    return resize_plain(source, targets, count);
}

int has_neon(void)
{
    return 0;
}

#endif
