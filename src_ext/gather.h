/* Rows of bytes, picked out in any order: copied, or normalised on the way. */
#ifndef MMTK_GATHER_H
#define MMTK_GATHER_H

#include <stddef.h>
#include <stdint.h>

typedef enum { AS_UINT8, AS_FLOAT32, AS_BFLOAT16 } Form;

/* `rows` are numbers of `images`, of which there are `height` rows of `width` bytes; `out` takes `count` rows of `width`
 * values. Normalised is x / 127.5 - 1 in float32, and for bfloat16 that rounded to nearest, ties to even. Returns the
 * place of the first row number that is outside the images, before which it ends, or -1. */
ptrdiff_t gather(const uint8_t *images, ptrdiff_t height, const int64_t *rows, ptrdiff_t count, ptrdiff_t width,
                 void *out, Form form);

#endif
