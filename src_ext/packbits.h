/* TIFF's PackBits: runs and literals of bytes. */
#ifndef MMTK_PACKBITS_H
#define MMTK_PACKBITS_H

#include <stddef.h>
#include <stdint.h>

/* Unpacks `packed` into at most `room` bytes. Returns how many bytes it unpacks to, which may be more than there is room
 * for, or -1 if it ends inside a run. */
ptrdiff_t unpack_bits(const uint8_t *packed, ptrdiff_t length, uint8_t *dst, ptrdiff_t room);

#endif
