/* base/os_file.c - see os.h: whole files in (mapped) and out (temporary name, fsync, rename).
 *
 * Is not: other work on paths (os.c). May use: mem, diag, str, POSIX, and madvise.
 */
#define _DEFAULT_SOURCE
#include "base/os.h"

#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static const unsigned char nothing[1];

static pare_status fail_read(pare_diags *d, const char *path, int err) {
    if (err == ENOENT || err == ENOTDIR)
        return pare_fail_file(d, PARE_ENOTFOUND, path, "file.missing",
                              "check the path; relative ones start at the "
                              "folder of the file that names them, or at the current one on the command line",
                              "there is no such file");
    return pare_fail_file(d, PARE_EIO, path, "file.read", NULL, "can't be read: %s", strerror(err));
}

/* A pipe or a device: all of it, to memory. */
static pare_status read_stream(int fd, const char *path, pare_diags *d, pare_map_file *m) {
    size_t cap = 0, len = 0;
    unsigned char *data = NULL;
    for (;;) {
        if (pare_cancelled()) {
            free(data);
            return PARE_ECANCELLED;
        }
        if (len == cap) {
            size_t more = cap ? cap * 2 : (size_t)1 << 16;
            unsigned char *bigger = more > cap ? pare_try_alloc(more) : NULL;
            if (!bigger) {
                free(data);
                return pare_fail_file(d, PARE_ENOMEM, path, "file.memory", "store it in a regular file first",
                                      "out of memory after %zu bytes", len);
            }
            if (len) memcpy(bigger, data, len);
            free(data);
            data = bigger;
            cap = more;
        }
        ssize_t k = read(fd, data + len, cap - len);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            int err = errno;
            free(data);
            return fail_read(d, path, err);
        }
        if (!k) break;
        len += (size_t)k;
    }
    m->data = data;
    m->len = len;
    return PARE_OK;
}

pare_status pare_map_file_open(const char *path, pare_diags *d, pare_map_file **out) {
    *out = NULL;
    int fd;
    do /* a pipe without a writer waits here: a signal ends that */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    while (fd < 0 && errno == EINTR && !pare_cancelled());
    if (fd < 0 && pare_cancelled()) return PARE_ECANCELLED;
    if (fd < 0) return fail_read(d, path, errno);
    pare_map_file *m = pare_xcalloc(1, sizeof *m);
    m->data = nothing;
    m->path = pare_xstrdup(path);
    m->refs = 1;
    pare_status st = PARE_OK;
    struct stat s;
    if (fstat(fd, &s) != 0) {
        st = fail_read(d, path, errno);
    } else if (S_ISDIR(s.st_mode)) {
        st = pare_fail_file(d, PARE_EINVAL, path, "file.folder", "name a file in it", "this is a folder, not a file");
    } else if (S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode)) {
        st = pare_fail_file(d, PARE_EINVAL, path, "file.device", "name a file", "this is a device, not a file");
    } else if (!S_ISREG(s.st_mode)) {
        st = read_stream(fd, path, d, m);
    } else if (s.st_size == 0) {
        /* Files under /proc and /sys say 0 and hold text: reading tells. Truly empty ones give nothing. */
        st = read_stream(fd, path, d, m);
    } else if ((uint64_t)s.st_size > SIZE_MAX) {
        st = pare_fail_file(d, PARE_EUNSUPPORTED, path, "file.memory", NULL, "%lld bytes don't fit the address space",
                            (long long)s.st_size);
    } else {
        void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = fail_read(d, path, errno);
        } else {
            m->data = p;
            m->len = (uint64_t)s.st_size;
            m->mapped = 1;
            if (m->len >= (1u << 20)) (void)madvise(p, (size_t)m->len, MADV_WILLNEED);
        }
    }
    close(fd);
    if (st != PARE_OK) {
        pare_map_file_unref(m);
        return st;
    }
    *out = m;
    return PARE_OK;
}

pare_map_file *pare_map_file_ref(pare_map_file *m) {
    __atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
    return m;
}

void pare_map_file_unref(pare_map_file *m) {
    if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    if (m->data != nothing) {
        void *p;
        memcpy(&p, &m->data, sizeof p); /* the memory is ours: the const is for readers */
        if (m->mapped)
            munmap(p, (size_t)m->len);
        else
            free(p);
    }
    free(m->path);
    free(m);
}

void pare_map_file_done(pare_map_file *m, uint64_t offset, uint64_t len) {
    if (!m->mapped || offset >= m->len) return;
    if (len > m->len - offset) len = m->len - offset;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = (offset + page - 1) / page * page, to = offset + len;
    /* The last page of the file holds nothing beyond it and may go whole. */
    if (to < m->len) to = to / page * page;
    if (to <= from) return;
    uintptr_t at = (uintptr_t)m->data + (uintptr_t)from;
    (void)madvise((void *)at, (size_t)(to - from), MADV_DONTNEED);
}

/* ---- writing ---- */

enum { BUFFER = 1 << 20 };

struct pare_file_out {
    char *path, *temp; /* temp NULL: a device or a pipe, written in place */
    pare_diags *d;
    int fd;
    pare_status st; /* of the first failure; told already */
    size_t used;
    unsigned char *buffer;
};

static pare_status fail_write(pare_file_out *f, int err, const char *hint) {
    if (f->st != PARE_OK) return f->st;
    f->st = pare_fail_file(f->d, PARE_EIO, f->path, "file.write",
                           hint                             ? hint
                           : err == ENOSPC || err == EDQUOT ? "make room, or name another folder"
                                                            : NULL,
                           "can't be written: %s", strerror(err));
    return f->st;
}

/* What open says: a path that can't be written is wrong input, a full disk a failed run. */
static pare_status fail_create(pare_diags *d, const char *path, int err) {
    bool input = err == EACCES || err == EPERM || err == EROFS || err == ENOENT || err == ENOTDIR || err == EISDIR ||
                 err == ELOOP || err == ENAMETOOLONG;
    const char *hint = err == ENOENT ? "the folder does not exist" : NULL;
    return pare_fail_file(d, input ? PARE_EINVAL : PARE_EIO, path, "file.write", hint, "can't be written: %s",
                          strerror(err));
}

pare_status pare_file_out_open(const char *path, pare_diags *d, pare_file_out **out) {
    static uint32_t serial;
    *out = NULL;
    struct stat s;
    bool there = stat(path, &s) == 0;
    if (!*path || (there && S_ISDIR(s.st_mode)) || path[strlen(path) - 1] == '/')
        return fail_create(d, path, *path ? EISDIR : ENOENT);
    pare_file_out *f = pare_xcalloc(1, sizeof *f);
    f->path = pare_xstrdup(path);
    f->d = d;
    if (there && !S_ISREG(s.st_mode)) {
        f->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    } else {
        char *dir = pare_path_dir(path);
        for (int tries = 0; tries < 100; tries++) {
            pare_sb name = {0};
            pare_sb_printf(&name, "%s/.%.100s-%ld-%u.tmp", dir, pare_path_base(path), (long)getpid(),
                           __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED));
            free(f->temp);
            f->temp = name.data;
            f->fd = open(f->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (f->fd >= 0 || errno != EEXIST) break;
        }
        int err = errno;
        free(dir);
        errno = err;
    }
    if (f->fd < 0) {
        int err = errno;
        free(f->temp);
        free(f->path);
        free(f);
        return fail_create(d, path, err);
    }
    f->buffer = pare_xmalloc(BUFFER);
    *out = f;
    return PARE_OK;
}

static pare_status write_all(pare_file_out *f, const unsigned char *p, size_t n) {
    while (n) {
        size_t piece = n < ((size_t)1 << 30) ? n : (size_t)1 << 30;
        ssize_t k = write(f->fd, p, piece);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return fail_write(f, errno, NULL);
        p += k;
        n -= (size_t)k;
    }
    return PARE_OK;
}

static pare_status flush(pare_file_out *f) {
    size_t n = f->used;
    f->used = 0;
    return n ? write_all(f, f->buffer, n) : PARE_OK;
}

pare_status pare_file_out_write(pare_file_out *f, const void *data, size_t n) {
    if (f->st != PARE_OK) return f->st;
    if (n > BUFFER - f->used) {
        pare_status st = flush(f);
        if (st != PARE_OK) return st;
    }
    if (n >= BUFFER) return write_all(f, data, n);
    if (n) memcpy(f->buffer + f->used, data, n);
    f->used += n;
    return PARE_OK;
}

static pare_status sink_write(void *ctx, const void *data, size_t n) { return pare_file_out_write(ctx, data, n); }

pare_sink pare_file_out_sink(pare_file_out *f) { return (pare_sink){sink_write, f}; }

static void file_out_free(pare_file_out *f) {
    free(f->temp);
    free(f->path);
    free(f->buffer);
    free(f);
}

pare_status pare_file_out_commit(pare_file_out *f) {
    if (f->st == PARE_OK) flush(f);
    /* EINVAL, ENOTSUP: a file system that can't promise; nothing to be done about it. */
    if (f->st == PARE_OK && f->temp && fsync(f->fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        fail_write(f, errno, NULL);
    if (close(f->fd) != 0 && errno != EINTR && f->st == PARE_OK) fail_write(f, errno, NULL);
    f->fd = -1;
    if (f->st == PARE_OK && f->temp) {
        f->st = pare_path_rename(f->temp, f->path, f->d);
    }
    pare_status st = f->st;
    if (st != PARE_OK && f->temp) (void)unlink(f->temp);
    file_out_free(f);
    return st;
}

void pare_file_out_abort(pare_file_out *f) {
    if (!f) return;
    close(f->fd);
    if (f->temp) (void)unlink(f->temp);
    file_out_free(f);
}

pare_status pare_file_write(const char *path, const void *data, size_t n, pare_diags *d) {
    pare_file_out *f;
    pare_status st = pare_file_out_open(path, d, &f);
    if (st != PARE_OK) return st;
    pare_file_out_write(f, data, n);
    return pare_file_out_commit(f); /* tells what write met */
}
