/* plugin/host.c - the pare_host itself: reports, progress, scratch memory, the frame around each call. See host.h.
 * Is not: the interfaces (host_tensors.c, host_graph.c, host_edit.c, host_layers.c, host_note.c). */
#include "plugin/host_impl.h"

#include "base/os.h"
#include "base/reduce.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* ---- saying something ---- */

static const char *technique_of(const pare_host_impl *s) { return s->env.technique ? s->env.technique : "?"; }

/* Adds the step and the place of the parameter (of the step where no parameter is named). */
static void emit(pare_host_impl *s, const pare_diag_item *it, uint32_t severity) {
    pare_sb message = {0};
    if (s->env.step) pare_sb_printf(&message, "step %s: ", s->env.step);
    pare_sb_add(&message, it->message);
    pare_diag_item out = *it;
    out.severity = severity;
    out.message = pare_sb_str(&message);
    if (!out.at.src && s->env.locate) out.at = s->env.locate(s->env.ctx, it->param);
    if (s->env.diags) pare_diags_add(s->env.diags, &out);
    pare_sb_free(&message);
}

/* What the host's own functions said; the lock is held. */
static void show_held(pare_host_impl *s) {
    for (size_t n = pare_diags_count(s->held); s->shown < n; s->shown++) {
        const pare_diag_item *it = pare_diags_get(s->held, s->shown);
        emit(s, it, it->severity);
        if (it->severity == PARE_ERROR) s->said_error = true;
    }
}

static void host_report(const pare_host *h, const pare_diag *d) {
    pare_host_impl *s = pare_host_of(h);
    if (!d || !PARE_HAS(pare_diag, d, message)) {
        pare_host_misuse(h, "report", "%s", d ? "the diagnostic has no size or no message" : "the diagnostic is NULL");
        return;
    }
    pare_diag_item it = {
        .severity = d->severity > PARE_ERROR ? PARE_ERROR : d->severity,
        .code = d->code ? d->code : "plugin.report",
        .message = d->message,
        .hint = PARE_HAS(pare_diag, d, hint) ? d->hint : NULL,
        .param = PARE_HAS(pare_diag, d, param) ? d->param : NULL,
        .tensor = PARE_HAS(pare_diag, d, tensor) ? d->tensor : NULL,
        .node = PARE_HAS(pare_diag, d, node) ? d->node : NULL,
    };
    pthread_mutex_lock(&s->lock);
    if (it.severity == PARE_ERROR) {
        show_held(s); /* what the host said first explains it */
        s->said_error = true;
    }
    emit(s, &it, it.severity);
    pthread_mutex_unlock(&s->lock);
}

static void misuse_item(pare_host_impl *s, const char *message) {
    pare_diag_item it = {
        .code = "plugin.misuse", .message = message, .hint = "this is a bug in the plugin: tell its author"};
    pthread_mutex_lock(&s->lock);
    show_held(s);
    s->misused = s->said_error = true;
    emit(s, &it, PARE_ERROR);
    pthread_mutex_unlock(&s->lock);
}

pare_status pare_host_misuse(const pare_host *h, const char *fn, const char *fmt, ...) {
    pare_host_impl *s = pare_host_of(h);
    pare_sb b = {0};
    pare_sb_printf(&b, "plugin %s (%s) misuses %s: ", s->env.plugin ? s->env.plugin : "?", technique_of(s), fn);
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    misuse_item(s, pare_sb_str(&b));
    pare_sb_free(&b);
    return PARE_EINVAL;
}

pare_status pare_host_refuse(const pare_host *h, pare_status st, const pare_diag_item *it) {
    pare_diag_item copy = *it;
    copy.severity = PARE_ERROR;
    pare_diags_add(pare_host_of(h)->held, &copy);
    return st;
}

pare_status pare_host_refuse_text(const pare_host *h, pare_status st, const char *code, const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_diag_item it = {.code = code, .message = pare_sb_str(&b)};
    pare_host_refuse(h, st, &it);
    pare_sb_free(&b);
    return st;
}

size_t pare_host_errors(const pare_host_impl *s) { return s->env.diags ? pare_diags_errors(s->env.diags) : 0; }

pare_status pare_host_said(pare_host_impl *s, size_t before, pare_status st) {
    if (!st || pare_host_errors(s) == before) return st;
    pthread_mutex_lock(&s->lock);
    s->said_error = true;
    pthread_mutex_unlock(&s->lock);
    return st;
}

void pare_host_pass(const pare_host *h, pare_diags *said, size_t *passed) {
    for (; *passed < pare_diags_count(said); (*passed)++) {
        const pare_diag_item *it = pare_diags_get(said, *passed);
        if (it->severity == PARE_ERROR)
            pare_host_refuse(h, PARE_EINVAL, it);
        else
            PARE_REPORT(h, it->severity, .code = it->code, .message = it->message, .hint = it->hint, .param = it->param,
                        .tensor = it->tensor, .node = it->node);
    }
}

/* ---- checks that every interface needs ---- */

static const char *phase_text(pare_phase phase) {
    static const char *const text[] = {"no function", "create", "check", "apply", "destroy"};
    return text[phase];
}

pare_host_impl *pare_host_look(const pare_host *h, const pare_model *m, const char *fn) {
    pare_host_impl *s = pare_host_of(h);
    if (!s->model) {
        pare_host_misuse(h, fn, "there is no model to touch while %s runs", phase_text(s->phase));
        return NULL;
    }
    if (m == s->model) return s;
    pare_host_misuse(h, fn, "%s", m ? "the model is not the one that was given to this function" : "the model is NULL");
    return NULL;
}

pare_host_impl *pare_host_edit(const pare_host *h, const pare_model *m, const char *fn) {
    pare_host_impl *s = pare_host_look(h, m, fn);
    if (s && s->phase != PARE_PHASE_APPLY) {
        pare_host_misuse(h, fn, "%s may not change the model", phase_text(s->phase));
        return NULL;
    }
    return s;
}

/* A size beyond all reason is one that nobody has set. */
enum { ROOM_MAX = 64 * 1024 };

uint32_t pare_host_room(const pare_host *h, const char *fn, const char *what, const void *plugins, uint32_t min) {
    uint32_t size = 0;
    if (plugins) memcpy(&size, plugins, sizeof size);
    if (size >= min && size <= ROOM_MAX) return size;
    if (plugins)
        pare_host_misuse(h, fn, "%s->size is %u, at least %u (set it to sizeof before the call)", what, size, min);
    else
        pare_host_misuse(h, fn, "%s is NULL", what);
    return 0;
}

void pare_host_fill(void *out, uint32_t room, const void *full, uint32_t size) {
    uint32_t n = room < size ? room : size;
    memcpy((char *)out + sizeof n, (const char *)full + sizeof n, n - sizeof n);
    memset((char *)out + n, 0, room - n);
}

bool pare_host_give(const pare_host *h, const char *fn, void *out, const void *full, uint32_t size, uint32_t min) {
    uint32_t room = pare_host_room(h, fn, "out", out, min);
    if (!room) return false;
    pare_host_fill(out, room, full, size);
    uint32_t written = room < size ? room : size;
    memcpy(out, &written, sizeof written);
    return true;
}

bool pare_host_take(const pare_host *h, const char *fn, const char *what, const void *in, void *full, uint32_t size,
                    uint32_t min) {
    uint32_t given = pare_host_room(h, fn, what, in, min);
    if (!given) return false;
    uint32_t n = given < size ? given : size;
    memcpy(full, in, n);
    memset((char *)full + n, 0, size - n);
    return true;
}

bool pare_host_text_ok(const pare_host *h, const char *fn, const char *what, const char *s) {
    if (s && *s && pare_utf8_ok(s, strlen(s))) return true;
    pare_host_misuse(h, fn, "%s is %s", what, !s ? "NULL" : *s ? "not UTF-8" : "empty");
    return false;
}

#define ENTRY(kind, table)                                                                                             \
    pare_##kind *pare_host_##kind(const pare_host *h, const char *fn, uint32_t id) {                                   \
        pare_host_impl *s = pare_host_of(h);                                                                           \
        pare_##kind *e = pare_model_##kind(s->model, id);                                                              \
        if (e) return e;                                                                                               \
        bool was = id && id <= s->model->table.len;                                                                    \
        pare_host_misuse(h, fn, was ? #kind " %u has been deleted" : "there is no " #kind " %u", id);                  \
        return NULL;                                                                                                   \
    }
ENTRY(tensor, tensors)
ENTRY(node, nodes)
ENTRY(value, values)
ENTRY(graph, graphs)

/* ---- the vtable ---- */

static pare_status host_tick(const pare_host *h, double done, const char *what) {
    pare_host_impl *s = pare_host_of(h);
    if (!(done >= 0)) done = 0;
    if (done > 1) done = 1;
    if (s->env.progress) s->env.progress(s->env.ctx, done, what);
    if (!pare_cancelled()) return PARE_OK;
    pthread_mutex_lock(&s->lock);
    s->cancelled = true;
    pthread_mutex_unlock(&s->lock);
    return PARE_ECANCELLED;
}

static void *host_scratch(const pare_host *h, uint64_t bytes) {
    pare_host_impl *s = pare_host_of(h);
    if (s->phase == PARE_PHASE_NONE) {
        pare_host_misuse(h, "scratch", "called while no function of the technique runs");
        return NULL;
    }
    void *p = bytes <= SIZE_MAX ? pare_try_alloc(bytes ? (size_t)bytes : 1) : NULL;
    if (!p) {
        pare_host_refuse_text(h, PARE_ENOMEM, "memory.scratch", "no memory for %llu bytes of scratch space",
                              (unsigned long long)bytes);
        return NULL;
    }
    memset(p, 0, (size_t)bytes);
    pare_vec_push(&s->scratch, p);
    return p;
}

static uint64_t host_seed(const pare_host *h) { return pare_host_of(h)->env.seed; }

static void host_parallel(const pare_host *h, uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    if (fn)
        pare_parallel(n, fn, ctx);
    else
        pare_host_misuse(h, "parallel", "fn is NULL");
}

static pare_status host_reduce(const pare_host *h, uint32_t op, uint32_t dtype, void *buffer, uint64_t n) {
    if (op > PARE_REDUCE_MAX) return pare_host_misuse(h, "reduce", "there is no operation %u", op);
    if (dtype != PARE_FLOAT && dtype != PARE_DOUBLE && dtype != PARE_INT64 && dtype != PARE_UINT64)
        return pare_host_misuse(h, "reduce", "dtype %s; it takes float32, float64, int64 and uint64",
                                pare_dtype_name(dtype));
    if (!buffer && n) return pare_host_misuse(h, "reduce", "buffer is NULL");
    return pare_reduce(PARE_REDUCED_PLUGIN, op, dtype, buffer, n);
}

static const void *host_ext(const pare_host *h, const char *id) {
    static const struct {
        const char *id;
        const void *api;
    } table[] = {{PARE_TENSORS_V1, &pare_host_tensors_v1},
                 {PARE_GRAPH_V1, &pare_host_graph_v1},
                 {PARE_LAYERS_V1, &pare_host_layers_v1},
                 {PARE_PASS_V1, &pare_host_pass_v1},
                 {PARE_NOTE_V1, &pare_host_note_v1}};
    for (size_t i = 0; id && i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].id, id) == 0) return table[i].api;
    const pare_host_env *env = pare_host_env_of(h);
    if (id && env->runs && strcmp(id, PARE_RUN_V1) == 0) return &pare_host_run_v1;
    return id && env->ext ? env->ext(env->ctx, id) : NULL;
}

const pare_host_env *pare_host_env_of(const pare_host *h) { return &pare_host_of(h)->env; }

pare_model *pare_host_model(const pare_host *h) { return pare_host_of(h)->model; }

/* ---- making one ---- */

pare_host *pare_host_new(const pare_host_env *env) {
    pare_host_impl *s = pare_xcalloc(1, sizeof *s);
    s->env = *env;
    s->pub = (pare_host){
        .size = sizeof(pare_host),
        .abi_minor = PARE_ABI_MINOR_LATEST,
        .name = "pare",
        .version = PARE_VERSION,
        .impl = s,
        .report = host_report,
        .tick = host_tick,
        .scratch = host_scratch,
        .seed = host_seed,
        .parallel = host_parallel,
        .reduce = host_reduce,
        .ext = host_ext,
    };
    pthread_mutex_init(&s->lock, NULL);
    s->held = pare_diags_new(PARE_DIAG_SILENT, NULL);
    if (env->notes) {
        json_object_set_new(env->notes, "notes", json_object());
        json_object_set_new(env->notes, "layers", json_array());
        json_object_set_new(env->notes, "curves", json_object());
    }
    return &s->pub;
}

static void clear_call(pare_host_impl *s) {
    for (size_t i = 0; i < s->scratch.len; i++) free(s->scratch.data[i]);
    for (size_t i = 0; i < s->marks.len; i++) pare_model_free(s->marks.data[i].snapshot);
    for (size_t i = 0; i < s->undone.len; i++) pare_model_free(s->undone.data[i]);
    s->scratch.len = s->marks.len = s->undone.len = s->borrows.len = 0;
    pare_arena_free(&s->call);
}

void pare_host_free(pare_host *host) {
    if (!host) return;
    pare_host_impl *s = pare_host_of(host);
    clear_call(s);
    pare_host_runs_end(s);
    pare_vec_free(&s->runners);
    pare_vec_free(&s->scratch);
    pare_vec_free(&s->borrows);
    pare_vec_free(&s->marks);
    pare_vec_free(&s->undone);
    pare_vec_free(&s->next_node);
    pare_vec_free(&s->next_tensor);
    pare_arena_free(&s->step);
    pare_diags_free(s->held);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- the frame around a call ---- */

void pare_host_begin(pare_host *host, pare_phase phase, pare_model *model) {
    pare_host_impl *s = pare_host_of(host);
    s->phase = phase;
    s->model = model;
    s->misused = s->said_error = s->cancelled = false;
    s->next_node.len = s->next_tensor.len = 0;
    s->sorted_at = UINT64_MAX;
}

static void warn_leaks(pare_host_impl *s) {
    if (!s->borrows.len) return;
    const pare_tensor *t = pare_model_tensor(s->model, s->borrows.data[0].tensor);
    const char *name = t && t->name[0] ? t->name : "a constant";
    pare_sb b = {0};
    pare_sb_printf(&b, "plugin %s (%s) left %zu tensor%s borrowed when %s returned: %s%s",
                   s->env.plugin ? s->env.plugin : "?", technique_of(s), s->borrows.len, s->borrows.len == 1 ? "" : "s",
                   phase_text(s->phase), name, s->borrows.len == 1 ? "" : ", …");
    pare_diag_item it = {.code = "plugin.leak", .message = pare_sb_str(&b), .hint = "each borrow needs a release"};
    emit(s, &it, PARE_WARNING);
    pare_sb_free(&b);
}

/* An error in the host's words, naming the technique and what ran. */
static void blame(pare_host_impl *s, const char *code, const char *what) {
    pare_sb b = {0};
    pare_sb_printf(&b, "%s %s in %s", technique_of(s), what, phase_text(s->phase));
    pare_diag_item it = {.code = code, .message = pare_sb_str(&b)};
    emit(s, &it, PARE_ERROR);
    s->said_error = true;
    pare_sb_free(&b);
}

static pare_status judge(pare_host_impl *s, pare_status st) {
    pare_sb b = {0};
    if (st > PARE_OK || st < PARE_EDIVERGED) {
        pare_sb_printf(&b, "returned the status %d, which means nothing,", st);
        blame(s, "plugin.status", pare_sb_str(&b));
        st = PARE_EINTERNAL;
    } else if (st == PARE_ECANCELLED && !s->cancelled) {
        blame(s, "plugin.status", "says it was cancelled though nobody cancelled it,");
        st = PARE_EINTERNAL;
    }
    if (s->misused && st != PARE_ECANCELLED) st = PARE_EINTERNAL;
    if (!st && s->said_error) st = PARE_EINVAL;
    if (!st) {
        warn_leaks(s); /* what was held is forgotten: tried, failed and recovered from */
    } else if (st != PARE_ECANCELLED) {
        show_held(s);
        if (!s->said_error) {
            pare_sb_printf(&b, "failed without a word (%s)", pare_status_text(st));
            blame(s, "plugin.silent", pare_sb_str(&b));
        }
    }
    pare_sb_free(&b);
    return st;
}

pare_status pare_host_end(pare_host *host, pare_status st) {
    pare_host_impl *s = pare_host_of(host);
    void *kept = s->kept;
    s->kept = NULL;
    if (kept) s->kept_end(host, kept, st);
    pare_host_runs_end(s);
    pthread_mutex_lock(&s->lock);
    st = judge(s, st);
    s->shown = pare_diags_count(s->held);
    pthread_mutex_unlock(&s->lock);
    clear_call(s);
    s->phase = PARE_PHASE_NONE;
    s->model = NULL;
    return st;
}
