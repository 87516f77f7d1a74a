/* pipeline/run_dir.c - see run_dir.h. */
#include "pipeline/run_dir.h"

#include "base/os.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static const char LOG_START[] = "pare ", LOCK_KEY[] = "\nlock: ";

/* Everything a run puts into its folder. */
static const char *const run_names[] = {
    "log.txt", "model.onnx",         "model.onnx.data", "model.onnx.gz", "model.packed.onnx",
    "models",  "pipeline.lock.yaml", "report.json",     "steps"};

/* ---- what is there ---- */

static char *joined(const char *dir, const char *format, unsigned n) {
    pare_sb b = {0};
    pare_sb_add(&b, dir);
    pare_sb_printf(&b, format, n);
    char *s = pare_xstrdup(pare_sb_str(&b));
    pare_sb_free(&b);
    return s;
}

/* Does a file of the folder begin with `start`, or hold it in its first 4 kB? */
static bool file_says(const char *dir, const char *name, const char *what, bool at_start) {
    char *path = pare_path_join(dir, name), head[4097];
    FILE *f = pare_path_what(path) == PARE_PATH_FILE ? fopen(path, "rb") : NULL;
    size_t n = f ? fread(head, 1, sizeof head - 1, f) : 0;
    if (f) fclose(f);
    free(path);
    head[n] = 0;
    return at_start ? strncmp(head, what, strlen(what)) == 0 : strstr(head, what) != NULL;
}

/* The first name in a folder that no run wrote, malloc'ed; NULL: there is none. */
static char *foreign_name(const char *dir) {
    size_t n = 0, known = sizeof run_names / sizeof *run_names;
    char **names = pare_dir_list(dir, &n), *found = NULL;
    for (size_t i = 0; i < n && !found; i++) {
        bool ours = false;
        for (size_t k = 0; k < known; k++) ours = ours || strcmp(names[i], run_names[k]) == 0;
        /* what a killed run may leave: the temporary names of base/os */
        size_t len = strlen(names[i]);
        if (!ours && names[i][0] == '.' && len > 4 && strcmp(names[i] + len - 4, ".tmp") == 0) ours = true;
        if (!ours) found = pare_xstrdup(names[i]);
    }
    if (!names) found = pare_xstrdup("something that can't be read");
    pare_dir_list_free(names);
    return found;
}

static bool is_empty_dir(const char *dir) {
    size_t n = 0;
    char **names = pare_dir_list(dir, &n);
    bool yes = names && n == 0;
    pare_dir_list_free(names);
    return yes;
}

static bool is_finished_run(const char *dir) {
    return file_says(dir, "log.txt", LOG_START, true) && file_says(dir, "pipeline.lock.yaml", LOCK_KEY, false) &&
           file_says(dir, "report.json", "{", true);
}

/* ---- choosing ---- */

static pare_status in_use(pare_diags *d, const char *shown, const char *foreign) {
    return pare_fail(d, PARE_EINVAL, "run.folder-in-use", "name another folder with --out, or move those files away",
                     "%s holds %s, which no run of pare wrote", shown, foreign);
}

/* May the run take `dir`? `shown` names it in messages. */
static pare_status may_take(const char *dir, const char *shown, bool force, pare_diags *d) {
    pare_path_kind kind = pare_path_what(dir);
    if (kind == PARE_PATH_NONE || (kind == PARE_PATH_DIR && is_empty_dir(dir))) return PARE_OK;
    if (kind != PARE_PATH_DIR)
        return pare_fail(d, PARE_EINVAL, "run.not-a-folder", "name another folder with --out", "%s is not a folder",
                         shown);
    char *foreign = foreign_name(dir);
    pare_status st = PARE_OK;
    if (foreign)
        st = in_use(d, shown, foreign);
    else if (!is_finished_run(dir))
        st = in_use(d, shown, "part of a run");
    else if (!force)
        st = pare_fail(d, PARE_EINVAL, "run.finished", "give --force to replace it, or another folder with --out",
                       "%s holds a finished run", shown);
    free(foreign);
    return st;
}

/* Where a path really is: links resolved, also of a folder that is not there yet. */
static char *resolved(const char *path) {
    char *real = pare_path_real(path);
    if (real) return real;
    char *parent = pare_path_dir(path), *real_parent = pare_path_real(parent);
    const char *base = pare_path_base(path);
    char *out = pare_path_join(real_parent ? real_parent : parent, base);
    free(parent);
    free(real_parent);
    return out;
}

/* A free name beside it: neither the folder nor its .partial is there. */
static bool is_free(const char *dir) {
    char *work = joined(dir, ".partial", 0);
    bool yes = pare_path_what(dir) == PARE_PATH_NONE && pare_path_what(work) == PARE_PATH_NONE;
    free(work);
    return yes;
}

/* The first free one of want, want-2, want-3, …, malloc'ed. */
static char *next_free(const char *want) {
    char *shown = pare_xstrdup(want);
    for (unsigned i = 2;; i++) {
        char *dir = resolved(shown);
        bool yes = is_free(dir);
        free(dir);
        if (yes) return shown;
        free(shown);
        shown = joined(want, "-%u", i);
    }
}

pare_status pare_run_dir_choose(const char *want, bool next, bool force, pare_diags *d, pare_run_dir *out) {
    size_t len = strlen(want);
    while (len > 1 && want[len - 1] == '/') len--;
    if (!len) return pare_fail(d, PARE_EINVAL, "run.no-folder", "as in --out runs/one", "the run folder has no name");
    char *plain = pare_xstrndup(want, len), *shown = next && !force ? next_free(plain) : pare_xstrdup(plain);
    char *dir = resolved(shown);
    pare_status st = may_take(dir, shown, force, d);
    if (!st && strcmp(pare_path_base(dir), "/") == 0)
        st = pare_fail(d, PARE_EINVAL, "run.no-folder", "as in --out runs/one", "%s can't become a run folder", shown);
    if (st) {
        free(plain);
        free(shown);
        free(dir);
        return st;
    }
    *out = (pare_run_dir){.shown = shown, .dir = dir, .want = next && !force ? plain : NULL};
    if (!out->want) free(plain);
    return PARE_OK;
}

/* ---- the work folder ---- */

/* Removes what an earlier run left under this name; refuses what isn't one, or belongs to a run that is going on. */
static pare_status clear_leftover(const char *work, pare_diags *d) {
    char *log = pare_path_join(work, "log.txt"), *foreign = NULL;
    pare_status st = PARE_OK;
    FILE *f = NULL;
    if (pare_path_what(work) != PARE_PATH_DIR) {
        st = pare_fail(d, PARE_EINVAL, "run.folder-in-use", "move it away, or name another folder with --out",
                       "%s is in the way", work);
    } else if ((foreign = foreign_name(work))) {
        st = in_use(d, work, foreign);
    } else if (!file_says(work, "log.txt", LOG_START, true)) {
        st = pare_fail(d, PARE_EINVAL, "run.folder-in-use", "wait for it; if no run is going on, remove that folder",
                       "another run has just begun in %s", work);
    } else if (!(f = fopen(log, "r+")) || !pare_file_lock(f)) {
        st = pare_fail(d, PARE_EINVAL, "run.folder-in-use", "wait for it, or name another folder with --out",
                       "another run is at work in %s", work);
    } else {
        st = pare_tree_remove(work, d);
    }
    if (f) fclose(f);
    free(log);
    free(foreign);
    return st;
}

/* Makes the work folder, ours alone. */
static pare_status take_work(pare_run_dir *r, pare_diags *d) {
    char *work = joined(r->dir, ".partial", 0), *parent = pare_path_dir(work);
    pare_status st = pare_dir_make(parent, d);
    bool made = !st && pare_dir_make_new(work);
    while (!st && !made && r->want && pare_path_what(work) != PARE_PATH_NONE) { /* another run was faster */
        free(r->shown);
        free(r->dir);
        free(work);
        r->shown = next_free(r->want);
        r->dir = resolved(r->shown);
        work = joined(r->dir, ".partial", 0);
        made = pare_dir_make_new(work);
    }
    if (!st && !made && pare_path_what(work) != PARE_PATH_NONE) st = clear_leftover(work, d);
    if (!st && !made) st = pare_dir_make(work, d); /* which also says why it can't be made */
    if (!st)
        r->work = work;
    else
        free(work);
    free(parent);
    return st;
}

pare_status pare_run_dir_open(pare_run_dir *r, const char *title, pare_diags *d) {
    pare_status st = take_work(r, d);
    if (st) return st;
    char *log = pare_path_join(r->work, "log.txt");
    r->log = fopen(log, "w");
    if (!r->log || !pare_file_lock(r->log)) st = pare_fail(d, PARE_EIO, "run.log", NULL, "%s can't be written", log);
    free(log);
    if (st) return st;
    fprintf(r->log, "pare %s: %s\n", PARE_VERSION, title);
    fflush(r->log);
    return PARE_OK;
}

pare_status pare_run_dir_publish(pare_run_dir *r, pare_diags *d) {
    char *old = NULL;
    pare_status st = PARE_OK;
    if (pare_path_what(r->dir) == PARE_PATH_DIR && !is_empty_dir(r->dir)) {
        unsigned i = 1;
        do { /* a name nobody has */
            free(old);
            old = joined(r->dir, ".replaced-%u", i++);
        } while (pare_path_what(old) != PARE_PATH_NONE);
        st = pare_path_rename(r->dir, old, d);
    }
    if (!st) st = pare_path_rename(r->work, r->dir, d);
    if (!st) {
        free(r->work);
        r->work = NULL;
        if (old) st = pare_tree_remove(old, d);
    }
    free(old);
    return st;
}

void pare_run_dir_close(pare_run_dir *r, bool keep) {
    if (r->work && !keep) pare_tree_remove(r->work, NULL);
    if (r->log) fclose(r->log);
    free(r->shown);
    free(r->dir);
    free(r->work);
    free(r->want);
    *r = (pare_run_dir){0};
}
