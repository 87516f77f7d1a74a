/* pipeline/measure.c - see measure.h. */
#include "pipeline/measure.h"

#include "base/gzip.h"
#include "model/onnx.h"

pare_metrics pare_metrics_none(void) {
    return (pare_metrics){PARE_NOT_MEASURED, PARE_NOT_MEASURED, PARE_NOT_MEASURED, PARE_NOT_MEASURED,
                          PARE_NOT_MEASURED, PARE_NOT_MEASURED, PARE_NOT_MEASURED};
}

pare_status pare_metrics_counts(pare_model *m, pare_diags *d, pare_metrics *out) {
    pare_model_stats s = {0};
    pare_status st = pare_model_stats_of(m, d, &s);
    if (!st) {
        out->parameters = (int64_t)s.parameters;
        out->nonzero = (int64_t)s.nonzero;
        out->macs = s.macs;
        out->macs_effective = s.macs_effective;
    }
    pare_model_stats_free(&s);
    return st;
}

typedef struct counter {
    uint64_t bytes;
    pare_sink next; /* write NULL: the end */
} counter;

static pare_status count_write(void *ctx, const void *data, size_t n) {
    counter *c = ctx;
    c->bytes += n;
    return c->next.write ? c->next.write(c->next.ctx, data, n) : PARE_OK;
}

pare_status pare_metrics_stream(pare_model *m, bool gzip, pare_diags *d, pare_metrics *out) {
    pare_gzip *z = gzip ? pare_gzip_new((pare_sink){0}, d) : NULL;
    counter c = {.next = z ? pare_gzip_sink(z) : (pare_sink){0}};
    pare_status st = pare_onnx_stream(m, (pare_sink){count_write, &c}, d);
    if (st) {
        pare_gzip_abort(z);
        return st;
    }
    out->bytes = (int64_t)c.bytes;
    uint64_t packed = 0;
    if (z) st = pare_gzip_end(z, &packed);
    if (z && !st) out->gzip_bytes = (int64_t)packed;
    return st;
}

pare_status pare_metrics_read(const pare_model *m, bool gzip, pare_diags *d, pare_metrics *out) {
    pare_gzip *z = gzip ? pare_gzip_new((pare_sink){0}, d) : NULL;
    pare_sink to = z ? pare_gzip_sink(z) : (pare_sink){0};
    uint64_t total = 0, packed = 0;
    pare_status st = PARE_OK;
    for (size_t i = 0; i <= m->data_files.len && !st; i++) { /* one stream for all, as tar and gzip would */
        const pare_map_file *f = i ? m->data_files.data[i - 1] : m->file;
        total += f->len;
        if (z) st = to.write(to.ctx, f->data, (size_t)f->len);
    }
    if (st)
        pare_gzip_abort(z);
    else if (z)
        st = pare_gzip_end(z, &packed);
    if (st) return st;
    out->bytes = (int64_t)total;
    if (z) out->gzip_bytes = (int64_t)packed;
    return PARE_OK;
}

json_t *pare_json_count(int64_t n) { return n < 0 ? json_null() : json_integer(n); }

json_t *pare_metrics_json(const pare_metrics *m) {
    json_t *j = json_object();
    json_object_set_new(j, "bytes", pare_json_count(m->bytes));
    json_object_set_new(j, "gzip_bytes", pare_json_count(m->gzip_bytes));
    json_object_set_new(j, "packed_bytes", pare_json_count(m->packed_bytes));
    json_object_set_new(j, "parameters", pare_json_count(m->parameters));
    json_object_set_new(j, "nonzero", pare_json_count(m->nonzero));
    json_object_set_new(j, "macs", pare_json_count(m->macs));
    json_object_set_new(j, "macs_effective", pare_json_count(m->macs_effective));
    static const char *const later[] = {"loss",    "accuracy",       "top5",          "agreement",
                                        "sqnr_db", "latency_p50_ms", "latency_p95_ms"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) json_object_set_new(j, later[i], json_null());
    return j;
}
