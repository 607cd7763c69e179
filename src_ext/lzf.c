#include "lzf.h"

#include <string.h>

int unpack_lzf(const uint8_t *packed, ptrdiff_t length, uint8_t *dst, ptrdiff_t room)
{
    ptrdiff_t at = 0, done = 0;
    while (at < length) {
        ptrdiff_t head = packed[at++];
        if (head < 32) { /* that many and one literals */
            ptrdiff_t count = head + 1;
            if (count > length - at || count > room - done)
                return -1;
            memcpy(dst + done, packed + at, (size_t)count);
            at += count;
            done += count;
            continue;
        }
        ptrdiff_t count = (head >> 5) + 2;
        if (count == 9) { /* a long one: its length goes on in the next byte */
            if (at == length)
                return -1;
            count += packed[at++];
        }
        if (at == length)
            return -1;
        ptrdiff_t back = ((head & 31) << 8 | packed[at++]) + 1;
        if (back > done || count > room - done)
            return -1;
        if (back >= count)
            memcpy(dst + done, dst + done - back, (size_t)count);
        else /* what is copied is written on the way */
            for (ptrdiff_t i = 0; i < count; i++)
                dst[done + i] = dst[done + i - back];
        done += count;
    }
    return done == room ? 0 : -1;
}
