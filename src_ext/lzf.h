/* LZF, the light compression that h5py brings: literals and references back. */
#ifndef MMTK_LZF_H
#define MMTK_LZF_H

#include <stddef.h>
#include <stdint.h>

/* Unpacks `packed` into exactly `room` bytes. Returns 0, or -1 if it gives another number of bytes, ends inside a run or
 * refers back to before the start. */
int unpack_lzf(const uint8_t *packed, ptrdiff_t length, uint8_t *dst, ptrdiff_t room);

#endif
