/* The zoom for any machine, two doubles a vector. */
#define WIDE 2
#include "zoom_loops.h"

static int loops(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst, Work *work)
{
    return all_axes(box, x, y, z, dst, work);
}

int zoom_plain(const Box *box, const Axis *x, const Axis *y, const Axis *z, int16_t *dst)
{
    return zoom_by(loops, box, x, y, z, dst);
}
