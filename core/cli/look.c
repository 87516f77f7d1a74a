/* cli/look.c - see look.h. */
#include "cli/look.h"

#include "model/infer.h"
#include "model/edit.h"
#include "model/onnx.h"
#include "model/pack.h"
#include "pipeline/carry.h"

#include <string.h>

pare_status pare_look_open(const char *path, pare_progress *progress, pare_diags *d, pare_look *out) {
    *out = (pare_look){.path = path, .metrics = pare_metrics_none()};
    pare_status st = pare_onnx_read(path, d, &out->model);
    if (st) return st;
    out->packed = pare_model_is_packed(out->model);
    if (out->packed) st = pare_model_unpack(out->model, d);
    if (!st) st = pare_model_check(out->model, d);
    if (!st) st = pare_model_stats_of(out->model, d, &out->stats);
    if (progress) pare_progress_begin(progress, path);
    if (!st) st = pare_metrics_read(out->model, true, progress, d, &out->metrics);
    if (progress) pare_progress_end(progress);
    if (st) return st;
    out->metrics.parameters = (int64_t)out->stats.parameters;
    out->metrics.nonzero = (int64_t)out->stats.nonzero;
    out->metrics.macs = out->stats.macs;
    out->metrics.macs_effective = out->stats.macs_effective;
    return PARE_OK;
}

void pare_look_close(pare_look *l) {
    pare_model_stats_free(&l->stats);
    pare_model_free(l->model);
    l->model = NULL;
}

static json_t *tensor_json(const pare_look *l, const pare_tensor_stats *s) {
    const pare_tensor *t = pare_model_tensor(l->model, s->tensor);
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->ndim; i++) json_array_append_new(shape, json_integer(t->dims[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I}", "name", pare_json_str(s->name), "op",
                     pare_json_str(s->op), "label", pare_json_str(s->label), "node", pare_json_str(s->node), "shape",
                     shape, "dtype", pare_dtype_name(t->dtype), "parameters", (json_int_t)s->parameters, "nonzero",
                     (json_int_t)s->nonzero, "bytes", (json_int_t)s->bytes);
}

/* preprocess and classes; null where the model doesn't say. */
static void add_carried(const pare_model *m, json_t *j) {
    const char *text = pare_model_meta(m, PARE_CARRY_PREPROCESS);
    json_t *pre = text ? json_loads(text, 0, NULL) : NULL, *names = NULL;
    pare_classes classes;
    pare_classes_of_model(m, &classes);
    if (classes.n) names = json_array();
    for (uint32_t i = 0; i < classes.n; i++) json_array_append_new(names, pare_json_str(classes.names[i]));
    json_object_set_new(j, "preprocess", pre ? pre : json_null());
    json_object_set_new(j, "classes", names ? names : json_null());
    pare_classes_free(&classes);
}

json_t *pare_look_json(const pare_look *l) {
    json_t *j = json_object(), *ops = json_object(), *dtypes = json_object(), *tensors = json_array();
    json_object_set_new(j, "path", pare_json_str(l->path));
    json_object_set_new(j, "bytes", pare_json_count(l->metrics.bytes));
    json_object_set_new(j, "gzip_bytes", pare_json_count(l->metrics.gzip_bytes));
    json_object_set_new(j, "packed", json_boolean(l->packed));
    json_object_set_new(j, "ir_version", json_integer(l->model->ir_version));
    json_object_set_new(j, "opset", json_integer(pare_model_opset(l->model, "")));
    json_object_set_new(j, "parameters", pare_json_count(l->metrics.parameters));
    json_object_set_new(j, "nonzero", pare_json_count(l->metrics.nonzero));
    json_object_set_new(j, "macs", pare_json_count(l->metrics.macs));
    json_object_set_new(j, "macs_effective", pare_json_count(l->metrics.macs_effective));
    json_object_set_new(j, "macs_int8", pare_json_count(l->stats.macs_int8));
    json_t *by_dtype = json_object();
    for (uint32_t t = 1; t < PARE_DTYPE_COUNT; t++)
        if (l->stats.parameter_dtypes[t])
            json_object_set_new(by_dtype, pare_dtype_name(t), json_integer((json_int_t)l->stats.parameter_dtypes[t]));
    json_object_set_new(j, "parameters_by_dtype", by_dtype);
    for (size_t i = 0; i < l->stats.ops.len; i++) {
        json_t *name = pare_json_str(l->stats.ops.data[i].op);
        json_object_set_new(ops, json_string_value(name), json_integer((json_int_t)l->stats.ops.data[i].count));
        json_decref(name);
    }
    for (uint32_t t = 1; t < PARE_DTYPE_COUNT; t++)
        if (l->stats.dtypes[t])
            json_object_set_new(dtypes, pare_dtype_name(t), json_integer((json_int_t)l->stats.dtypes[t]));
    for (size_t i = 0; i < l->stats.tensors.len; i++)
        json_array_append_new(tensors, tensor_json(l, &l->stats.tensors.data[i]));
    json_object_set_new(j, "ops", ops);
    json_object_set_new(j, "dtypes", dtypes);
    json_object_set_new(j, "tensors", tensors);
    add_carried(l->model, j);
    return j;
}

void pare_put(const char *s) {
    pare_sb b = {0};
    pare_sb_add_safe(&b, s, strlen(s));
    fputs(pare_sb_str(&b), stdout);
    pare_sb_free(&b);
}
