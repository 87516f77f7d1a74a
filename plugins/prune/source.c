/* prune/source.c - see source.h. */
#include "source.h"

#include <stdio.h>
#include <string.h>

static pare_status refuse(const pare_host *host, const prune_task *t, const char *what) {
    char text[400];
    (void)snprintf(text, sizeof text, "the quantized weights \"%.200s\" cannot be read: %s", t->layer.name, what);
    PARE_REPORT(host, PARE_ERROR, .code = "prune.quantization", .message = text, .tensor = t->layer.name,
                .hint = "exclude the layer, or prune before quantizing");
    return PARE_EUNSUPPORTED;
}

static pare_status take(prune_borrow *b, uint32_t tensor, uint32_t mode, pare_view *view) {
    memset(view, 0, sizeof *view);
    view->size = sizeof *view;
    const pare_status st = b->tensors->borrow(b->host, b->model, tensor, mode, view);
    if (!st) b->held[b->n_held++] = tensor;
    return st;
}

static void *start(const pare_view *v) { return (uint8_t *)v->data + v->byte_offset; }

/* Which scale belongs to which weight. */
static pare_status set_axis(prune_borrow *b, const prune_task *t, const pare_view *w, const pare_view *scale) {
    const int32_t axis = t->layer.quant_axis;
    if (scale->count == 1) return PARE_OK;
    if (axis < 0 || (uint32_t)axis >= w->ndim) return refuse(b->host, t, "it has many scales but no axis");
    const uint64_t dim = (uint64_t)w->dims[axis];
    uint64_t inner = 1;
    for (uint32_t d = (uint32_t)axis + 1; d < w->ndim; d++) inner *= (uint64_t)w->dims[d];
    if (scale->ndim == 1 && w->ndim != 1) {
        if (scale->count != dim) return refuse(b->host, t, "the number of scales is not that of the channels");
        prune_source_axis(&b->source, dim, inner, 0, dim);
        return PARE_OK;
    }
    if (scale->ndim == 1 && scale->count == dim) {
        prune_source_axis(&b->source, dim, inner, 0, dim);
        return PARE_OK;
    }
    bool fits = scale->ndim == w->ndim;
    for (uint32_t d = 0; fits && d < w->ndim; d++) fits = (int32_t)d == axis || scale->dims[d] == w->dims[d];
    if (!fits) return refuse(b->host, t, "the scale's shape fits neither channels nor blocks");
    const uint64_t scales = (uint64_t)scale->dims[axis];
    const pare_layer *l = &t->layer;
    const uint64_t block = PARE_HAS(pare_layer, l, block_size) && l->block_size > 0 ? (uint64_t)l->block_size : 0;
    if (!block || (dim + block - 1) / block != scales)
        return refuse(b->host, t, "block_size does not fit the scale's shape");
    prune_source_axis(&b->source, dim, inner, block, scales);
    return PARE_OK;
}

pare_status prune_borrow_open(prune_borrow *b, const pare_host *host, pare_model *model, const prune_task *task,
                              uint32_t mode, bool wide) {
    memset(b, 0, sizeof *b);
    b->host = host;
    b->model = model;
    b->tensors = host->ext(host, PARE_TENSORS_V1);
    pare_view w, scale, zero;
    pare_status st = take(b, task->layer.tensor, mode, &w);
    if (st) return st;
    if (!task->layer.scale) {
        prune_source_plain(&b->source, w.dtype, start(&w), w.count, wide);
        return PARE_OK;
    }
    if ((st = take(b, task->layer.scale, PARE_READ, &scale))) goto fail;
    st = PARE_EUNSUPPORTED;
    if (!prune_scale_dtype_ok(scale.dtype)) {
        st = refuse(host, task, "its scale is not a float");
        goto fail;
    }
    if (task->layer.zero_point) {
        if ((st = take(b, task->layer.zero_point, PARE_READ, &zero))) goto fail;
        if (zero.dtype != w.dtype || zero.count != scale.count) {
            st = refuse(host, task, "its zero point has another dtype or shape than it should");
            goto fail;
        }
    }
    prune_source_quantized(&b->source, w.dtype, start(&w), w.count, scale.dtype, start(&scale),
                           task->layer.zero_point ? start(&zero) : NULL);
    if ((st = set_axis(b, task, &w, &scale))) goto fail;
    return PARE_OK;
fail:
    prune_borrow_close(b);
    return st;
}

void prune_borrow_close(prune_borrow *b) {
    while (b->n_held) b->tensors->release(b->host, b->model, b->held[--b->n_held]);
}
