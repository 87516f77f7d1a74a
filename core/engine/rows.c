/* engine/rows.c - batches run in pieces: how many rows at once, and putting the pieces' outputs together.
 *
 * Where rows are proven not to know of each other (batch.h), a large batch may run faster in pieces whose activations
 * stay in the cache, and it may fit in memory. Where a file fixes the batch and rows are tied, the file's own batch is
 * the piece. May use: parts.h, batch.h, tune.h.
 */
#include "engine/batch.h"
#include "engine/tune.h"

#include <stdlib.h>
#include <string.h>

/* ---- which inputs carry the batch ---- */

static bool same_symbol(const pare_dim *a, const pare_dim *b) {
    if (a->value >= 0 || b->value >= 0) return false;
    if (!a->symbol || !b->symbol) return !a->symbol && !b->symbol;
    return strcmp(a->symbol, b->symbol) == 0;
}

void pare_rows_ready(pare_session *s) {
    pare_session_rows *r = &s->rows;
    const pare_dim *first = NULL;
    r->carries = pare_xcalloc(s->inputs.len + 1, sizeof *r->carries);
    r->joins = pare_xcalloc(s->outputs.len + 1, sizeof *r->joins);
    if (s->variables.len || s->programs.len) { /* what a run writes stays, and is for the whole batch */
        r->any = false;
        return;
    }
    for (size_t i = 0; i < s->inputs.len; i++) {
        const pare_port *p = &s->inputs.data[i];
        if (p->ndim <= 0) continue;
        if (!first) first = p->dims;
        r->carries[i] = r->fixed && !r->opened ? p->dims[0].value == r->fixed : same_symbol(p->dims, first);
    }
}

void pare_rows_free(pare_session *s) {
    free(s->rows.carries);
    free(s->rows.joins);
    free(s->rows.why);
    pare_vec_free(&s->rows.choices);
}

static bool tied(const pare_session *s) { return s->rows.any && s->rows.fixed && !s->rows.opened; }

bool pare_rows_fits(const pare_session *s, size_t i, int64_t rows) {
    return tied(s) && s->rows.carries[i] && rows > 0 && rows % s->rows.fixed == 0;
}

bool pare_session_takes(const pare_session *s, int64_t rows) {
    bool any = false;
    for (size_t i = 0; i < s->inputs.len; i++) any = any || s->rows.carries[i];
    for (size_t i = 0; i < s->inputs.len; i++) {
        const pare_port *p = &s->inputs.data[i];
        if ((any && !s->rows.carries[i]) || p->ndim <= 0) continue;
        if (p->dims[0].value >= 0 && p->dims[0].value != rows && !pare_rows_fits(s, i, rows)) return false;
    }
    return true;
}

int64_t pare_session_own_batch(const pare_session *s) { return s->rows.fixed; }
int64_t pare_session_piece(const pare_session *s) { return s->rows.latest; }

/* Rows of the first input that carries the batch; 0: none does. */
static pare_status count_rows(const pare_session *s, pare_array *const *in, pare_diags *d, int64_t *rows) {
    size_t first = 0;
    *rows = 0;
    for (size_t i = 0; i < s->inputs.len; i++) {
        if (!s->rows.carries[i]) continue;
        if (!*rows) {
            *rows = in[i]->dims[0];
            first = i;
        }
        if (in[i]->dims[0] != *rows)
            return pare_fail(d, PARE_EINVAL, "engine.input", NULL,
                             "the batch is %lld in input \"%s\", but %lld in input \"%s\"", (long long)*rows,
                             s->inputs.data[first].name, (long long)in[i]->dims[0], s->inputs.data[i].name);
    }
    return PARE_OK;
}

/* ---- inputs of a piece ---- */

typedef struct slices {
    pare_array *arrays;
    pare_blob *blobs;
    pare_array **in;
} slices;

static slices slices_of(const pare_session *s, pare_array *const *in) {
    size_t n = s->inputs.len + 1;
    slices x = {pare_xcalloc(n, sizeof *x.arrays), pare_xcalloc(n, sizeof *x.blobs), pare_xcalloc(n, sizeof *x.in)};
    for (size_t i = 0; i < s->inputs.len; i++) x.in[i] = in[i];
    return x;
}

static void slices_free(slices *x) {
    free(x->arrays);
    free(x->blobs);
    free(x->in);
}

/* Rows from..from+n of `rows`: the same bytes, seen as a smaller array. */
static void slice(const pare_session *s, slices *x, pare_array *const *in, int64_t rows, int64_t from, int64_t n) {
    for (size_t i = 0; i < s->inputs.len; i++) {
        if (!s->rows.carries[i]) continue;
        uint64_t row_bytes = in[i]->nbytes / (uint64_t)rows;
        pare_array *a = &x->arrays[i];
        *a = *in[i];
        a->refs = 1;
        a->dims[0] = n;
        a->count = in[i]->count / (uint64_t)rows * (uint64_t)n;
        a->nbytes = row_bytes * (uint64_t)n;
        if (a->blob) {
            x->blobs[i] = (pare_blob){.refs = 1, .len = a->nbytes};
            x->blobs[i].data = in[i]->blob->data + row_bytes * (uint64_t)from;
            a->blob = &x->blobs[i];
        }
        x->in[i] = a;
    }
}

/* Pieces start at whole bytes? And no plan keeps a slice? */
static bool sliceable(const pare_session *s) {
    for (size_t i = 0; i < s->inputs.len; i++)
        if (s->rows.carries[i] && (s->decides[i] || pare_dtype_bits(s->inputs.data[i].dtype) % 8)) return false;
    for (size_t i = 0; i < s->outputs.len; i++)
        if (pare_dtype_bits(s->outputs.data[i].dtype) % 8) return false;
    return true;
}

/* ---- how many rows at once ---- */

static int64_t key_of(const pare_session *s, pare_array *const *in) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s->inputs.len; i++)
        for (uint32_t k = 0; k < in[i]->ndim; k++) h = (h ^ (uint64_t)in[i]->dims[k]) * 1099511628211u;
    return (int64_t)(h >> 1);
}

/* What a run costs beyond its arithmetic, in bytes moved: activations that do not stay in the cache, constants once for
 * each piece, and what it takes to start a node. The cache is what a process can count on of a server's last level; a
 * fixed number, so that a batch is cut alike everywhere. */
static double cost_of(const pare_rows_proof *p, int64_t rows, int64_t piece) {
    enum { START = 64 << 10, CACHE = 16 << 20 };
    double cache = CACHE, pieces = (double)((rows + piece - 1) / piece), constants = 0, cost = 0;
    for (size_t i = 0; i < p->costs.len; i++) constants += (double)p->costs.data[i].constants;
    for (size_t i = 0; i < p->costs.len; i++) {
        double moved = (double)p->costs.data[i].activations;
        if (moved * (double)piece > cache) cost += moved * (double)rows;
        cost += START * pieces;
    }
    return cost + (constants > cache ? constants : 0) * pieces;
}

/* Pieces of one size, or nearly: another size is another plan. */
static bool candidate(int64_t rows, int64_t piece) { return rows % piece == 0; }

static int64_t by_rule(const pare_rows_proof *p, int64_t rows) {
    int64_t best = rows;
    double least = cost_of(p, rows, rows) * 0.9; /* all at once, unless it is clearly dearer */
    for (int64_t piece = rows / 2; piece >= 1; piece--) {
        if (!candidate(rows, piece)) continue;
        double cost = cost_of(p, rows, piece);
        if (cost < least) {
            least = cost;
            best = piece;
        }
    }
    return best;
}

static pare_status run_once(pare_session *s, pare_array *const *in, int64_t rows, int64_t piece, double *seconds) {
    pare_array **out = pare_xcalloc(s->outputs.len + 1, sizeof *out);
    pare_plan *p;
    double start = pare_clock();
    pare_status st;
    if (piece < rows) {
        st = pare_rows_run(s, in, piece, NULL, out);
    } else {
        st = pare_session_plan(s, in, NULL, &p);
        if (!st) st = pare_plan_run(s, p, in, NULL, out);
    }
    double t = pare_clock() - start;
    if (!st && (*seconds <= 0 || t < *seconds)) *seconds = t;
    for (size_t i = 0; i < s->outputs.len; i++) pare_array_unref(out[i]);
    free(out);
    return st;
}

/* One file of times serves all models: the graph is part of the name. */
static char *tune_key(const pare_session *s, pare_array *const *in) {
    uint64_t h = 14695981039346656037u;
    const pare_graph *g = pare_model_graph(s->model, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(s->model, g->nodes.data[i]);
        for (const char *c = n->op_type; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
        for (uint32_t k = 0; k < n->n_in; k++) {
            const pare_value *v = pare_model_value(s->model, n->in[k]);
            for (int32_t j = 0; v && j < v->ndim; j++) h = (h ^ (uint64_t)v->dims[j].value) * 1099511628211u;
        }
    }
    pare_sb b = {0};
    pare_sb_printf(&b, "rows:%016llx:%016llx", (unsigned long long)h, (unsigned long long)key_of(s, in));
    char *key = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
    return key;
}

/* Way 0 is all at once, way 1 + k pieces of 2^k rows. */
static int64_t by_time(pare_session *s, pare_array *const *in, int64_t rows, int64_t guess) {
    enum { ROUNDS = 3 };
    pare_tune_times t = {{0}};
    char *key = tune_key(s, in);
    const pare_tune_times *known = pare_tune_find(s->tune, key);
    if (known) {
        t = *known;
    } else {
        for (int round = 0; round < ROUNDS + 1; round++) /* the first packs and warms up */
            for (uint32_t way = 0; way < PARE_TUNE_WAYS && !pare_cancelled(); way++) {
                int64_t piece = way ? (int64_t)1 << (way - 1) : rows;
                bool near = !way || piece == guess || piece * 2 == guess || piece == guess * 2;
                if (piece > rows || (way && (piece == rows || !candidate(rows, piece) || !near))) continue;
                double seconds = 0;
                if (run_once(s, in, rows, piece, &seconds)) seconds = 0;
                if (round && seconds > 0 && (t.way[way] <= 0 || seconds < t.way[way])) t.way[way] = seconds;
            }
        if (!pare_cancelled()) {
            pare_tune_add(s->tune, key, &t);
            pare_tune_save(s->tune);
        }
    }
    free(key);
    uint32_t way = pare_tune_best(&t);
    return way ? (int64_t)1 << (way - 1) : rows;
}

/* Smaller pieces where these don't fit. PARE_OK also where none do: the run will say so. */
static int64_t that_fits(pare_session *s, pare_array *const *in, int64_t rows, int64_t piece, pare_diags *d) {
    int64_t fits = piece;
    for (; fits >= 1; fits /= 2) {
        slices x = slices_of(s, in);
        pare_plan *p;
        slice(s, &x, in, rows, 0, fits);
        pare_status st = pare_session_plan(s, x.in, NULL, &p);
        slices_free(&x);
        if (st != PARE_ENOMEM) break;
    }
    if (!fits || fits == piece) return piece;
    pare_say(d, PARE_NOTE, "engine.pieces", "a batch of %lld does not fit in memory: it runs %lld at a time",
             (long long)rows, (long long)fits);
    return fits;
}

static int64_t find_choice(const pare_session *s, int64_t key) {
    for (size_t i = 0; i < s->rows.choices.len; i++)
        if (s->rows.choices.data[i].key == key) return s->rows.choices.data[i].rows;
    return 0;
}

static int64_t choose(pare_session *s, pare_array *const *in, int64_t rows, bool fed, pare_diags *d) {
    pare_rows_inputs inputs = {s->input_values.data, s->input_values.len, s->rows.carries, in};
    pare_rows_proof proof;
    int64_t piece = rows;
    pare_rows_prove(s, s->model, &inputs, &proof);
    if (proof.joins) {
        memcpy(s->rows.joins, proof.outputs, s->outputs.len * sizeof *s->rows.joins);
        if (s->rows.piece) {
            piece = s->rows.piece < rows ? s->rows.piece : rows;
        } else {
            if (pare_engine_on_host(s, PARE_DEVICE_MAIN)) piece = by_rule(&proof, rows);
            piece = that_fits(s, in, rows, piece, d);
        }
        if (s->tune && fed && !s->rows.piece && !s->memory) piece = by_time(s, in, rows, piece);
    }
    pare_rows_proof_free(&proof);
    return piece;
}

/* Said once: why a batch goes through piece by piece. */
static void say_tied(pare_session *s, pare_diags *d) {
    const char *why = s->rows.why;
    if (s->rows.said) return;
    s->rows.said = true;
    if (s->rows.fixed == 1)
        pare_say(d, PARE_NOTE, "engine.batch", "the graph is fixed at batch 1 and %s%s: images run one by one",
                 why ? why : "it is not proven that its rows are apart", why ? " ties rows together" : "");
    else
        pare_say(d, PARE_NOTE, "engine.batch", "the graph is fixed at batch %lld and %s%s: it runs %lld rows at a time",
                 (long long)s->rows.fixed, why ? why : "it is not proven that its rows are apart",
                 why ? " ties rows together" : "", (long long)s->rows.fixed);
}

pare_status pare_rows_choose(pare_session *s, pare_array *const *in, pare_diags *d, int64_t *piece) {
    int64_t rows;
    *piece = 0;
    pare_status st = count_rows(s, in, d, &rows);
    if (st) return st;
    if (tied(s) && rows && rows != s->rows.fixed) {
        if (!sliceable(s))
            return pare_fail(d, PARE_EUNSUPPORTED, "engine.batch", NULL,
                             "the graph is fixed at batch %lld: %lld rows of it can't be run piece by piece",
                             (long long)s->rows.fixed, (long long)rows);
        say_tied(s, d);
        *piece = s->rows.fixed;
        return PARE_OK;
    }
    if (rows < 2 || !sliceable(s)) return PARE_OK;
    for (size_t i = 0; i < s->inputs.len; i++)
        if (s->decides[i]) return PARE_OK;
    enum { CHOICES = 64 };
    int64_t key = key_of(s, in), found = find_choice(s, key);
    bool fed = true;
    for (size_t i = 0; i < s->inputs.len; i++) fed = fed && (in[i]->blob || !in[i]->nbytes);
    if (!found) {
        found = choose(s, in, rows, fed, d);
        pare_rows_choice c = {key, found};
        if (s->rows.choices.len == CHOICES) s->rows.choices.len = 0;
        if (fed || !s->tune) pare_vec_push(&s->rows.choices, c);
    }
    if (found < rows) *piece = found;
    return PARE_OK;
}

/* ---- running ---- */

/* Arrays for all rows, by what the first piece's plan gives. */
static pare_status outputs_of(const pare_session *s, const pare_plan *p, int64_t rows, int64_t piece, pare_diags *d,
                              pare_array **got) {
    for (size_t i = 0; i < s->outputs.len; i++) {
        const pare_plan_output *o = &p->outputs.data[i];
        int64_t dims[PARE_ARRAY_DIMS] = {0};
        for (uint32_t k = 0; k < o->ndim && k < PARE_ARRAY_DIMS; k++) dims[k] = o->dims[k];
        if (tied(s)) {
            if (!o->ndim || dims[0] != piece)
                return pare_fail(d, PARE_EUNSUPPORTED, "engine.batch", "give it the batch it is made for",
                                 "the graph is fixed at batch %lld, and its output \"%s\" has no such dim 0: what %lld "
                                 "rows give can't be put together",
                                 (long long)piece, s->outputs.data[i].name, (long long)rows);
            s->rows.joins[i] = true;
        }
        if (s->rows.joins[i] && __builtin_mul_overflow(dims[0] / piece, rows, &dims[0])) dims[0] = -1;
        if (!(got[i] = pare_array_new(o->dtype, o->ndim, dims)))
            return pare_fail(d, PARE_ENOMEM, "engine.memory", "use a smaller batch", "no memory for the output \"%s\"",
                             s->outputs.data[i].name);
    }
    return PARE_OK;
}

static pare_status run_pieces(pare_session *s, pare_array *const *in, int64_t rows, int64_t piece, slices *x,
                              pare_diags *d, pare_array **got) {
    void **to = pare_xcalloc(s->outputs.len + 1, sizeof *to);
    pare_status st = PARE_OK;
    for (int64_t from = 0; from < rows && !st; from += piece) {
        int64_t n = rows - from < piece ? rows - from : piece;
        pare_plan *p;
        slice(s, x, in, rows, from, n);
        st = pare_session_plan(s, x->in, d, &p);
        if (!st && !from) {
            st = outputs_of(s, p, rows, piece, d, got);
            for (size_t i = 0; !st && i < s->outputs.len; i++) to[i] = pare_array_data_mut(got[i]);
        }
        if (!st) st = pare_plan_run_into(s, p, x->in, d, to);
        for (size_t i = 0; !st && i < s->outputs.len; i++) {
            if (!s->rows.joins[i])
                to[i] = NULL; /* the same for all */
            else if (to[i])
                to[i] = (char *)to[i] + p->outputs.data[i].nbytes;
        }
    }
    free(to);
    return st;
}

pare_status pare_rows_run(pare_session *s, pare_array *const *in, int64_t piece, pare_diags *d, pare_array **out) {
    pare_array **got = pare_xcalloc(s->outputs.len + 1, sizeof *got);
    slices x = slices_of(s, in);
    int64_t rows;
    pare_status st = count_rows(s, in, d, &rows);
    if (!st) st = run_pieces(s, in, rows, piece, &x, d, got);
    for (size_t i = 0; i < s->outputs.len; i++) {
        if (st)
            pare_array_unref(got[i]);
        else
            out[i] = got[i];
    }
    slices_free(&x);
    free(got);
    return st;
}

pare_status pare_rows_plan(pare_session *s, pare_array *const *in, int64_t piece, pare_diags *d) {
    slices x = slices_of(s, in);
    int64_t rows;
    pare_plan *p;
    pare_status st = count_rows(s, in, d, &rows);
    if (!st) {
        slice(s, &x, in, rows, 0, piece);
        st = pare_session_plan(s, x.in, d, &p);
    }
    slices_free(&x);
    return st;
}
