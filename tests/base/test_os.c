/* Paths, folders, files in and out, threads, cancellation, dynamic objects. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "base/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_join(const char *dir, const char *name, const char *want) {
    char *p = pare_path_join(dir, name);
    assert_string_equal(p, want);
    free(p);
}

static void check_dir(const char *path, const char *dir, const char *base) {
    char *p = pare_path_dir(path);
    assert_string_equal(p, dir);
    assert_string_equal(pare_path_base(path), base);
    free(p);
}

/* A machine that runs this has a few MiB free, and not more than it has. */
static void test_memory(void **state) {
    (void)state;
    uint64_t room = pare_memory_available();
    assert_true(room > (uint64_t)1 << 20);
    assert_true(room == UINT64_MAX || room < (uint64_t)1 << 50);
    unsigned char *p = pare_try_alloc((size_t)5 << 20);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % ((uintptr_t)2 << 20), 0);
    pare_memory_huge(p, (size_t)5 << 20);
    p[0] = p[((size_t)5 << 20) - 1] = 1;
    free(p);
}

static void test_paths(void **state) {
    (void)state;
    check_join("a", "b", "a/b");
    check_join("a/", "b", "a/b");
    check_join("a", "/b", "/b");
    check_join("", "b", "b");
    check_join(NULL, "b", "b");
    check_join("/", "b", "/b");
    check_dir("a/b", "a", "b");
    check_dir("b", ".", "b");
    check_dir("/b", "/", "b");
    check_dir("/", "/", "/");
    check_dir("a//b", "a", "b");
    check_dir("a/b/", "a", "b/");
    check_dir("", ".", "");

    char *exe = pare_path_exe();
    assert_non_null(exe);
    assert_int_equal(pare_path_what(exe), PARE_PATH_FILE);
    free(exe);

    put_file(in_tmp("real"), "x");
    assert_int_equal(symlink("real", in_tmp("link")), 0);
    char *a = pare_path_real(in_tmp("link")), *b = pare_path_real(in_tmp("real"));
    assert_string_equal(a, b);
    free(a);
    free(b);
    assert_null(pare_path_real(in_tmp("absent")));
}

static void test_looking(void **state) {
    (void)state;
    assert_int_equal(pare_path_what(in_tmp("absent")), PARE_PATH_NONE);
    assert_int_equal(pare_path_what(tmpdir_path), PARE_PATH_DIR);
    assert_int_equal(pare_path_what("/dev/null"), PARE_PATH_OTHER);
    put_file(in_tmp("seven"), "1234567");
    uint64_t n = 0;
    assert_true(pare_file_size(in_tmp("seven"), &n));
    assert_int_equal(n, 7);
    assert_false(pare_file_size(in_tmp("absent"), &n));
    assert_false(pare_file_size(tmpdir_path, &n));

    assert_int_equal(pare_dir_make(in_tmp("list/b"), NULL), PARE_OK);
    put_file(in_tmp("list/Z"), "");
    put_file(in_tmp("list/a"), "");
    put_file(in_tmp("list/\xc3\xa4"), "");
    size_t count;
    char **names = pare_dir_list(in_tmp("list"), &count);
    assert_int_equal(count, 4);
    assert_string_equal(names[0], "Z");
    assert_string_equal(names[1], "a");
    assert_string_equal(names[2], "b");
    assert_string_equal(names[3], "\xc3\xa4");
    assert_null(names[4]);
    pare_dir_list_free(names);
    assert_null(pare_dir_list(in_tmp("absent"), &count));
    assert_null(pare_dir_list(in_tmp("seven"), &count));
    names = pare_dir_list(in_tmp("list/b"), &count);
    assert_non_null(names);
    assert_int_equal(count, 0);
    pare_dir_list_free(names);
}

static void test_folders(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_dir_make(in_tmp("m/n//o/"), d), PARE_OK);
    assert_int_equal(pare_dir_make(in_tmp("m/n/o"), d), PARE_OK);
    assert_int_equal(pare_path_what(in_tmp("m/n/o")), PARE_PATH_DIR);
    assert_int_equal(pare_dir_make("/", d), PARE_OK);
    assert_int_equal(pare_diags_count(d), 0);
    put_file(in_tmp("m/file"), "");
    assert_int_equal(pare_dir_make(in_tmp("m/file"), d), PARE_EINVAL);
    assert_int_equal(pare_dir_make(in_tmp("m/file/below"), d), PARE_EINVAL);
    assert_string_equal(pare_diags_get(d, 0)->code, "folder.make");
    assert_non_null(strstr(pare_diags_get(d, 1)->message, "m/file is a file"));
    assert_int_equal(pare_dir_make("", d), PARE_EINVAL);

    /* Removing never goes through a link. */
    assert_int_equal(pare_dir_make(in_tmp("keep"), d), PARE_OK);
    put_file(in_tmp("keep/precious"), "x");
    assert_int_equal(symlink(in_tmp("keep"), in_tmp("m/n/to-keep")), 0);
    assert_int_equal(symlink("nowhere", in_tmp("m/n/dangling")), 0);
    assert_int_equal(mkfifo(in_tmp("m/fifo"), 0600), 0);
    assert_int_equal(pare_tree_remove(in_tmp("m"), d), PARE_OK);
    assert_int_equal(pare_path_what(in_tmp("m")), PARE_PATH_NONE);
    assert_int_equal(pare_path_what(in_tmp("keep/precious")), PARE_PATH_FILE);
    assert_int_equal(symlink(in_tmp("keep"), in_tmp("alias")), 0);
    assert_int_equal(pare_tree_remove(in_tmp("alias/"), d), PARE_OK); /* the link goes, not what it names */
    assert_int_equal(pare_path_what(in_tmp("alias")), PARE_PATH_NONE);
    assert_int_equal(pare_path_what(in_tmp("keep/precious")), PARE_PATH_FILE);
    assert_int_equal(pare_tree_remove(in_tmp("absent"), d), PARE_OK);
    size_t before = pare_diags_count(d);
    static const char *const refused[] = {"", "/", "//", ".", "..", "./", "../"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(pare_tree_remove(refused[i], d), PARE_EINVAL);
    assert_int_equal(pare_tree_remove(in_tmp("keep/.."), d), PARE_EINVAL);
    assert_int_equal(pare_diags_count(d), before + 8);
    assert_int_equal(pare_path_what(in_tmp("keep/precious")), PARE_PATH_FILE);
    pare_diags_free(d);
}

static void test_rename_link(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_dir_make(in_tmp("rl"), d), PARE_OK);
    put_file(in_tmp("rl/a"), "one");
    put_file(in_tmp("rl/b"), "two");
    assert_int_equal(pare_path_rename(in_tmp("rl/a"), in_tmp("rl/b"), d), PARE_OK);
    char *text = get_file(in_tmp("rl/b"), NULL);
    assert_string_equal(text, "one");
    free(text);
    assert_int_equal(pare_path_rename(in_tmp("rl/absent"), in_tmp("rl/b"), d), PARE_EINVAL);

    put_file(in_tmp("rl/old"), "old");
    for (int again = 0; again < 2; again++) { /* twice: then both names are one file already */
        assert_int_equal(pare_path_link(in_tmp("rl/b"), in_tmp("rl/old"), d), PARE_OK);
        struct stat s;
        assert_int_equal(stat(in_tmp("rl/old"), &s), 0);
        assert_int_equal(s.st_nlink, 2);
    }
    size_t n;
    char **names = pare_dir_list(in_tmp("rl"), &n);
    assert_int_equal(n, 2); /* no temporary name is left */
    pare_dir_list_free(names);
    assert_int_equal(pare_path_link(in_tmp("rl/absent"), in_tmp("rl/x"), d), PARE_ENOTFOUND);
    assert_int_equal(pare_path_what(in_tmp("rl/x")), PARE_PATH_NONE);

    /* Another file system: a copy. */
    if (pare_path_what("/proc/self/status") == PARE_PATH_FILE) {
        assert_int_equal(pare_path_link("/proc/self/status", in_tmp("rl/copy"), d), PARE_OK);
        text = get_file(in_tmp("rl/copy"), &n);
        assert_true(n > 100 && strncmp(text, "Name:", 5) == 0);
        free(text);
    }
    assert_int_equal(pare_file_remove(in_tmp("rl/b")), PARE_OK);
    assert_int_equal(pare_file_remove(in_tmp("rl/b")), PARE_ENOTFOUND);
    pare_diags_free(d);
}

static void test_map(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_map_file *m;
    put_file(in_tmp("map"), "some text");
    assert_int_equal(pare_map_file_open(in_tmp("map"), d, &m), PARE_OK);
    assert_int_equal(m->len, 9);
    assert_memory_equal(m->data, "some text", 9);
    assert_string_equal(m->path, in_tmp("map"));
    assert_true(m->mapped);
    pare_map_file *again = pare_map_file_ref(m);
    pare_map_file_unref(m);
    assert_memory_equal(again->data, "some text", 9);
    pare_map_file_done(again, 0, UINT64_MAX);
    assert_memory_equal(again->data, "some text", 9); /* comes back */
    pare_map_file_done(again, 100, 5);
    pare_map_file_unref(again);
    pare_map_file_unref(NULL);

    put_file(in_tmp("empty"), "");
    assert_int_equal(pare_map_file_open(in_tmp("empty"), d, &m), PARE_OK);
    assert_int_equal(m->len, 0);
    pare_map_file_done(m, 0, 1);
    pare_map_file_unref(m);

    assert_int_equal(pare_diags_count(d), 0);
    assert_int_equal(pare_map_file_open("/dev/zero", d, &m), PARE_EINVAL); /* it has no end */
    assert_string_equal(pare_diags_get(d, 0)->code, "file.device");
    pare_diags_free(d);
    d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_map_file_open(in_tmp("absent"), d, &m), PARE_ENOTFOUND);
    assert_null(m);
    assert_int_equal(pare_map_file_open(tmpdir_path, d, &m), PARE_EINVAL);
    assert_null(m);
    assert_int_equal(pare_map_file_open(in_tmp("map/below"), d, &m), PARE_ENOTFOUND);
    assert_int_equal(pare_map_file_open("", d, &m), PARE_ENOTFOUND);
    assert_string_equal(pare_diags_get(d, 0)->code, "file.missing");
    assert_string_equal(pare_diags_get(d, 0)->path, in_tmp("absent"));
    assert_string_equal(pare_diags_get(d, 1)->code, "file.folder");
    if (geteuid() != 0) {
        assert_int_equal(chmod(in_tmp("map"), 0), 0);
        assert_int_equal(pare_map_file_open(in_tmp("map"), d, &m), PARE_EIO);
        assert_non_null(strstr(pare_diags_get(d, pare_diags_count(d) - 1)->message, strerror(EACCES)));
    }
    assert_int_equal(symlink("loop", in_tmp("loop")), 0);
    assert_int_equal(pare_map_file_open(in_tmp("loop"), d, &m), PARE_EIO);
    assert_string_equal(pare_diags_get(d, pare_diags_count(d) - 1)->code, "file.read");
    pare_diags_free(d);
}

static void *feed(void *arg) {
    FILE *f = fopen(arg, "wb");
    for (unsigned i = 0; i < 100000; i++) fwrite(&i, sizeof i, 1, f);
    fclose(f);
    return NULL;
}

static void test_map_pipe(void **state) {
    (void)state;
    static char path[4400];
    snprintf(path, sizeof path, "%s", in_tmp("pipe"));
    assert_int_equal(mkfifo(path, 0600), 0);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, feed, path), 0);
    pare_map_file *m;
    assert_int_equal(pare_map_file_open(path, NULL, &m), PARE_OK);
    pthread_join(t, NULL);
    assert_int_equal(m->len, 400000);
    assert_false(m->mapped);
    for (unsigned i = 0; i < 100000; i++) assert_memory_equal(m->data + 4 * i, &i, 4);
    pare_map_file_done(m, 0, m->len); /* nothing to give back, and nothing lost */
    assert_int_equal(m->data[4], 1);
    pare_map_file_unref(m);
}

static void test_map_done(void **state) {
    (void)state;
    size_t n = 3 * 4096 * 64 + 17;
    char *big = pare_xmalloc(n);
    for (size_t i = 0; i < n; i++) big[i] = (char)(i * 31 >> 3);
    assert_int_equal(pare_file_write(in_tmp("big"), big, n, NULL), PARE_OK);
    pare_map_file *m;
    assert_int_equal(pare_map_file_open(in_tmp("big"), NULL, &m), PARE_OK);
    assert_memory_equal(m->data, big, n);
    pare_map_file_done(m, 5, n - 5);
    assert_memory_equal(m->data, big, n);
    pare_map_file_unref(m);
    free(big);
}

static size_t entries(const char *dir) {
    size_t n = 0;
    char **names = pare_dir_list(dir, &n);
    pare_dir_list_free(names);
    return n;
}

static void test_out(void **state) {
    (void)state;
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_int_equal(pare_dir_make(in_tmp("out"), d), PARE_OK);
    static char path[4400];
    snprintf(path, sizeof path, "%s", in_tmp("out/file"));
    put_file(path, "before");
    pare_file_out *f;
    assert_int_equal(pare_file_out_open(path, d, &f), PARE_OK);
    /* Pieces below, at and above the buffer's size, in both orders. */
    size_t n = 3u << 20;
    unsigned char *block = pare_xmalloc(n);
    for (size_t i = 0; i < n; i++) block[i] = (unsigned char)(i * 2654435761u >> 13);
    static const size_t piece[] = {1, 0, 1000, 1 << 20, 7, (1 << 20) - 1, (1 << 20) + 1, 3, 2 << 20, 5};
    size_t total = 0;
    pare_sink sink = pare_file_out_sink(f);
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        assert_int_equal(sink.write(sink.ctx, block + i, piece[i]), PARE_OK);
        total += piece[i];
    }
    char *text = get_file(path, NULL);
    assert_string_equal(text, "before"); /* untouched until commit */
    free(text);
    assert_int_equal(entries(in_tmp("out")), 2);
    assert_int_equal(pare_file_out_commit(f), PARE_OK);
    assert_int_equal(entries(in_tmp("out")), 1);
    size_t len;
    text = get_file(path, &len);
    assert_int_equal(len, total);
    size_t at = 0;
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        assert_memory_equal(text + at, block + i, piece[i]);
        at += piece[i];
    }
    free(text);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(s.st_mode & 0777, 0666 & ~mask);

    assert_int_equal(pare_file_out_open(path, d, &f), PARE_OK);
    assert_int_equal(pare_file_out_write(f, block, n), PARE_OK);
    pare_file_out_abort(f);
    pare_file_out_abort(NULL);
    assert_int_equal(entries(in_tmp("out")), 1);
    uint64_t size;
    assert_true(pare_file_size(path, &size));
    assert_int_equal(size, total);

    /* A name as long as a name may be. */
    char longest[256];
    memset(longest, 'n', 255);
    longest[255] = 0;
    char *p = pare_path_join(in_tmp("out"), longest);
    assert_int_equal(pare_file_write(p, "x", 1, d), PARE_OK);
    free(p);

    assert_int_equal(pare_diags_count(d), 0);
    assert_int_equal(pare_file_write(in_tmp("absent/file"), "x", 1, d), PARE_EINVAL);
    assert_int_equal(pare_file_write(in_tmp("out"), "x", 1, d), PARE_EINVAL);
    assert_int_equal(pare_file_write(in_tmp("out/slash/"), "x", 1, d), PARE_EINVAL);
    assert_int_equal(pare_file_write("", "x", 1, d), PARE_EINVAL);
    assert_int_equal(pare_diags_count(d), 4);
    assert_string_equal(pare_diags_get(d, 0)->code, "file.write");
    assert_non_null(strstr(pare_diags_get(d, 0)->message, strerror(ENOENT)));
    if (geteuid() != 0) {
        assert_int_equal(chmod(in_tmp("out"), 0500), 0);
        assert_int_equal(pare_file_write(in_tmp("out/new"), "x", 1, d), PARE_EINVAL);
        assert_int_equal(chmod(in_tmp("out"), 0700), 0);
    }

    /* Devices are written in place, never replaced. */
    assert_int_equal(pare_file_write("/dev/null", block, n, d), PARE_OK);
    assert_int_equal(pare_path_what("/dev/null"), PARE_PATH_OTHER);
    size_t before = pare_diags_count(d);
    if (pare_path_what("/dev/full") == PARE_PATH_OTHER) { /* a full disk, told once */
        assert_int_equal(pare_file_out_open("/dev/full", d, &f), PARE_OK);
        assert_int_equal(pare_file_out_write(f, block, n), PARE_EIO);
        assert_int_equal(pare_file_out_write(f, block, n), PARE_EIO);
        assert_int_equal(pare_file_out_commit(f), PARE_EIO);
        assert_int_equal(pare_diags_count(d), before + 1);
        assert_non_null(strstr(pare_diags_get(d, before)->message, strerror(ENOSPC)));
    }
    free(block);
    pare_diags_free(d);
}

/* A disk that fills up, played by the limit on a file's size: the old file stays, no temporary one is left. */
static void test_out_full(void **state) {
    (void)state;
    assert_int_equal(pare_dir_make(in_tmp("full"), NULL), PARE_OK);
    put_file(in_tmp("full/file"), "before");
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit lim = {2 << 20, 2 << 20};
        if (setrlimit(RLIMIT_FSIZE, &lim) != 0) _exit(10);
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        char *block = pare_xcalloc(1, 3 << 20);
        int rc = pare_file_write(in_tmp("full/file"), block, 3 << 20, d) == PARE_EIO ? 0 : 11;
        if (!rc && pare_diags_count(d) != 1) rc = 12;
        if (!rc && !strstr(pare_diags_get(d, 0)->message, strerror(EFBIG))) rc = 13;
        free(block);
        pare_diags_free(d);
        _exit(rc);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(entries(in_tmp("full")), 1);
    char *text = get_file(in_tmp("full/file"), NULL);
    assert_string_equal(text, "before");
    free(text);
}

typedef struct sums {
    atomic_uint hits[5000];
    atomic_uint nested;
} sums;

static void inner(void *ctx, uint64_t i) {
    (void)i;
    atomic_fetch_add(&((sums *)ctx)->nested, 1);
}

static void outer(void *ctx, uint64_t i) {
    sums *s = ctx;
    atomic_fetch_add(&s->hits[i], 1);
    if (i % 100 == 0) pare_parallel(7, inner, s);
}

static void *concurrent(void *arg) {
    for (int k = 0; k < 20; k++) pare_parallel(5000, outer, arg);
    return NULL;
}

static void test_parallel(void **state) {
    (void)state;
    static sums s[3];
    static const uint32_t threads[] = {1, 2, 7, 3};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        pare_threads_set(threads[t]);
        assert_int_equal(pare_threads(), threads[t]);
        memset(s, 0, sizeof s);
        pare_parallel(5000, outer, &s[0]);
        for (int i = 0; i < 5000; i++) assert_int_equal(s[0].hits[i], 1);
        assert_int_equal(s[0].nested, 350);
        pare_parallel(0, outer, &s[0]);
        pare_parallel(1, outer, &s[0]);
        assert_int_equal(s[0].hits[0], 2);
    }
    memset(s, 0, sizeof s);
    pthread_t t[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, concurrent, &s[i + 1]), 0);
    concurrent(&s[0]);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < 5000; i++) assert_int_equal(s[j].hits[i], 20);
    pare_threads_set(0);
    assert_int_equal(pare_threads(), pare_cpu_count());
    assert_true(pare_cpu_count() >= 1);
}

static void test_cpu(void **state) {
    (void)state;
    assert_true(strlen(pare_cpu_model()) > 0);
    char *list = pare_xstrdup(pare_cpu_features()), *rest = list, *word, *last = NULL;
    while ((word = strtok_r(rest, ",", &rest))) {
        if (last) assert_true(strcmp(last, word) < 0); /* sorted, each once */
        last = word;
    }
    free(list);
#if defined(__x86_64__)
    assert_int_equal(strstr(pare_cpu_features(), "avx2") != NULL, __builtin_cpu_supports("avx2") != 0);
#endif
    double a = pare_clock(), b = pare_clock();
    assert_true(b >= a && b - a < 10);
}

static void test_dl(void **state) {
    (void)state;
    char *error = NULL;
    assert_null(pare_dl_open(in_tmp("absent.so"), &error));
    assert_non_null(error);
    assert_non_null(strstr(error, "absent.so"));
    free(error);
    void *h = pare_dl_open("libm.so.6", &error);
    assert_non_null(h);
    assert_non_null(pare_dl_sym(h, "cos"));
    assert_null(pare_dl_sym(h, "pare_no_such_symbol"));
}

/* The first signal sets the flag, the second ends the process as the signal would have. */
static void test_cancel(void **state) {
    (void)state;
    assert_false(pare_cancelled());
    pare_cancel_request();
    assert_true(pare_cancelled());
    pare_cancel_reset();
    assert_false(pare_cancelled());
    static const int which[] = {SIGINT, SIGTERM};
    for (int k = 0; k < 2; k++) {
        fflush(stdout);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            signal(which[k], SIG_IGN); /* as in the background of a script */
            pare_cancel_install();
            raise(which[k]);
            if (!pare_cancelled()) _exit(1);
            raise(which[k]);
            _exit(2);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), which[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel), /* first: it forks, which thread sanitizers want done before there are threads */
        cmocka_unit_test(test_memory),   cmocka_unit_test(test_paths),       cmocka_unit_test(test_looking),
        cmocka_unit_test(test_folders),  cmocka_unit_test(test_rename_link), cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_pipe), cmocka_unit_test(test_map_done),    cmocka_unit_test(test_out),
        cmocka_unit_test(test_out_full), cmocka_unit_test(test_parallel),    cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_dl),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
