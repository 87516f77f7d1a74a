/* engine/tune.c - what was measured, and the file it is remembered in. See tune.h.
 *
 * A line is a key, a tab, and "way:nanoseconds" pairs; "0:1" alone: there is nothing to choose from. Is not: the
 * measuring (tune_time.c). May use: tune.h, base.
 */
#include "engine/tune.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 2048, ENTRIES_MAX = 20000, FILE_MAX = 16 << 20 };

typedef struct entry {
    char *key;
    pare_tune_times times;
} entry;

struct pare_tune {
    PARE_VEC(entry) entries;
    char *path; /* NULL: nowhere */
    char *machine;
    bool news;
};

/* ---- on or off ---- */

pare_status pare_tune_wanted(bool dflt, pare_diags *d, bool *out) {
    const char *text = getenv("PARE_TUNE");
    *out = dflt;
    if (!text || !*text) return PARE_OK;
    *out = strcmp(text, "on") == 0;
    if (*out || strcmp(text, "off") == 0) return PARE_OK;
    return pare_fail(d, PARE_EINVAL, "engine.tune", "use PARE_TUNE=on or PARE_TUNE=off, or unset it",
                     "the environment variable PARE_TUNE is \"%s\", but it may be on or off", text);
}

/* ---- entries ---- */

const pare_tune_times *pare_tune_find(const pare_tune *t, const char *key) {
    for (size_t i = 0; i < t->entries.len; i++)
        if (strcmp(t->entries.data[i].key, key) == 0) return &t->entries.data[i].times;
    return NULL;
}

static void put(pare_tune *t, const char *key, const pare_tune_times *times) {
    if (strlen(key) > KEY_MAX || t->entries.len >= ENTRIES_MAX || pare_tune_find(t, key)) return;
    entry e = {.key = pare_xstrdup(key), .times = *times};
    pare_vec_push(&t->entries, e);
}

void pare_tune_add(pare_tune *t, const char *key, const pare_tune_times *times) {
    pare_tune_times whole = {0}; /* as it will be read again: the same choice */
    for (uint32_t i = 0; i < PARE_TUNE_WAYS; i++)
        if (times->way[i] > 0) whole.way[i] = ceil(times->way[i] * 1e9) * 1e-9;
    put(t, key, &whole);
    t->news = true;
}

static uint32_t best_against(const pare_tune_times *t, uint32_t known) {
    uint32_t best = known;
    for (uint32_t i = 0; i < PARE_TUNE_WAYS; i++)
        if (t->way[i] > 0 && t->way[i] < t->way[best]) best = i;
    return t->way[best] < 0.97 * t->way[known] ? best : known;
}

uint32_t pare_tune_best(const pare_tune_times *t) { return best_against(t, 0); }

/* The node behind this one is likelier to find the layout it wants where the layout stays. */
uint32_t pare_tune_best_kernel(const pare_tune_times *t) {
    return best_against(t, t->way[1] > 0 && t->way[1] < 1.06 * t->way[0]);
}

/* ---- the file ---- */

/* "0:1200 2:800"; false: damaged. */
static bool read_times(const char *text, pare_tune_times *out) {
    *out = (pare_tune_times){0};
    while (*text) {
        char *end;
        unsigned long way = strtoul(text, &end, 10);
        if (end == text || *end != ':' || way >= PARE_TUNE_WAYS) return false;
        text = end + 1;
        double ns = strtod(text, &end);
        if (end == text || !isfinite(ns) || ns <= 0) return false;
        out->way[way] = ns * 1e-9;
        for (text = end; *text == ' '; text++) {
        }
    }
    return out->way[0] > 0;
}

static void read_line(pare_tune *t, char *line) {
    char *tab = strchr(line, '\t');
    pare_tune_times times;
    if (line[0] == '#' || !tab || tab == line) return;
    *tab = 0;
    if (read_times(tab + 1, &times)) put(t, line, &times);
}

static bool read_file(pare_tune *t) {
    uint64_t size;
    if (pare_path_what(t->path) != PARE_PATH_FILE || !pare_file_size(t->path, &size) || size > FILE_MAX) return false;
    FILE *f = fopen(t->path, "rb");
    char *text = f ? pare_try_alloc(size + 1) : NULL;
    size_t n = text ? fread(text, 1, (size_t)size, f) : 0;
    if (f) fclose(f);
    if (!text) return false;
    text[n] = 0;
    for (char *line = text; line < text + n;) {
        char *end = memchr(line, '\n', (size_t)(text + n - line));
        if (!end) break; /* cut off */
        *end = 0;
        read_line(t, line);
        line = end + 1;
    }
    free(text);
    return true;
}

static void write_file(pare_tune *t) {
    pare_sb b = {0};
    pare_sb_printf(&b, "# pare tune 1: %s\n", t->machine);
    for (size_t i = 0; i < t->entries.len; i++) {
        const entry *e = &t->entries.data[i];
        pare_sb_printf(&b, "%s\t", e->key);
        for (uint32_t k = 0; k < PARE_TUNE_WAYS; k++)
            if (e->times.way[k] > 0)
                pare_sb_printf(&b, "%s%" PRIu32 ":%.0f", k ? " " : "", k, round(e->times.way[k] * 1e9));
        pare_sb_addc(&b, '\n');
    }
    pare_diags *quiet = pare_diags_new(PARE_DIAG_SILENT, stderr); /* a folder that can't be written is no error */
    if (pare_file_write(t->path, b.data, b.len, quiet) == PARE_OK) t->news = false;
    pare_diags_free(quiet);
    pare_sb_free(&b);
}

void pare_tune_save(pare_tune *t) {
    if (!t->news || !t->path) return;
    char *dir = pare_path_dir(t->path);
    pare_diags *quiet = pare_diags_new(PARE_DIAG_SILENT, stderr);
    pare_sb lock = {0};
    pare_sb_printf(&lock, "%s.lock", t->path);
    FILE *f = pare_dir_make(dir, quiet) == PARE_OK ? fopen(pare_sb_str(&lock), "ab") : NULL;
    if (f && pare_file_lock(f)) { /* who doesn't get it writes at its next plan, or measures again next time */
        read_file(t);
        write_file(t);
    }
    if (f) fclose(f);
    pare_sb_free(&lock);
    pare_diags_free(quiet);
    free(dir);
}

/* ---- opening ---- */

static uint64_t hash(const char *text) { /* FNV-1a */
    uint64_t h = 14695981039346656037u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 1099511628211u;
    return h;
}

/* The user's cache folder; NULL: there is none. */
static char *cache_dir(void) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/') return pare_path_join(xdg, "pare");
    if (home && home[0] == '/') return pare_path_join(home, ".cache/pare");
    return NULL;
}

pare_tune *pare_tune_open(const pare_session *s) {
    pare_tune *t = pare_xcalloc(1, sizeof *t);
    pare_sb b = {0};
    const pare_backend *be = s->devices[0].use.backend;
    const char *about = be->describe ? be->describe(s->devices[0].handle) : NULL;
    pare_sb_printf(&b, "%s; %s %s; %s; %" PRIu32 " threads", pare_cpu_model(), be->id, be->version ? be->version : "",
                   about ? about : "", s->threads);
    for (size_t i = 0; i < b.len; i++)
        if ((unsigned char)b.data[i] < ' ') b.data[i] = '_';
    t->machine = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
    char *dir = cache_dir();
    if (!dir) return t;
    char name[48];
    snprintf(name, sizeof name, "tune-%016" PRIx64 ".txt", hash(t->machine));
    t->path = pare_path_join(dir, name);
    free(dir);
    read_file(t);
    return t;
}

void pare_tune_close(pare_tune *t) {
    if (!t) return;
    for (size_t i = 0; i < t->entries.len; i++) free(t->entries.data[i].key);
    pare_vec_free(&t->entries);
    free(t->path);
    free(t->machine);
    free(t);
}
