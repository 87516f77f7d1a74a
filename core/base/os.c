/* base/os.c - see os.h: paths, folders, clock, CPU, dynamic objects, cancellation.
 *
 * Is not: whole files in and out (os_file.c), threads (os_thread.c). The only file with _GNU_SOURCE and with dlsym's
 * cast. May use: mem, diag, POSIX, Linux.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include "base/str.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- paths ---- */

char *pare_path_join(const char *dir, const char *name) {
    if (!dir || !*dir || *name == '/') return pare_xstrdup(name);
    size_t n = strlen(dir), m = strlen(name);
    bool slash = dir[n - 1] == '/';
    char *p = pare_xmalloc(n + m + 2);
    memcpy(p, dir, n);
    if (!slash) p[n++] = '/';
    memcpy(p + n, name, m + 1);
    return p;
}

/* Length of path without slashes at its end; "/" keeps its one. */
static size_t trimmed(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return n;
}

char *pare_path_dir(const char *path) {
    size_t n = trimmed(path);
    while (n && path[n - 1] != '/') n--;
    if (!n) return pare_xstrdup(".");
    while (n > 1 && path[n - 1] == '/') n--;
    return pare_xstrndup(path, n);
}

const char *pare_path_base(const char *path) {
    size_t n = trimmed(path);
    if (n == 1 && *path == '/') return path;
    while (n && path[n - 1] != '/') n--;
    return path + n;
}

char *pare_path_real(const char *path) { return realpath(path, NULL); }
char *pare_path_exe(void) { return realpath("/proc/self/exe", NULL); }

/* ---- looking ---- */

pare_path_kind pare_path_what(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return PARE_PATH_NONE;
    return S_ISREG(st.st_mode) ? PARE_PATH_FILE : S_ISDIR(st.st_mode) ? PARE_PATH_DIR : PARE_PATH_OTHER;
}

bool pare_file_size(const char *path, uint64_t *size) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    *size = (uint64_t)st.st_size;
    return true;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool is_dots(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }

char **pare_dir_list(const char *path, size_t *n) {
    if (n) *n = 0;
    DIR *dir = opendir(path);
    if (!dir) return NULL;
    PARE_VEC(char *) names = {0};
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) break;
        if (!is_dots(e->d_name)) pare_vec_push(&names, pare_xstrdup(e->d_name));
    }
    bool ok = errno == 0;
    closedir(dir);
    size_t count = names.len;
    if (count) qsort(names.data, count, sizeof *names.data, by_bytes);
    pare_vec_push(&names, NULL);
    if (!ok) {
        pare_dir_list_free(names.data);
        return NULL;
    }
    if (n) *n = count;
    return names.data;
}

void pare_dir_list_free(char **names) {
    if (!names) return;
    for (char **p = names; *p; p++) free(*p);
    free(names);
}

/* ---- changing ---- */

/* Failing because of what the user named is wrong input; a full or broken disk is a failed run. */
static pare_status status_of(int err) {
    switch (err) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ELOOP:
    case ENAMETOOLONG: return PARE_EINVAL;
    default: return PARE_EIO;
    }
}

pare_status pare_dir_make(const char *path, pare_diags *d) {
    if (!*path) return pare_fail(d, PARE_EINVAL, "folder.make", NULL, "a folder with an empty name can't be made");
    char *p = pare_xstrndup(path, trimmed(path));
    pare_status st = PARE_OK;
    for (char *at = p;;) {
        char *slash = *at ? strchr(at + 1, '/') : NULL;
        if (slash) *slash = 0;
        if (mkdir(p, 0777) != 0) {
            int err = errno;
            struct stat s;
            bool there = stat(p, &s) == 0;
            if (there && !S_ISDIR(s.st_mode)) {
                st = pare_fail_file(d, PARE_EINVAL, path, "folder.make", "name another folder, or move that file away",
                                    "the folder can't be made: %s is a file", p);
                break;
            }
            if (!there) {
                st = pare_fail_file(d, status_of(err), path, "folder.make", NULL, "the folder can't be made: %s",
                                    strerror(err));
                break;
            }
        }
        if (!slash) break;
        *slash = '/';
        at = slash;
    }
    free(p);
    return st;
}

/* Makes a rename or a removal in a folder last. Best effort: some file systems can't. */
static void sync_dir_of(const char *path) {
    char *dir = pare_path_dir(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(dir);
}

/* Removes `name` in folder `at`, whatever it is; never follows a link. 0, or errno. */
static int remove_at(int at, const char *name, int depth) {
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return 0;
    int err = errno;
    if (err != EISDIR && err != EPERM && err != EACCES) return err; /* Linux says EISDIR, POSIX EPERM, for a folder */
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return err == EISDIR ? errno : err;
    if (depth > 512) {
        close(fd);
        return ELOOP;
    }
    DIR *dir = fdopendir(fd);
    if (!dir) {
        err = errno;
        close(fd);
        return err;
    }
    err = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) {
            if (errno) err = errno;
            break;
        }
        if (is_dots(e->d_name)) continue;
        err = remove_at(fd, e->d_name, depth + 1);
        if (err) break;
    }
    closedir(dir);
    if (!err && unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT) err = errno;
    return err;
}

pare_status pare_tree_remove(const char *path, pare_diags *d) {
    size_t n = trimmed(path);
    const char *base = pare_path_base(path);
    if (!n || (n == 1 && *path == '/') ||
        (is_dots(base) || strncmp(base, "../", 3) == 0 || strncmp(base, "./", 2) == 0))
        return pare_fail(d, PARE_EINVAL, "folder.remove", NULL, "\"%s\" can't be removed: name a folder", path);
    char *p = pare_xstrndup(path, n); /* "link/" would follow the link */
    int err = remove_at(AT_FDCWD, p, 0);
    free(p);
    if (err == ENOTDIR) err = 0; /* a parent is a file: absent */
    if (!err) return PARE_OK;
    return pare_fail_file(d, status_of(err), path, "folder.remove", NULL, "can't be removed: %s", strerror(err));
}

pare_status pare_path_rename(const char *from, const char *to, pare_diags *d) {
    if (rename(from, to) != 0) {
        int err = errno;
        return pare_fail_file(d, status_of(err), to, "file.rename", NULL, "%s can't be given this name: %s", from,
                              strerror(err));
    }
    sync_dir_of(to);
    return PARE_OK;
}

pare_status pare_path_link(const char *from, const char *to, pare_diags *d) {
    static atomic_uint serial;
    char *dir = pare_path_dir(to);
    pare_sb temp = {0};
    int err = 0;
    for (int tries = 0; tries < 100; tries++) {
        pare_sb_free(&temp);
        pare_sb_printf(&temp, "%s/.link-%ld-%u.tmp", dir, (long)getpid(), atomic_fetch_add(&serial, 1));
        err = linkat(AT_FDCWD, from, AT_FDCWD, temp.data, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
        if (err != EEXIST) break;
    }
    free(dir);
    pare_status st = PARE_OK;
    if (!err) {
        st = pare_path_rename(temp.data, to, d);
        (void)unlink(temp.data); /* rename keeps both names where they already were one file */
    } else {
        /* No hard links here (another file system, FAT, a container's rules), or no such file: the copy will say. */
        pare_map_file *m = NULL;
        st = pare_map_file_open(from, d, &m);
        if (st == PARE_OK) st = pare_file_write(to, m->data, (size_t)m->len, d);
        pare_map_file_unref(m);
    }
    pare_sb_free(&temp);
    return st;
}

pare_status pare_file_remove(const char *path) {
    if (unlink(path) == 0) return PARE_OK;
    return errno == ENOENT ? PARE_ENOTFOUND : PARE_EIO;
}

bool pare_dir_make_new(const char *path) { return mkdir(path, 0777) == 0; }

bool pare_file_lock(FILE *f) { return flock(fileno(f), LOCK_EX | LOCK_NB) == 0; }

/* ---- memory ---- */

void pare_memory_huge(void *p, size_t n) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)p + n) & ~(page - 1);
    if (from < to) madvise((void *)from, to - from, MADV_HUGEPAGE);
}

/* ---- clock ---- */

double pare_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- CPU ---- */

uint32_t pare_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 cores, or no affinity here */
    return n > 0 ? (uint32_t)n : 1;
}

static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;
static char cpu_features[512], cpu_model[128];

/* /proc/cpuinfo lists a feature only where the kernel saves its registers, which cpuid alone does not say. */
static const char *const known_features[] = {
    "amx_bf16",    "amx_int8",    "amx_tile",    "asimd",    "asimddp",  "asimdhp", "avx",      "avx2",
    "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx512bw", "avx512dq", "avx512f", "avx512vl", "avx_vnni",
    "bf16",        "bmi2",        "f16c",        "fma",      "i8mm",     "sse4_2",  "sve",      "sve2"};

static bool has_word(const char *line, size_t n, const char *word) {
    size_t len = strlen(word);
    for (const char *p = line; p + len <= line + n; p++)
        if (memcmp(p, word, len) == 0 && (p == line || p[-1] == ' ') && (p + len == line + n || p[len] == ' '))
            return true;
    return false;
}

static void cpu_read(void) {
    static char text[16384];
    size_t n = 0;
    int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) { /* the first processor's paragraph is enough; the kernel makes the text as it is read */
        while (n < sizeof text - 1) {
            ssize_t k = read(fd, text + n, sizeof text - 1 - n);
            if (k <= 0) break;
            n += (size_t)k;
            text[n] = 0;
            if (strstr(text, "\n\n")) break;
        }
        close(fd);
    }
    text[n] = 0;
    for (char *line = text; *line;) {
        char *eol = strchr(line, '\n');
        size_t len = eol ? (size_t)(eol - line) : strlen(line);
        if (!len) break;
        char *colon = memchr(line, ':', len);
        if (colon) {
            char *value = colon + 1;
            while (value < line + len && *value == ' ') value++;
            size_t m = (size_t)(line + len - value);
            if (!cpu_model[0] && (strncmp(line, "model name", 10) == 0 || strncmp(line, "Hardware", 8) == 0)) {
                if (m > sizeof cpu_model - 1) m = sizeof cpu_model - 1;
                memcpy(cpu_model, value, m);
                cpu_model[m] = 0;
            } else if (strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0) {
                size_t used = 0;
                for (size_t i = 0; i < sizeof known_features / sizeof *known_features; i++) {
                    size_t k = strlen(known_features[i]);
                    if (!has_word(value, m, known_features[i]) || used + k + 2 > sizeof cpu_features) continue;
                    if (used) cpu_features[used++] = ',';
                    memcpy(cpu_features + used, known_features[i], k + 1);
                    used += k;
                }
            }
        }
        if (!eol) break;
        line = eol + 1;
    }
    if (!cpu_model[0]) memcpy(cpu_model, "unknown", sizeof "unknown");
}

const char *pare_cpu_features(void) {
    pthread_once(&cpu_once, cpu_read);
    return cpu_features;
}

const char *pare_cpu_model(void) {
    pthread_once(&cpu_once, cpu_read);
    return cpu_model;
}

/* ---- the environment ---- */

void pare_env_set(const char *name, const char *value) { setenv(name, value, 1); }

/* ---- dynamic objects ---- */

void *pare_dl_open(const char *path, char **error) {
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!h && error) {
        const char *why = dlerror();
        *error = pare_xstrdup(why ? why : "dlopen failed without a reason");
    }
    return h;
}

pare_fn pare_dl_sym(void *handle, const char *name) {
    void *p = dlsym(handle, name);
    pare_fn fn = NULL;
    _Static_assert(sizeof fn == sizeof p, "POSIX promises that a function fits an object pointer");
    memcpy(&fn, &p, sizeof fn); /* ISO C has no conversion between the two */
    return fn;
}

/* ---- cancellation ---- */

static atomic_int cancelled, signals;

static void on_signal(int sig) {
    int saved = errno;
    atomic_store(&cancelled, 1);
    if (atomic_fetch_add(&signals, 1) > 0) { /* asked twice: end as if we had never caught it */
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, sig);
        signal(sig, SIG_DFL);
        sigprocmask(SIG_UNBLOCK, &one, NULL);
        raise(sig);
    }
    errno = saved;
}

void pare_cancel_install(void) {
    static const int which[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        /* Also where the signal was ignored from the start, as a script's background jobs find it: being told to stop,
         * pare stops. */
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        sigemptyset(&sa.sa_mask);
        sigaction(which[i], &sa, NULL);
    }
}

bool pare_cancelled(void) { return atomic_load_explicit(&cancelled, memory_order_relaxed) != 0; }
void pare_cancel_request(void) { atomic_store(&cancelled, 1); }
void pare_cancel_reset(void) {
    atomic_store(&cancelled, 0);
    atomic_store(&signals, 0);
}
