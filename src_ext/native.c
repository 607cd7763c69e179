/* mmtk._native: the exact antialiased resize in plain C.
 *
 * Contract. The arithmetic is that of mmtk/imaging/_resize.py: int32 weights with 22 fractional bits, the sum starts at
 * one half, is shifted down and clipped; the horizontal pass comes first and leaves uint8. Callers hand over NumPy
 * arrays; every type, size, stride and table entry is checked here before the first pixel is touched, so that no
 * argument, however wrong, reads or writes outside its buffers or overflows an int32. The GIL is released meanwhile.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1), LOW_BITS = 12, BLOCK = 8 };

/* Weights of one pass: output i is the sum over k < count of weights[i][k] * input[start + k]. */
typedef struct {
    Py_buffer bounds_view, weights_view;
    const int32_t *bounds;  /* (size, 2): start, count; NULL where the pass is skipped */
    const int32_t *weights; /* (size, taps) */
    Py_ssize_t size, taps, most; /* most: the largest count */
} Pass;

typedef struct {
    const uint8_t *src;
    uint8_t *dst;
    Py_ssize_t src_stride, src_width, dst_height, dst_row; /* dst_row: bytes of an output row, width times channels */
    Py_ssize_t channels;
    Pass x, y;
    /* Scratch, see run(). */
    int32_t *sums;              /* (dst_row): one row of the vertical pass */
    int16_t *high, *low;        /* (x.size, padded): x weights in two parts, zero beyond the count; grey only */
    int16_t *wide;              /* (src_width + BLOCK): one source row; grey only */
    uint8_t *ring;              /* (y.most, dst_row): rows between the passes */
    Py_ssize_t padded;          /* x.most, rounded up to whole blocks */
} Job;

static inline uint8_t clip8(int32_t sum)
{
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static inline Py_ssize_t whole_blocks(Py_ssize_t count)
{
    return (count + BLOCK - 1) / BLOCK * BLOCK;
}

/* Grey rows are multiplied in 16 bits, for which every compiler has a fast dot product: a weight is taken as
 * high * 2^12 + low, and the two sums are put together modulo 2^32, where the final sum, which fits, comes out exact.
 * For RGB this was measured to be slower than the plain loop, since the channels must be drawn apart first. */
static void split_weights(Job *job)
{
    for (Py_ssize_t i = 0; i < job->x.size; i++) {
        const int32_t *weight = job->x.weights + i * job->x.taps;
        Py_ssize_t count = job->x.bounds[2 * i + 1];
        for (Py_ssize_t k = 0; k < job->padded; k++) {
            int32_t w = k < count ? weight[k] : 0;
            job->high[i * job->padded + k] = (int16_t)(w >> LOW_BITS);
            job->low[i * job->padded + k] = (int16_t)(w & ((1 << LOW_BITS) - 1));
        }
    }
}

static void horizontal_grey(const Job *job, const uint8_t *restrict line, uint8_t *restrict out)
{
    int16_t *restrict wide = job->wide;
    for (Py_ssize_t j = 0; j < job->src_width; j++)
        wide[j] = line[j];
    for (Py_ssize_t i = 0; i < job->x.size; i++) {
        const int16_t *restrict high = job->high + i * job->padded, *restrict low = job->low + i * job->padded;
        const int16_t *pixel = wide + job->x.bounds[2 * i];
        Py_ssize_t count = whole_blocks(job->x.bounds[2 * i + 1]);
        uint32_t highs = 0, lows = HALF;
        for (Py_ssize_t k = 0; k < count; k++) {
            highs += (uint32_t)(high[k] * pixel[k]);
            lows += (uint32_t)(low[k] * pixel[k]);
        }
        out[i] = clip8((int32_t)((highs << LOW_BITS) + lows));
    }
}

static void horizontal_rgb(const Job *job, const uint8_t *restrict line, uint8_t *restrict out)
{
    for (Py_ssize_t i = 0; i < job->x.size; i++) {
        const uint8_t *pixel = line + 3 * (Py_ssize_t)job->x.bounds[2 * i];
        const int32_t *weight = job->x.weights + i * job->x.taps;
        int32_t red = HALF, green = HALF, blue = HALF;
        for (int32_t k = 0; k < job->x.bounds[2 * i + 1]; k++, pixel += 3) {
            red += weight[k] * pixel[0];
            green += weight[k] * pixel[1];
            blue += weight[k] * pixel[2];
        }
        out[3 * i] = clip8(red);
        out[3 * i + 1] = clip8(green);
        out[3 * i + 2] = clip8(blue);
    }
}

static void horizontal(const Job *job, Py_ssize_t row, uint8_t *out)
{
    (job->channels == 1 ? horizontal_grey : horizontal_rgb)(job, job->src + row * job->src_stride, out);
}

/* Only the rows that the vertical pass asks for go through the horizontal one, each once and just before its first
 * use, into a ring of y.most rows. */
static void vertical(const Job *job)
{
    int32_t *restrict sums = job->sums;
    Py_ssize_t done = 0;
    for (Py_ssize_t i = 0; i < job->dst_height; i++) {
        Py_ssize_t first = job->y.bounds[2 * i], end = first + job->y.bounds[2 * i + 1];
        const int32_t *weight = job->y.weights + i * job->y.taps;
        if (job->x.bounds) {
            for (done = done < first ? first : done; done < end; done++)
                horizontal(job, done, job->ring + done % job->y.most * job->dst_row);
        }
        for (Py_ssize_t j = 0; j < job->dst_row; j++)
            sums[j] = HALF;
        for (Py_ssize_t row = first; row < end; row++) {
            const uint8_t *restrict line = job->x.bounds ? job->ring + row % job->y.most * job->dst_row
                                                         : job->src + row * job->src_stride;
            int32_t w = weight[row - first];
            for (Py_ssize_t j = 0; j < job->dst_row; j++)
                sums[j] += w * line[j];
        }
        uint8_t *restrict out = job->dst + i * job->dst_row;
        for (Py_ssize_t j = 0; j < job->dst_row; j++)
            out[j] = clip8(sums[j]);
    }
}

static void whole(Job *job)
{
    if (job->x.bounds && job->channels == 1)
        split_weights(job);
    if (job->y.bounds) {
        vertical(job);
        return;
    }
    for (Py_ssize_t i = 0; i < job->dst_height; i++) {
        if (job->x.bounds)
            horizontal(job, i, job->dst + i * job->dst_row);
        else
            memcpy(job->dst + i * job->dst_row, job->src + i * job->src_stride, (size_t)job->dst_row);
    }
}

/* Takes the scratch in one piece, widest type first. No size overflows: sides are below 2^29, and x.size * x.most is at
 * most the size of a table that is in memory. -1 without memory, and then no error is set. */
static int run(Job *job)
{
    int grey = job->x.bounds && job->channels == 1;
    job->padded = grey ? whole_blocks(job->x.most) : 0;
    size_t sums = job->y.bounds ? (size_t)job->dst_row : 0;
    size_t weights = (size_t)(job->x.size * job->padded);
    size_t wide = grey ? (size_t)(job->src_width + BLOCK) : 0;
    size_t ring = job->x.bounds && job->y.bounds ? (size_t)(job->y.most * job->dst_row) : 0;
    char *scratch = PyMem_RawCalloc(1, sums * sizeof(int32_t) + (2 * weights + wide) * sizeof(int16_t) + ring);
    if (!scratch)
        return -1;
    job->sums = (int32_t *)(void *)scratch;
    job->high = (int16_t *)(void *)(scratch + sums * sizeof(int32_t));
    job->low = job->high + weights;
    job->wide = job->low + weights;
    job->ring = (uint8_t *)(job->wide + wide);
    whole(job);
    PyMem_RawFree(scratch);
    return 0;
}

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

/* Takes a view; on failure there is nothing to release. */
static int table(PyObject *object, Py_buffer *view, const char *what)
{
    if (PyObject_GetBuffer(object, view, PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return -1;
    if (view->ndim == 2 && is_type(view, "i", (Py_ssize_t)sizeof(int32_t)))
        return 0;
    PyBuffer_Release(view);
    return fail(what);
}

/* Checks one pass against the sizes of its axis. None for both tables skips it, which needs equal sizes.
 * On failure nothing is left to release; on success release_pass() is owed. */
static int take_pass(Pass *pass, PyObject *bounds, PyObject *weights, Py_ssize_t in_size, Py_ssize_t out_size)
{
    if (bounds == Py_None && weights == Py_None)
        return in_size == out_size ? 0 : fail("a pass may only be skipped where the size stays");
    if (table(bounds, &pass->bounds_view, "bounds: expected int32 of shape (size, 2)") < 0)
        return -1;
    if (table(weights, &pass->weights_view, "weights: expected int32 of shape (size, taps)") < 0) {
        PyBuffer_Release(&pass->bounds_view);
        return -1;
    }
    const int32_t *b = pass->bounds_view.buf, *w = pass->weights_view.buf;
    const char *wrong = NULL;
    int32_t start = 0, end = 0;
    pass->size = out_size;
    pass->taps = pass->weights_view.shape[1];
    if (pass->bounds_view.shape[0] != out_size || pass->bounds_view.shape[1] != 2 ||
        pass->weights_view.shape[0] != out_size)
        wrong = "bounds and weights: expected a row for each output";
    for (Py_ssize_t i = 0; i < out_size && !wrong; i++) {
        int32_t from = b[2 * i], count = b[2 * i + 1];
        if (from < start || count < 1 || count > pass->taps || from > in_size - count || from + count < end) {
            wrong = "bounds: expected rising ranges inside the input, no wider than the weights";
            break;
        }
        int64_t sum = HALF;
        for (int32_t k = 0; k < count; k++) {
            int64_t weight = w[i * pass->taps + k];
            sum += 255 * (weight < 0 ? -weight : weight);
        }
        if (sum > INT32_MAX)
            wrong = "weights: their sum does not fit 32 bits";
        start = from;
        end = from + count;
        if (count > pass->most)
            pass->most = count;
    }
    if (wrong) {
        PyBuffer_Release(&pass->bounds_view);
        PyBuffer_Release(&pass->weights_view);
        return fail(wrong);
    }
    pass->bounds = b;
    pass->weights = w;
    return 0;
}

static void release_pass(Pass *pass)
{
    if (pass->bounds) {
        PyBuffer_Release(&pass->bounds_view);
        PyBuffer_Release(&pass->weights_view);
    }
}

/* The images: uint8 (h, w) or (h, w, 3), pixels of a row side by side; source rows may lie anywhere, so a crop is not
 * copied. Only called for views that PyObject_GetBuffer gave. */
static int check_images(Job *job, const Py_buffer *src, const Py_buffer *dst)
{
    if (!is_type(src, "B", 1) || !is_type(dst, "B", 1) || src->ndim != dst->ndim || src->ndim < 2 || src->ndim > 3)
        return fail("images: expected two uint8 arrays of shape (h, w) or (h, w, 3)");
    job->channels = src->ndim == 3 ? 3 : 1;
    if (src->ndim == 3 && (src->shape[2] != 3 || dst->shape[2] != 3 || src->strides[2] != 1))
        return fail("images: expected three channels side by side");
    for (int axis = 0; axis < 2; axis++) {
        if (src->shape[axis] < 1 || dst->shape[axis] < 1 || src->shape[axis] > INT32_MAX / 4 ||
            dst->shape[axis] > INT32_MAX / 4)
            return fail("images: empty or too large");
    }
    if (src->strides[1] != job->channels)
        return fail("images: expected the pixels of a source row side by side");
    job->src = src->buf;
    job->dst = dst->buf;
    job->src_stride = src->strides[0];
    job->src_width = src->shape[1];
    job->dst_height = dst->shape[0];
    job->dst_row = dst->shape[1] * job->channels;
    return 0;
}

/* resize(src, dst, x_bounds, x_weights, y_bounds, y_weights) */
static PyObject *native_resize(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer src, dst;
    Job job = {0};
    PyObject *result = NULL;
    if (nargs != 6)
        return PyErr_Format(PyExc_TypeError, "resize takes 6 arguments, not %zd", nargs);
    if (PyObject_GetBuffer(args[0], &src, PyBUF_STRIDED_RO | PyBUF_FORMAT) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[1], &dst, PyBUF_WRITABLE | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&src);
        return NULL;
    }
    if (check_images(&job, &src, &dst) == 0 &&
        take_pass(&job.x, args[2], args[3], src.shape[1], dst.shape[1]) == 0 &&
        take_pass(&job.y, args[4], args[5], src.shape[0], dst.shape[0]) == 0) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        failed = run(&job);
        Py_END_ALLOW_THREADS
        result = failed ? PyErr_NoMemory() : Py_NewRef(Py_None);
    }
    release_pass(&job.x);
    release_pass(&job.y);
    PyBuffer_Release(&dst);
    PyBuffer_Release(&src);
    return result;
}

_Static_assert(sizeof(Py_ssize_t) >= 8, "mmtk needs a 64-bit machine");

static PyMethodDef methods[] = {
    {"resize", (PyCFunction)(void (*)(void))native_resize, METH_FASTCALL,
     "resize(src, dst, x_bounds, x_weights, y_bounds, y_weights)\n--\n\nResize src into dst; see mmtk.imaging.resize."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
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
