/* Resizes the cases on its input with a path of src_ext, without Python: for machines that are only emulated.
 *
 * A case is eight int32 (channels, height and width of the source, bytes from row to row, height and width of the target,
 * taps of x and of y, 0 where a pass is skipped), the bounds and weights of x and of y, and the rows of the source. The
 * pixels of the target come out. Whatever is allocated, by the kernels too, ends at a page that cannot be touched.
 */
#define _GNU_SOURCE
#include "resize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GRAIN = 16 }; /* what malloc aligns to: fewer bytes than this may be overrun unseen */

/* By `-Wl,--wrap` in the place of the allocator. */
void *__wrap_aligned_alloc(size_t grain, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
    char *all = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + whole, page, PROT_NONE) != 0)
        return NULL;
    return memset(all + whole - (bytes + grain - 1) / grain * grain, 0xA5, bytes);
}

void *__wrap_malloc(size_t bytes)
{
    return __wrap_aligned_alloc(GRAIN, bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *piece = __wrap_malloc(count * bytes);
    return piece ? memset(piece, 0, count * bytes) : NULL;
}

void __wrap_free(void *piece)
{
    (void)piece; /* the process ends soon */
}

static void *take(size_t bytes, size_t grain)
{
    void *piece = __wrap_aligned_alloc(grain, bytes);
    if (!piece || fread(piece, 1, bytes, stdin) != bytes)
        exit(3);
    return piece;
}

static void take_pass(Pass *pass, int32_t size, int32_t taps)
{
    if (!taps)
        return;
    int32_t *bounds = take(2 * sizeof *bounds * (size_t)size, sizeof *bounds);
    pass->bounds = bounds;
    pass->weights = take(sizeof(int32_t) * (size_t)size * (size_t)taps, sizeof(int32_t));
    pass->size = size;
    pass->taps = taps;
    for (int32_t i = 0; i < size; i++)
        pass->most = bounds[2 * i + 1] > pass->most ? bounds[2 * i + 1] : pass->most;
}

int main(int argc, char **argv)
{
    int32_t head[8];
    int neon = argc == 2 && strcmp(argv[1], "neon") == 0 && has_neon();
    if (!neon && !(argc == 2 && strcmp(argv[1], "plain") == 0))
        return 2;
    while (fread(head, sizeof head, 1, stdin) == 1) {
        Source source = {.channels = head[0], .height = head[1], .width = head[2], .stride = head[3]};
        Target target = {.height = head[4], .row = (ptrdiff_t)head[5] * head[0]};
        take_pass(&target.x, head[5], head[6]);
        take_pass(&target.y, head[4], head[7]);
        source.pixels = take((size_t)((source.height - 1) * source.stride + source.width * source.channels), 1);
        size_t bytes = (size_t)(target.height * target.row);
        target.dst = __wrap_aligned_alloc(1, bytes);
        if (!target.dst || (neon ? resize_neon : resize_plain)(&source, &target, 1) != 0)
            return 4;
        if (fwrite(target.dst, 1, bytes, stdout) != bytes)
            return 5;
    }
    return 0;
}
