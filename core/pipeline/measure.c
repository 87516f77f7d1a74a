/* pipeline/measure.c - see measure.h. */
#include "pipeline/measure.h"

#include "base/gzip.h"
#include "model/onnx.h"

#include <math.h>

pare_metrics pare_metrics_none(void) {
    const int64_t n = PARE_NOT_MEASURED;
    return (pare_metrics){.bytes = n,
                          .gzip_bytes = n,
                          .packed_bytes = n,
                          .parameters = n,
                          .nonzero = n,
                          .macs = n,
                          .macs_effective = n,
                          .not_finite = n,
                          .loss = NAN,
                          .accuracy = NAN,
                          .top5 = NAN,
                          .agreement = NAN,
                          .sqnr_db = NAN,
                          .kl = NAN,
                          .mcnemar_p = NAN,
                          .latency_p50_ms = NAN,
                          .latency_p95_ms = NAN,
                          .images_per_s = NAN,
                          .latency_ratio = NAN,
                          .latency_ratio_low = NAN,
                          .latency_ratio_high = NAN};
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

/* Ends a gzip stream that was only counted, or gives it up after a failure. */
static pare_status gzip_size(pare_status st, pare_gzip *z, pare_metrics *out) {
    uint64_t bytes = 0;
    if (!z) return st;
    if (st) {
        pare_gzip_abort(z);
        return st;
    }
    st = pare_gzip_end(z, &bytes);
    if (!st) out->gzip_bytes = (int64_t)bytes;
    return st;
}

pare_status pare_metrics_stream(pare_model *m, bool gzip, pare_progress *progress, pare_diags *d, pare_metrics *out) {
    pare_progress_sink plain = {0};
    pare_status st = pare_onnx_stream(m, pare_progress_through(&plain), d);
    if (st) return st;
    out->bytes = (int64_t)plain.done;
    if (!gzip) return PARE_OK;
    pare_gzip *z = pare_gzip_new((pare_sink){0}, d);
    pare_progress_sink zipped = {.p = progress, .next = pare_gzip_sink(z), .total = plain.done};
    return gzip_size(pare_onnx_stream(m, pare_progress_through(&zipped), d), z, out);
}

pare_status pare_metrics_read(const pare_model *m, bool gzip, pare_progress *progress, pare_diags *d,
                              pare_metrics *out) {
    enum { PIECE = 4 << 20 };
    pare_gzip *z = gzip ? pare_gzip_new((pare_sink){0}, d) : NULL;
    pare_progress_sink through = {.p = progress, .next = z ? pare_gzip_sink(z) : (pare_sink){0}, .total = m->file->len};
    pare_sink to = pare_progress_through(&through);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->data_files.len; i++) through.total += m->data_files.data[i]->len;
    for (size_t i = 0; i <= m->data_files.len && !st && z; i++) { /* one stream for all, as tar and gzip would */
        const pare_map_file *f = i ? m->data_files.data[i - 1] : m->file;
        for (uint64_t at = 0; at < f->len && !st; at += PIECE)
            st = to.write(to.ctx, f->data + at, (size_t)(f->len - at < PIECE ? f->len - at : PIECE));
    }
    out->bytes = (int64_t)through.total;
    return gzip_size(st, z, out);
}

json_t *pare_json_count(int64_t n) { return n < 0 ? json_null() : json_integer(n); }

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

json_t *pare_metrics_json(const pare_metrics *m) {
    json_t *j = json_object();
    json_object_set_new(j, "bytes", pare_json_count(m->bytes));
    json_object_set_new(j, "gzip_bytes", pare_json_count(m->gzip_bytes));
    json_object_set_new(j, "packed_bytes", pare_json_count(m->packed_bytes));
    json_object_set_new(j, "parameters", pare_json_count(m->parameters));
    json_object_set_new(j, "nonzero", pare_json_count(m->nonzero));
    json_object_set_new(j, "macs", pare_json_count(m->macs));
    json_object_set_new(j, "macs_effective", pare_json_count(m->macs_effective));
    const struct {
        const char *key;
        double value;
    } real[] = {{"loss", m->loss},
                {"accuracy", m->accuracy},
                {"top5", m->top5},
                {"agreement", m->agreement},
                {"mcnemar_p", m->mcnemar_p},
                {"sqnr_db", m->sqnr_db},
                {"kl", m->kl},
                {"latency_p50_ms", m->latency_p50_ms},
                {"latency_p95_ms", m->latency_p95_ms},
                {"latency_ratio", m->latency_ratio},
                {"latency_ratio_low", m->latency_ratio_low},
                {"latency_ratio_high", m->latency_ratio_high},
                {"images_per_s", m->images_per_s}};
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) json_object_set_new(j, real[i].key, number(real[i].value));
    if (m->timed.len > 1) {
        json_t *all = json_array();
        for (size_t i = 0; i < m->timed.len; i++) {
            const pare_timed *t = &m->timed.data[i];
            json_array_append_new(
                all, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "threads", (json_int_t)t->threads, "p50_ms",
                               number(t->p50_ms), "p95_ms", number(t->p95_ms), "images_per_s", number(t->images_per_s),
                               "ratio", number(t->ratio), "ratio_low", number(t->low), "ratio_high", number(t->high)));
        }
        json_object_set_new(j, "latency_by_threads", all);
    } else {
        json_object_set_new(j, "latency_by_threads", json_null());
    }
    json_object_set_new(j, "not_finite", pare_json_count(m->not_finite));
    json_object_set_new(j, "classes", m->classes ? json_incref(m->classes) : json_null());
    return j;
}
