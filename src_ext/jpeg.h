/* What a JPEG loses and keeps: an image as it comes back from libjpeg, without the file between. */
#ifndef MMTK_JPEG_H
#define MMTK_JPEG_H

#include <stddef.h>
#include <stdint.h>

/* Takes `count` images of height x width pixels of 1 or 3 channels (RGB) through baseline JPEG of a quality, 1 to 100,
 * in place; colour as 4:2:0, enlarged again by libjpeg's "fancy" triangle. The arithmetic is libjpeg's accurate integer
 * one (ISLOW) in every step, to the last bit. Returns -1 without memory, and then nothing is changed. */
int jpeg_round_trip(uint8_t *images, ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, int channels, int quality);

#endif
