/* mmtk._native: the exact antialiased resize, see resize.h for its arithmetic and resize_*.c for its paths; the rows of
 * a PNG and the strips of a TIFF; rows of images for a batch; the zoom of a CT box.
 *
 * Callers hand over NumPy arrays; every type, size, stride and table entry is checked here before the first pixel is
 * touched, so that no argument, however wrong, reads or writes outside its buffers or overflows an int32. The GIL is
 * released meanwhile, and another thread may write into any buffer: so tables are copied before they are checked, row
 * numbers are checked again where they are used, and no other content decides where a kernel reads or writes, unless
 * it is checked as it is read. Where a kernel writes must not overlap what it reads.
 */
#define PY_SSIZE_T_CLEAN
#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded interpreters have no stable ABI yet */
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gather.h"
#include "jpeg.h"
#include "packbits.h"
#include "png.h"
#include "resize.h"
#include "zoom.h"

/* Two tables of a pass or an axis, and their copies in one piece. */
typedef struct {
    Py_buffer bounds, weights;
    void *copy;
} Tables;

typedef struct {
    Py_buffer dst;
    Tables x, y;
} Views;

typedef struct {
    const char *name;
    int (*resize)(const Source *, const Target *, ptrdiff_t);
    int (*zoom)(const Box *, const Axis *, const Axis *, const Axis *, int16_t *);
    int (*there)(void);
} Way;

static int always(void)
{
    return 1;
}

/* The fastest first. */
static const Way ways[] = {
    {"vnni", resize_vnni, zoom_avx2, has_vnni},
    {"avx2", resize_avx2, zoom_avx2, has_avx2},
    {"neon", resize_neon, zoom_plain, has_neon}, /* the zoom's vectors of two doubles are NEON's own */
    {"plain", resize_plain, zoom_plain, always},
};
enum { WAYS = (int)(sizeof ways / sizeof *ways), MOST_TARGETS = 64, MOST_VOXELS = 1 << 15 };

/* ------------------------------------------------------------------------------------------------ checks */

static int fail(const char *what)
{
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

static int is_type(const Py_buffer *view, const char *format, Py_ssize_t itemsize)
{
    return view->itemsize == itemsize && view->format && strcmp(view->format, format) == 0 &&
           (uintptr_t)view->buf % (uintptr_t)itemsize == 0;
}

static const Way *take_way(PyObject *name)
{
    for (int i = 0; i < WAYS; i++) {
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, ways[i].name) == 0 && ways[i].there())
            return &ways[i];
    }
    PyErr_Format(PyExc_ValueError, "path: expected one of mmtk._native.paths, not %R", name);
    return NULL;
}

/* Where a view's bytes lie. Without strides they are side by side. */
static void extent(const Py_buffer *view, uintptr_t *start, uintptr_t *end)
{
    *start = (uintptr_t)view->buf;
    *end = *start + (uintptr_t)view->len;
    if (!view->strides || view->len == 0)
        return;
    *end = *start + (uintptr_t)view->itemsize;
    for (int axis = 0; axis < view->ndim; axis++) {
        Py_ssize_t reach = (view->shape[axis] - 1) * view->strides[axis];
        *(reach < 0 ? start : end) += (uintptr_t)reach;
    }
}

static int overlap(const Py_buffer *one, const Py_buffer *two)
{
    uintptr_t start, end, from, to;
    extent(one, &start, &end);
    extent(two, &from, &to);
    return one->len > 0 && two->len > 0 && start < to && from < end;
}

/* Takes both tables; on failure there is nothing to release. */
static int get_tables(Tables *tables, PyObject *bounds, PyObject *weights)
{
    const int flags = PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT;
    tables->copy = NULL;
    if (PyObject_GetBuffer(bounds, &tables->bounds, flags) < 0)
        return -1;
    if (PyObject_GetBuffer(weights, &tables->weights, flags) == 0)
        return 0;
    PyBuffer_Release(&tables->bounds);
    return -1;
}

/* Copies them, weights first as their type may be the wider. 0 with an exception without memory. */
static int copy_tables(Tables *tables, const void **bounds, const void **weights)
{
    size_t first = (size_t)tables->weights.len, second = (size_t)tables->bounds.len;
    char *copy = tables->copy = malloc(first + second + 1);
    if (!copy) {
        PyErr_NoMemory();
        return 0;
    }
    memcpy(copy, tables->weights.buf, first);
    memcpy(copy + first, tables->bounds.buf, second);
    *weights = copy;
    *bounds = copy + first;
    return 1;
}

static void release_tables(Tables *tables)
{
    PyBuffer_Release(&tables->bounds);
    PyBuffer_Release(&tables->weights);
    free(tables->copy);
}

static int is_table(const Py_buffer *view)
{
    return view->ndim == 2 && is_type(view, "i", (Py_ssize_t)sizeof(int32_t));
}

/* Checks one pass against the sizes of its axis. None for both tables skips it, which needs equal sizes.
 * On failure nothing is left to release; on success release_pass() is owed. */
static int take_pass(Pass *pass, Tables *views, PyObject *bounds, PyObject *weights, Py_ssize_t in_size,
                     Py_ssize_t out_size)
{
    if (bounds == Py_None && weights == Py_None)
        return in_size == out_size ? 0 : fail("a pass may only be skipped where the size stays");
    if (get_tables(views, bounds, weights) < 0)
        return -1;
    const char *wrong = NULL;
    pass->size = out_size;
    if (!is_table(&views->bounds))
        wrong = "bounds: expected int32 of shape (size, 2)";
    else if (!is_table(&views->weights))
        wrong = "weights: expected int32 of shape (size, taps)";
    else if (views->bounds.shape[0] != out_size || views->bounds.shape[1] != 2 ||
             views->weights.shape[0] != out_size)
        wrong = "bounds and weights: expected a row for each output";
    const void *copied_bounds = NULL, *copied_weights = NULL;
    if (!wrong && !copy_tables(views, &copied_bounds, &copied_weights)) {
        release_tables(views);
        return -1;
    }
    const int32_t *b = copied_bounds, *w = copied_weights;
    int32_t start = 0, end = 0;
    pass->taps = wrong ? 0 : views->weights.shape[1];
    for (Py_ssize_t i = 0; i < out_size && !wrong; i++) {
        int32_t from = b[2 * i], count = b[2 * i + 1];
        if (from < start || count < 1 || count > pass->taps || from > in_size - count || from + count < end) {
            wrong = "bounds: expected rising ranges inside the input, no wider than the weights";
            break;
        }
        int64_t sum = HALF, largest = 0;
        for (int32_t k = 0; k < count; k++) {
            int64_t weight = w[i * pass->taps + k];
            weight = weight < 0 ? -weight : weight;
            sum += 255 * weight;
            largest = weight > largest ? weight : largest;
        }
        if (sum > INT32_MAX || largest > LARGEST_WEIGHT)
            wrong = "weights: they or their sum do not fit 32 bits";
        start = from;
        end = from + count;
        if (count > pass->most)
            pass->most = count;
    }
    if (wrong) {
        release_tables(views);
        return fail(wrong);
    }
    pass->bounds = b;
    pass->weights = w;
    return 0;
}

static void release_pass(const Pass *pass, Tables *views)
{
    if (pass->bounds)
        release_tables(views);
}

static int channels_of(const Py_buffer *view)
{
    return view->ndim == 3 ? 3 : 1;
}

/* An image: uint8 (h, w) or (h, w, 3). Only called for views that PyObject_GetBuffer gave. */
static int check_image(const Py_buffer *view)
{
    if (!is_type(view, "B", 1) || view->ndim < 2 || view->ndim > 3 || (view->ndim == 3 && view->shape[2] != 3))
        return fail("images: expected uint8 arrays of shape (h, w) or (h, w, 3)");
    for (int axis = 0; axis < 2; axis++) {
        if (view->shape[axis] < 1 || view->shape[axis] > INT32_MAX / 4)
            return fail("images: empty or too large");
    }
    return 0;
}

/* Source rows may lie anywhere, so a crop is not copied, but their pixels lie side by side. */
static int take_source(Source *source, const Py_buffer *view)
{
    if (check_image(view) < 0)
        return -1;
    source->channels = channels_of(view);
    if (view->strides[1] != source->channels || (view->ndim == 3 && view->strides[2] != 1))
        return fail("images: expected the pixels and channels of a source row side by side");
    source->pixels = view->buf;
    source->stride = view->strides[0];
    source->height = view->shape[0];
    source->width = view->shape[1];
    return 0;
}

static void release_target(const Target *target, Views *views)
{
    release_pass(&target->x, &views->x);
    release_pass(&target->y, &views->y);
    PyBuffer_Release(&views->dst);
}

/* Takes one (dst, x_bounds, x_weights, y_bounds, y_weights); on failure nothing is left to release. */
static int take_target(Target *target, Views *views, PyObject *tuple, const Source *source)
{
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != 5) {
        PyErr_SetString(PyExc_TypeError, "targets: expected tuples of an image and four tables");
        return -1;
    }
    PyObject *item[5];
    for (int i = 0; i < 5; i++)
        item[i] = PyTuple_GetItem(tuple, i);
    Py_buffer *dst = &views->dst;
    if (PyObject_GetBuffer(item[0], dst, PyBUF_WRITABLE | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return -1;
    if (check_image(dst) < 0) {
        ;
    } else if (channels_of(dst) != source->channels) {
        fail("images: expected all grey or all RGB");
    } else if (take_pass(&target->x, &views->x, item[1], item[2], source->width, dst->shape[1]) == 0 &&
               take_pass(&target->y, &views->y, item[3], item[4], source->height, dst->shape[0]) == 0) {
        target->dst = dst->buf;
        target->height = dst->shape[0];
        target->row = dst->shape[1] * source->channels;
        return 0;
    }
    release_target(target, views);
    return -1;
}

/* resize(path, src, targets) */
static PyObject *native_resize(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer src;
    Source source;
    Target targets[MOST_TARGETS] = {0};
    Views views[MOST_TARGETS];
    PyObject *result = NULL;
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "resize takes 3 arguments, not %zd", nargs);
    const Way *way = take_way(args[0]);
    if (!way)
        return NULL;
    Py_ssize_t wanted = PyTuple_Check(args[2]) ? PyTuple_Size(args[2]) : 0, taken = 0;
    if (wanted < 1 || wanted > MOST_TARGETS)
        return PyErr_Format(PyExc_TypeError, "targets: expected a tuple of 1 to %d", MOST_TARGETS);
    if (PyObject_GetBuffer(args[1], &src, PyBUF_STRIDED_RO | PyBUF_FORMAT) < 0)
        return NULL;
    if (take_source(&source, &src) == 0) {
        while (taken < wanted &&
               take_target(targets + taken, views + taken, PyTuple_GetItem(args[2], taken), &source) == 0)
            taken++;
    }
    for (Py_ssize_t t = 0, wrong = 0; taken == wanted && t < taken && !wrong; t++) {
        wrong = overlap(&views[t].dst, &src);
        for (Py_ssize_t u = 0; u < t && !wrong; u++)
            wrong = overlap(&views[t].dst, &views[u].dst);
        if (wrong) {
            fail("images: expected each in a memory of its own");
            goto release;
        }
    }
    if (taken == wanted) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        failed = way->resize(&source, targets, wanted);
        Py_END_ALLOW_THREADS
        result = failed ? PyErr_NoMemory() : Py_NewRef(Py_None);
    }
release:
    while (taken--)
        release_target(targets + taken, views + taken);
    PyBuffer_Release(&src);
    return result;
}

/* A plane of luma to fill, of the shape of `like` if that is given; 0 with an exception for anything else. */
static int get_plane(PyObject *object, Py_buffer *plane, const Py_buffer *like)
{
    if (PyObject_GetBuffer(object, plane, PyBUF_WRITABLE | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return 0;
    if (plane->ndim == 2 && is_type(plane, "B", 1) && plane->shape[0] >= 1 && plane->shape[1] >= 1 &&
        plane->shape[0] <= INT32_MAX / 8 && plane->shape[1] <= INT32_MAX / 8 &&
        (!like || (like->shape[0] == plane->shape[0] && like->shape[1] == plane->shape[1])))
        return 1;
    PyBuffer_Release(plane);
    fail("dst: expected uint8 of shape (h, w), channels: 1 to 4");
    return 0;
}

/* unfilter_grey(raw, dst, channels, rounded=None); dst may be None where rounded is given */
static PyObject *native_unfilter_grey(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer raw, dst = {0}, rounded = {0};
    PyObject *result = NULL;
    if (nargs != 3 && nargs != 4)
        return PyErr_Format(PyExc_TypeError, "unfilter_grey takes 3 or 4 arguments, not %zd", nargs);
    long channels = PyLong_AsLong(args[2]);
    if (channels == -1 && PyErr_Occurred())
        return NULL;
    int with_rounded = nargs == 4 && args[3] != Py_None, with_dst = args[1] != Py_None || !with_rounded;
    if (PyObject_GetBuffer(args[0], &raw, PyBUF_SIMPLE) < 0)
        return NULL;
    if (with_dst && !get_plane(args[1], &dst, NULL))
        goto release_raw;
    if (with_rounded && !get_plane(args[3], &rounded, with_dst ? &dst : NULL))
        goto release_dst;
    const Py_buffer *plane = with_dst ? &dst : &rounded;
    if (channels < 1 || channels > 4) {
        fail("dst: expected uint8 of shape (h, w), channels: 1 to 4");
    } else if (raw.len != plane->shape[0] * (plane->shape[1] * channels + 1)) {
        fail("raw: expected a filter byte and the pixels of each row");
    } else if ((with_dst && overlap(&raw, &dst)) || (with_rounded && overlap(&raw, &rounded)) ||
               (with_dst && with_rounded && overlap(&dst, &rounded))) {
        fail("raw, dst and rounded: expected each in a memory of its own");
    } else {
        Py_ssize_t wrong;
        Py_BEGIN_ALLOW_THREADS
        wrong = unfilter_grey(raw.buf, dst.buf, rounded.buf, plane->shape[0], plane->shape[1], (int)channels);
        Py_END_ALLOW_THREADS
        if (wrong < 0)
            result = PyErr_NoMemory();
        else if (wrong)
            PyErr_Format(PyExc_ValueError, "raw: row %zd has an unknown filter", wrong - 1);
        else
            result = Py_NewRef(Py_None);
    }
    if (with_rounded)
        PyBuffer_Release(&rounded);
release_dst:
    if (with_dst)
        PyBuffer_Release(&dst);
release_raw:
    PyBuffer_Release(&raw);
    return result;
}

/* unpack_strips(data, spans, step, dst) -> (strip, found) */
static PyObject *native_unpack_strips(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer data, spans, dst;
    PyObject *result = NULL;
    if (nargs != 4)
        return PyErr_Format(PyExc_TypeError, "unpack_strips takes 4 arguments, not %zd", nargs);
    Py_ssize_t step = PyLong_AsSsize_t(args[2]);
    if ((step == -1 && PyErr_Occurred()) || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[1], &spans, PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    if (PyObject_GetBuffer(args[3], &dst, PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&spans);
        PyBuffer_Release(&data);
        return NULL;
    }
    Py_ssize_t strips = spans.ndim == 2 ? spans.shape[0] : 0, strip = 0, found = 0;
    int64_t *span = NULL;
    int fits = spans.ndim == 2 && spans.shape[1] == 2;
    fits = fits && (is_type(&spans, "l", (Py_ssize_t)sizeof(int64_t)) || is_type(&spans, "q", (Py_ssize_t)sizeof(int64_t)));
    fits = fits && step > 0 && strips > 0 && dst.len > 0 && strips - 1 <= (dst.len - 1) / step;
    if (fits && !(span = malloc((size_t)spans.len))) {
        PyErr_NoMemory();
        goto release;
    }
    if (fits)
        memcpy(span, spans.buf, (size_t)spans.len);
    for (Py_ssize_t i = 0; i < strips && fits; i++)
        fits = span[2 * i] >= 0 && span[2 * i + 1] >= 0 && span[2 * i] <= data.len - span[2 * i + 1];
    if (!fits) {
        fail("spans: expected int64 of shape (strips, 2), offsets and lengths inside data, and dst to have a strip each");
    } else if (overlap(&data, &dst)) {
        fail("data and dst: expected each in a memory of its own");
    } else {
        Py_BEGIN_ALLOW_THREADS
        for (; strip < strips; strip++) {
            ptrdiff_t start = strip * step, room = step < dst.len - start ? step : dst.len - start;
            found = unpack_bits((const uint8_t *)data.buf + span[2 * strip], span[2 * strip + 1],
                                (uint8_t *)dst.buf + start, room);
            if (found != room)
                break;
        }
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("nn", strip, strip < strips ? found : 0);
    }
release:
    free(span);
    PyBuffer_Release(&dst);
    PyBuffer_Release(&spans);
    PyBuffer_Release(&data);
    return result;
}

/* jpeg_round_trip(images, quality) */
static PyObject *native_jpeg_round_trip(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer images;
    PyObject *result = NULL;
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "jpeg_round_trip takes 2 arguments, not %zd", nargs);
    long quality = PyLong_AsLong(args[1]);
    if (quality == -1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &images, PyBUF_WRITABLE | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return NULL;
    if (images.ndim < 3 || images.ndim > 4 || !is_type(&images, "B", 1) || (images.ndim == 4 && images.shape[3] != 3)) {
        fail("images: expected uint8 of shape (n, h, w) or (n, h, w, 3)");
    } else if (images.shape[1] < 1 || images.shape[2] < 1 || images.shape[1] > UINT16_MAX ||
               images.shape[2] > UINT16_MAX || quality < 1 || quality > 100) {
        fail("images: expected sides from 1 to 65535, and a quality from 1 to 100");
    } else {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        failed = jpeg_round_trip(images.buf, images.shape[0], images.shape[1], images.shape[2],
                                 images.ndim == 4 ? 3 : 1, (int)quality);
        Py_END_ALLOW_THREADS
        result = failed ? PyErr_NoMemory() : Py_NewRef(Py_None);
    }
    PyBuffer_Release(&images);
    return result;
}

/* Whether a view has the type that a form is kept as; bfloat16 are 16-bit integers to NumPy. */
static int form_of(const Py_buffer *view, Form *form)
{
    *form = is_type(view, "f", 4) ? AS_FLOAT32 : is_type(view, "H", 2) || is_type(view, "h", 2) ? AS_BFLOAT16 : AS_UINT8;
    return *form != AS_UINT8 || is_type(view, "B", 1);
}

static Py_ssize_t row_items(const Py_buffer *view)
{
    Py_ssize_t items = 1;
    for (int axis = 1; axis < view->ndim; axis++)
        items *= view->shape[axis];
    return items;
}

/* gather(images, rows, out) */
static PyObject *native_gather(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer images, rows, out;
    PyObject *result = NULL;
    Form form;
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "gather takes 3 arguments, not %zd", nargs);
    if (PyObject_GetBuffer(args[0], &images, PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[1], &rows, PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&images);
        return NULL;
    }
    if (PyObject_GetBuffer(args[2], &out, PyBUF_WRITABLE | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&rows);
        PyBuffer_Release(&images);
        return NULL;
    }
    if (images.ndim < 1 || out.ndim < 1 || !is_type(&images, "B", 1) || !form_of(&out, &form) ||
        row_items(&images) != row_items(&out)) {
        fail("images and out: expected uint8, and rows of as many uint8, float32 or 16-bit integers");
    } else if (rows.ndim != 1 || !(is_type(&rows, "l", 8) || is_type(&rows, "q", 8)) ||
               rows.shape[0] != out.shape[0]) {
        fail("rows: expected an int64 for each row of out");
    } else if (overlap(&images, &out) || overlap(&rows, &out)) {
        fail("out: expected a memory of its own, which overlaps neither images nor rows");
    } else {
        const int64_t *number = rows.buf;
        Py_ssize_t count = rows.shape[0], wrong = -1;
        for (Py_ssize_t i = 0; i < count && wrong < 0; i++)
            wrong = number[i] < 0 || number[i] >= images.shape[0] ? i : -1;
        if (wrong < 0) { /* and nothing is written before all are */
            Py_BEGIN_ALLOW_THREADS
            wrong = gather(images.buf, images.shape[0], number, count, row_items(&images), out.buf, form);
            Py_END_ALLOW_THREADS
        }
        if (wrong >= 0)
            PyErr_Format(PyExc_IndexError, "rows[%zd]: expected 0 to %zd", wrong, images.shape[0] - 1);
        else
            result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&out);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&images);
    return result;
}

/* Checks the tables of an axis against its sizes. On failure nothing is left to release; on success release_tables()
 * is owed. */
static int take_axis(Axis *axis, Tables *views, PyObject *first, PyObject *weights, Py_ssize_t in_size,
                     Py_ssize_t out_size)
{
    if (get_tables(views, first, weights) < 0)
        return -1;
    const Py_buffer *f = &views->bounds, *w = &views->weights;
    const char *wrong = NULL;
    if (f->ndim != 1 || !is_type(f, "i", (Py_ssize_t)sizeof(int32_t)) || f->shape[0] != out_size)
        wrong = "first: expected an int32 for each output";
    else if (w->ndim != 2 || !is_type(w, "d", (Py_ssize_t)sizeof(double)) || w->shape[0] != out_size ||
             w->shape[1] != TAPS)
        wrong = "weights: expected four float64 for each output";
    const void *copied_first = NULL, *copied_weights = NULL;
    if (!wrong && !copy_tables(views, &copied_first, &copied_weights)) {
        release_tables(views);
        return -1;
    }
    axis->first = copied_first;
    axis->weights = copied_weights;
    axis->in = in_size;
    axis->out = out_size;
    for (Py_ssize_t k = 0; k < out_size && !wrong; k++) {
        if (axis->first[k] < 0 || (axis->first[k] > 0 && axis->first[k] > in_size - TAPS))
            wrong = "first: expected four taps inside the box";
        for (int t = 0; t < TAPS; t++) {
            double weight = axis->weights[k * TAPS + t];
            if (!(weight >= -2 && weight <= 2))
                wrong = "weights: expected numbers from -2 to 2";
        }
    }
    if (!wrong)
        return 0;
    release_tables(views);
    return fail(wrong);
}

static int is_box(const Py_buffer *view)
{
    int fits = view->ndim == 3 && is_type(view, "h", (Py_ssize_t)sizeof(int16_t));
    for (int axis = 0; axis < 3 && fits; axis++)
        fits = view->shape[axis] >= 1 && view->shape[axis] <= MOST_VOXELS &&
               view->strides[axis] % (Py_ssize_t)sizeof(int16_t) == 0;
    return fits;
}

/* zoom(path, src, dst, x_first, x_weights, y_first, y_weights, z_first, z_weights) -> bool */
static PyObject *native_zoom(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    static const int place[3] = {1, 2, 0}; /* of x, y and z in dst */
    Py_buffer src, dst;
    Axis axes[3];
    Tables views[3];
    PyObject *result = NULL;
    int taken = 0;
    if (nargs != 9)
        return PyErr_Format(PyExc_TypeError, "zoom takes 9 arguments, not %zd", nargs);
    const Way *way = take_way(args[0]);
    if (!way || PyObject_GetBuffer(args[1], &src, PyBUF_STRIDED_RO | PyBUF_FORMAT) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[2], &dst, PyBUF_WRITABLE | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&src);
        return NULL;
    }
    if (!is_box(&src) || !is_box(&dst)) {
        fail("src and dst: expected int16 of three axes, each of 1 to 32768 voxels");
    } else if (overlap(&src, &dst)) {
        fail("src and dst: expected each in a memory of its own");
    } else {
        while (taken < 3 && take_axis(axes + taken, views + taken, args[3 + 2 * taken], args[4 + 2 * taken],
                                      src.shape[taken], dst.shape[place[taken]]) == 0)
            taken++;
    }
    if (taken == 3) {
        Box box = {.voxels = src.buf, .strides = {src.strides[0], src.strides[1], src.strides[2]}};
        int found;
        Py_BEGIN_ALLOW_THREADS
        found = way->zoom(&box, axes, axes + 1, axes + 2, dst.buf);
        Py_END_ALLOW_THREADS
        result = found < 0 ? PyErr_NoMemory() : PyBool_FromLong(found);
    }
    while (taken--)
        release_tables(views + taken);
    PyBuffer_Release(&dst);
    PyBuffer_Release(&src);
    return result;
}

_Static_assert(sizeof(Py_ssize_t) >= 8, "mmtk needs a 64-bit machine");

static PyMethodDef methods[] = {
    {"resize", (PyCFunction)(void (*)(void))native_resize, METH_FASTCALL,
     "resize(path, src, targets)\n--\n\n"
     "Resize src into every (dst, x_bounds, x_weights, y_bounds, y_weights); see mmtk.imaging.resize."},
    {"gather", (PyCFunction)(void (*)(void))native_gather, METH_FASTCALL,
     "gather(images, rows, out)\n--\n\nPick rows out, as they are or normalised, by the type of out."},
    {"jpeg_round_trip", (PyCFunction)(void (*)(void))native_jpeg_round_trip, METH_FASTCALL,
     "jpeg_round_trip(images, quality)\n--\n\nTake images through JPEG in place; see mmtk.imaging.round_trip."},
    {"unpack_strips", (PyCFunction)(void (*)(void))native_unpack_strips, METH_FASTCALL,
     "unpack_strips(data, spans, step, dst)\n--\n\n"
     "Unpack PackBits strips, step bytes each, into dst; the first strip that gives another number of bytes (-1 where\n"
     "it ends inside a run), with that number, or how many strips there are."},
    {"unfilter_grey", (PyCFunction)(void (*)(void))native_unfilter_grey, METH_FASTCALL,
     "unfilter_grey(raw, dst, channels, rounded=None)\n--\n\nUndo the filters of a PNG's inflated rows and take their luma."},
    {"zoom", (PyCFunction)(void (*)(void))native_zoom, METH_FASTCALL,
     "zoom(path, src, dst, x_first, x_weights, y_first, y_weights, z_first, z_weights)\n--\n\n"
     "Zoom voxels (x, y, z) into dst (z, x, y); whether one of them may be off by one. See mmtk.imaging.zoom."},
    {NULL, NULL, 0, NULL},
};

/* paths: the names of those that this machine can go, the fastest first. */
static int fill_module(PyObject *module)
{
    PyObject *names = PyList_New(0);
    for (int i = 0; names && i < WAYS; i++) {
        PyObject *name = ways[i].there() ? PyUnicode_FromString(ways[i].name) : Py_NewRef(Py_None);
        if (!name || (name != Py_None && PyList_Append(names, name) < 0))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *all = names ? PyList_AsTuple(names) : NULL;
    Py_XDECREF(names);
    int failed = all ? PyModule_AddObjectRef(module, "paths", all) : -1;
    Py_XDECREF(all);
    return failed;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)fill_module},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "mmtk._native", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
