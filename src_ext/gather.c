#include "gather.h"

#include <string.h>

#include "resize.h"

/* Rows fetched before they are needed; bytes of a cache line; bytes of a row that are fetched: once its copy runs, the
 * machine sees where it goes. */
enum { AHEAD = 8, LINE = 64, START = 1024 };

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
static void fetch(const uint8_t *row, ptrdiff_t width)
{
    for (ptrdiff_t at = 0; at < width && at < START; at += LINE)
        __builtin_prefetch(row + at);
}
#else
#define INLINE static inline
static void fetch(const uint8_t *row, ptrdiff_t width)
{
    (void)row, (void)width;
}
#endif

INLINE void as_float32(const uint8_t *restrict row, float *restrict out, ptrdiff_t width)
{
    for (ptrdiff_t i = 0; i < width; i++)
        out[i] = (float)row[i] / 127.5f - 1.0f;
}

INLINE void as_bfloat16(const uint8_t *restrict row, uint16_t *restrict out, ptrdiff_t width)
{
    for (ptrdiff_t i = 0; i < width; i++) {
        float exact = (float)row[i] / 127.5f - 1.0f;
        uint32_t bits;
        memcpy(&bits, &exact, sizeof bits);
        out[i] = (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
    }
}

/* The same loops once for any machine and once for AVX2, which the compiler makes of them. */
static void plain_row(const uint8_t *row, void *out, ptrdiff_t width, Form form)
{
    if (form == AS_FLOAT32)
        as_float32(row, out, width);
    else
        as_bfloat16(row, out, width);
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
__attribute__((target("avx2"))) static void avx2_row(const uint8_t *row, void *out, ptrdiff_t width, Form form)
{
    if (form == AS_FLOAT32)
        as_float32(row, out, width);
    else
        as_bfloat16(row, out, width);
}
#else
#define avx2_row plain_row
#endif

/* Another thread may write into the row numbers meanwhile: each is read once, and that value is checked and used. */
static inline uint64_t row_number(const int64_t *rows, ptrdiff_t i)
{
    return (uint64_t)*(const volatile int64_t *)(rows + i);
}

ptrdiff_t gather(const uint8_t *images, ptrdiff_t height, const int64_t *rows, ptrdiff_t count, ptrdiff_t width,
                 void *out, Form form)
{
    static const size_t sizes[] = {[AS_UINT8] = 1, [AS_FLOAT32] = sizeof(float), [AS_BFLOAT16] = sizeof(uint16_t)};
    void (*normalise)(const uint8_t *, void *, ptrdiff_t, Form) = has_avx2() ? avx2_row : plain_row;
    size_t step = (size_t)width * sizes[form];
    char *to = out;
    uint64_t ahead[AHEAD]; /* checked already */
    for (ptrdiff_t i = 0; i < count + AHEAD; i++) {
        if (i >= AHEAD) {
            const uint8_t *row = images + (ptrdiff_t)ahead[i % AHEAD] * width;
            if (form == AS_UINT8)
                memcpy(to, row, step);
            else
                normalise(row, to, width, form);
            to += step;
        }
        if (i < count) {
            uint64_t number = row_number(rows, i);
            if (number >= (uint64_t)height)
                return i;
            ahead[i % AHEAD] = number;
            fetch(images + (ptrdiff_t)number * width, width);
        }
    }
    return -1;
}
