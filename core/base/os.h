/* base/os.h - the seam to the operating system: paths, files, maps, clock, threads, dlopen, cancellation.
 *
 * The only place with platform conditionals, with _GNU_SOURCE and with dlsym's cast. Messages about files name the path
 * and the system's reason. May use: mem, str, diag.
 */
#ifndef PARE_BASE_OS_H
#define PARE_BASE_OS_H

#include "base/diag.h"

/* ---- paths: returned strings are malloc'ed, the caller frees ---- */
char *pare_path_join(const char *dir, const char *name); /* name when it is absolute or dir is "" or NULL */
char *pare_path_dir(const char *path);                   /* "." when there is none */
const char *pare_path_base(const char *path);            /* points into path */
char *pare_path_real(const char *path);                  /* links resolved; NULL when it doesn't exist */
char *pare_path_exe(void);                               /* of this process, links resolved; NULL if unknown */

/* ---- looking ---- */
typedef enum { PARE_PATH_NONE, PARE_PATH_FILE, PARE_PATH_DIR, PARE_PATH_OTHER } pare_path_kind;
pare_path_kind pare_path_what(const char *path); /* follows links */
bool pare_file_size(const char *path, uint64_t *size);
/* Names in a folder, sorted by bytes, without "." and "..", NULL-terminated; NULL when it can't be read. */
char **pare_dir_list(const char *path, size_t *n);
void pare_dir_list_free(char **names);

/* ---- changing ---- */
pare_status pare_dir_make(const char *path, pare_diags *d); /* with parents; fine when it exists */
bool pare_dir_make_new(const char *path);                   /* one folder that was not there; false otherwise, silent */
pare_status pare_tree_remove(const char *path, pare_diags *d); /* never follows links; fine when absent */
pare_status pare_path_rename(const char *from, const char *to, pare_diags *d); /* replaces; fsyncs the folder */
pare_status pare_path_link(const char *from, const char *to, pare_diags *d);   /* hard link, else a copy; replaces */
pare_status pare_file_remove(const char *path);

/* Takes the lock on an open file that no other process may hold too; false: somebody has it. Goes with the file's
 * close. */
bool pare_file_lock(FILE *f);

/* ---- reading ---- */

/* A whole file, read-only in memory. Reference-counted; thread-safe. Regular files are mapped (empty ones have len 0),
 * pipes are read, devices refused. Large maps are read in by the kernel ahead of use. */
typedef struct pare_map_file {
    const unsigned char *data;
    uint64_t len;
    char *path;
    uint32_t refs; /* atomic; use the functions */
    uint32_t mapped;
} pare_map_file;
pare_status pare_map_file_open(const char *path, pare_diags *d, pare_map_file **out);
pare_map_file *pare_map_file_ref(pare_map_file *m);
void pare_map_file_unref(pare_map_file *m); /* NULL is fine */
/* The pages of a range have been used and may leave memory; they come back from the file when touched again. */
void pare_map_file_done(pare_map_file *m, uint64_t offset, uint64_t len);

/* ---- writing ---- */

/* Where bytes go. Owner of ctx: whoever made the sink. On failure write has told diags why. */
typedef struct pare_sink {
    pare_status (*write)(void *ctx, const void *data, size_t n);
    void *ctx;
} pare_sink;

/* A file that appears under its name only as it becomes whole: temporary name in the same folder, fsync, rename. */
typedef struct pare_file_out pare_file_out;
pare_status pare_file_out_open(const char *path, pare_diags *d, pare_file_out **out);
pare_sink pare_file_out_sink(pare_file_out *f);
pare_status pare_file_out_write(pare_file_out *f, const void *data, size_t n);
pare_status pare_file_out_commit(pare_file_out *f); /* frees f; on failure nothing is left behind */
void pare_file_out_abort(pare_file_out *f);         /* frees f and removes the temporary file; NULL is fine */
pare_status pare_file_write(const char *path, const void *data, size_t n, pare_diags *d); /* open, write, commit */

/* ---- clock ---- */
double pare_clock(void); /* monotonic, seconds */

/* ---- threads ---- */
uint32_t pare_cpu_count(void); /* cores this process may run on */
/* Comma-separated feature names that decide which kernels run ("avx2,fma,avx512f,..."), sorted; and the CPU's model. */
const char *pare_cpu_features(void);
const char *pare_cpu_model(void);
/* Sets how many threads pare_parallel uses; 0: pare_cpu_count(). Call from main before the first pare_parallel. */
void pare_threads_set(uint32_t n);
uint32_t pare_threads(void);
/* fn(ctx, i) for every i in 0..n-1, each exactly once, on up to pare_threads() threads; returns when all are done.
 * Nested or concurrent calls run on the caller's thread alone. What fn computes may depend on i, never on the thread.
 */
void pare_parallel(uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx);

/* One function on a thread of its own, beside everything else; join exactly once. Where no thread can be had it runs
 * at once, before start returns. */
typedef struct pare_job pare_job;
pare_job *pare_job_start(void (*fn)(void *ctx), void *ctx);
void pare_job_join(pare_job *job); /* waits and frees; NULL is fine */

/* Memory that is large and used throughout may lie in huge pages: fewer page faults. A hint. */
void pare_memory_huge(void *p, size_t n);
/* Bytes that this process may still take: of what the machine has free or can free, and of its control groups' limits.
 * A moment's answer; UINT64_MAX: unknown. */
uint64_t pare_memory_available(void);

/* ---- the environment ---- */
/* Sets a variable for this process and the libraries it opens later. Before the first thread starts. */
void pare_env_set(const char *name, const char *value);

/* ---- dynamic objects: RTLD_NOW | RTLD_LOCAL, never closed ---- */
typedef void (*pare_fn)(void);
void *pare_dl_open(const char *path, char **error);  /* NULL: *error (malloc'ed) says why */
pare_fn pare_dl_sym(void *handle, const char *name); /* NULL when absent */

/* ---- cancellation: SIGINT and SIGTERM set a flag that long work looks at; a second signal ends the process ---- */
void pare_cancel_install(void);
bool pare_cancelled(void);
void pare_cancel_request(void); /* for tests and embedders */
void pare_cancel_reset(void);

#endif
