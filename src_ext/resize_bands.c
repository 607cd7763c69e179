#include "resize_bands.h"

#ifdef MMTK_BANDS

#include <stdlib.h>

enum { ALIGNMENT = 64 };

static inline const uint8_t *row_at(const Source *source, const Making *making, ptrdiff_t row)
{
    return making->ring ? ring_row(making, row) : source->pixels + row * source->stride;
}

/* The row behind the last that an output row needs. */
static inline ptrdiff_t end_of(const Target *target, ptrdiff_t i)
{
    return target->y.bounds ? target->y.bounds[2 * i] + target->y.bounds[2 * i + 1] : i + 1;
}

/* No size overflows: sides are below 2^29, and x.size * x.most is at most the size of a table that is in memory. */
static int begin(Making *making, const Path *path, const Target *target, ptrdiff_t rows)
{
    making->target = target;
    if (target->y.bounds) {
        making->lines = malloc((size_t)(target->y.most + 1) * sizeof *making->lines);
        making->pairs = malloc((size_t)(target->y.most + 1) * sizeof *making->pairs);
        if (!making->lines || !making->pairs)
            return -1;
    }
    if (!target->x.bounds && (!target->y.bounds || target->row >= WHOLE))
        return 0;
    making->units = (target->x.most + 2 * (path->pixels - 1)) / path->pixels;
    making->held = (target->y.bounds ? target->y.most : 1) + rows;
    making->ring_row = target->row + PAD;
    making->ring = malloc((size_t)(making->held * making->ring_row));
    if (!making->ring)
        return -1;
    if (!path->pack || !target->x.bounds)
        return 0;
    making->weights = malloc((size_t)(target->x.size * making->units * path->words) * sizeof(int32_t));
    if (!making->weights)
        return -1;
    path->pack(making);
    return 0;
}

/* Band by band, as long as a target wants rows of it. */
static void run(const Path *path, Band *band, Making *all, ptrdiff_t count)
{
    const Source *source = band->source;
    const int rgb = source->channels == 3;
    for (; band->first < source->height; band->first += path->rows[rgb]) {
        const ptrdiff_t end = band->first + path->rows[rgb];
        int turned = 0;
        for (Making *making = all; making < all + count; making++) {
            const Target *target = making->target;
            if (making->next == target->height)
                continue;
            if (target->x.bounds) {
                if (!turned)
                    path->fill[rgb](band);
                turned = 1;
                path->across[rgb](band, making);
            } else if (making->ring) {
                for (ptrdiff_t r = 0; r < path->rows[rgb]; r++)
                    memcpy(ring_row(making, band->first + r), band_row(band, r), (size_t)target->row);
            }
            for (; making->next < target->height && end_of(target, making->next) <= end; making->next++) {
                ptrdiff_t i = making->next;
                uint8_t *out = target->dst + i * target->row;
                if (!target->y.bounds) {
                    memcpy(out, row_at(source, making, i), (size_t)target->row);
                    continue;
                }
                for (ptrdiff_t k = 0; k < target->y.bounds[2 * i + 1]; k++)
                    making->lines[k] = row_at(source, making, target->y.bounds[2 * i] + k);
                path->down(making, out);
            }
        }
    }
}

int resize_by_bands(const Path *path, const Source *source, const Target *targets, ptrdiff_t count)
{
    const int rgb = source->channels == 3;
    const ptrdiff_t steps = source->width * source->channels / path->step[rgb] + 1;
    Band band = {.source = source};
    Making *all = calloc((size_t)count, sizeof *all);
    int failed = !all;
    band.units = aligned_alloc(ALIGNMENT, (size_t)(steps * path->filled[rgb]));
    failed |= !band.units;
    for (ptrdiff_t t = 0; t < count && !failed; t++)
        failed = begin(all + t, path, targets + t, path->rows[rgb]);
    if (!failed)
        run(path, &band, all, count);
    for (ptrdiff_t t = 0; all && t < count; t++) {
        free(all[t].lines);
        free(all[t].pairs);
        free(all[t].weights);
        free(all[t].ring);
    }
    free(band.units);
    free(all);
    return failed ? -1 : 0;
}

#endif
