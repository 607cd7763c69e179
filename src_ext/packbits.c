#include "packbits.h"

#include <string.h>

ptrdiff_t unpack_bits(const uint8_t *packed, ptrdiff_t length, uint8_t *dst, ptrdiff_t room)
{
    ptrdiff_t total = 0;
    for (ptrdiff_t at = 0; at < length;) {
        int head = packed[at++];
        if (head == 128)
            continue;
        ptrdiff_t count = head < 128 ? head + 1 : 257 - head, taken = head < 128 ? count : 1;
        if (taken > length - at)
            return -1;
        if (count <= room - total) {
            if (head < 128)
                memcpy(dst + total, packed + at, (size_t)count);
            else
                memset(dst + total, packed[at], (size_t)count);
        }
        at += taken;
        total += count;
    }
    return total;
}
