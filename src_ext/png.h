/* PNG rows: the filters undone, and luma taken in the same pass. */
#ifndef MMTK_PNG_H
#define MMTK_PNG_H

#include <stddef.h>
#include <stdint.h>

/* `raw` holds `height` rows of a filter byte and width * channels bytes (1 grey, 2 grey and alpha, 3 RGB, 4 RGBA);
 * `truncated` and `rounded`, one of which may be NULL, take height * width bytes of luma each: libpng's, truncated, and
 * Pillow's, rounded. Returns 0, -1 without memory, or 1 + the number of a row whose filter is none. */
ptrdiff_t unfilter_grey(
    const uint8_t *raw, uint8_t *truncated, uint8_t *rounded, ptrdiff_t height, ptrdiff_t width, int channels);

#endif
