/* The zoom with AVX2, four doubles a vector, and fused multiply-add, which machines with AVX2 have but for a few. */
#ifdef __x86_64__
#define WIDE 4
#include "zoom_loops.h"

__attribute__((target("avx2,fma")))
static int loops(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst, Work *work)
{
    return all_axes(box, x, y, z, dst, work);
}

int zoom_avx2(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst)
{
    return __builtin_cpu_supports("fma") ? zoom_by(loops, box, x, y, z, dst) : zoom_plain(box, x, y, z, dst);
}

#else
#include "zoom.h"

int zoom_avx2(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst)
{
    return zoom_plain(box, x, y, z, dst);
}

#endif
