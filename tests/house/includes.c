/* tests/house/includes.c - do the arrows of the house point the right way?
 *
 * house_includes ROOT reads every #include in core, plugins, sdk and tests, however it is spelt ("x", <x>, with ..,
 * with comments or line breaks inside), finds the file of ours that it could mean, and fails when a file uses what it
 * may not: sdk only sdk and the C library; a layer of core only those before it and sdk; a plugin only sdk and its own
 * folder; test plugins as plugins do; only tests may use tests. house_includes --self-test tries the rules on a tree
 * made for it. Is not a preprocessor: an include under #if 0 counts. May use: base.
 */
#define _DEFAULT_SOURCE
#include "base/os.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* DESIGN: each layer may use those before it. */
static const char *const layers[] = {"base", "model", "engine", "data", "plugin", "train", "pipeline", "cli"};

static const char *const c_library[] = {
    "assert.h",  "complex.h", "ctype.h",  "errno.h",  "fenv.h",   "float.h",       "inttypes.h", "iso646.h",
    "limits.h",  "locale.h",  "math.h",   "setjmp.h", "signal.h", "stdalign.h",    "stdarg.h",   "stdatomic.h",
    "stdbool.h", "stddef.h",  "stdint.h", "stdio.h",  "stdlib.h", "stdnoreturn.h", "string.h",   "tgmath.h",
    "threads.h", "time.h",    "uchar.h",  "wchar.h",  "wctype.h"};

/* Libraries' headers that a file of ours is called like: <yaml.h> is libyaml's, "base/yaml.h" ours. */
static const char *const libraries[] = {"yaml.h"};

static const char *const extensions[] = {".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".inc", ".cu", ".cuh"};

typedef struct house {
    const char *root;
    PARE_VEC(char *) files; /* relative to root, with / */
    size_t includes, wrong;
    bool quiet;
} house;

#define COUNT(a) (sizeof(a) / sizeof *(a))

static int layer_of(const char *name, size_t n) {
    for (size_t i = 0; i < COUNT(layers); i++)
        if (strlen(layers[i]) == n && memcmp(layers[i], name, n) == 0) return (int)i;
    return -1;
}

static bool starts(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

static bool is_source(const char *name) {
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < COUNT(extensions); i++)
        if (strcmp(dot, extensions[i]) == 0) return true;
    return false;
}

static void collect(house *h, const char *rel) {
    char *path = pare_path_join(h->root, rel);
    char **names = pare_dir_list(path, NULL);
    for (char **n = names; n && *n; n++) {
        char *sub = pare_path_join(rel, *n), *full = pare_path_join(h->root, sub);
        pare_path_kind kind = pare_path_what(full);
        if (kind == PARE_PATH_DIR)
            collect(h, sub);
        else if (kind == PARE_PATH_FILE && is_source(*n))
            pare_vec_push(&h->files, pare_xstrdup(sub));
        free(full);
        free(sub);
    }
    pare_dir_list_free(names);
    free(path);
}

static bool known(const house *h, const char *rel) {
    for (size_t i = 0; i < h->files.len; i++)
        if (strcmp(h->files.data[i], rel) == 0) return true;
    return false;
}

/* dir + "/" + spelt with . and .. resolved; NULL when it leaves the tree. */
static char *resolved(const char *dir, const char *spelt) {
    char *joined = pare_path_join(dir, spelt), *out = pare_xcalloc(strlen(joined) + 1, 1);
    size_t n = 0;
    for (char *rest = joined, *part; (part = strtok_r(rest, "/", &rest));) {
        if (strcmp(part, ".") == 0) continue;
        if (strcmp(part, "..") == 0) {
            if (!n) {
                free(out);
                out = NULL;
                break;
            }
            while (n && out[--n] != '/') {
            }
            out[n] = 0;
            continue;
        }
        if (n) out[n++] = '/';
        memcpy(out + n, part, strlen(part) + 1);
        n += strlen(part);
    }
    free(joined);
    return out;
}

/* The file of ours that `spelt` in `file` means or, under some include folder, could mean. NULL: none. */
static char *target_of(const house *h, const char *file, const char *spelt, bool quoted) {
    char *dir = pare_path_dir(file);
    char *own = resolved(dir, spelt);
    bool relative = own && known(h, own) && (quoted || strstr(spelt, ".."));
    free(dir);
    if (relative) return own;
    free(own);
    static const char *const roots[] = {"sdk", "core", "tests", "plugins", ""};
    for (size_t i = 0; i < COUNT(roots); i++) {
        char *p = resolved(roots[i], spelt);
        if (p && known(h, p)) return p;
        free(p);
    }
    for (size_t i = 0; !quoted && i < COUNT(c_library); i++)
        if (strcmp(spelt, c_library[i]) == 0) return NULL;
    for (size_t i = 0; !quoted && i < COUNT(libraries); i++)
        if (strcmp(spelt, libraries[i]) == 0) return NULL;
    /* Whatever folder a build file may add: a file whose path ends like this one. */
    const char *tail = spelt;
    while (starts(tail, "../") || starts(tail, "./")) tail = strchr(tail, '/') + 1;
    for (size_t i = 0; i < h->files.len; i++) {
        const char *f = h->files.data[i];
        size_t n = strlen(f), m = strlen(tail);
        if (m && n > m && f[n - m - 1] == '/' && strcmp(f + n - m, tail) == 0) return pare_xstrdup(f);
    }
    return NULL;
}

/* The first `parts` components of a path, with the slash behind them. */
static size_t prefix(const char *path, int parts) {
    const char *p = path;
    while (parts-- && (p = strchr(p, '/'))) p++;
    return p ? (size_t)(p - path) : 0;
}

/* NULL when `file` may include `target` (NULL: a header that is not ours, spelt so), else why not. */
static const char *verdict(const char *file, const char *target, const char *spelt) {
    if (*spelt == '/') return "an absolute path holds on one machine only";
    if (starts(file, "sdk/")) {
        if (target) return starts(target, "sdk/") ? NULL : "sdk uses only sdk and the C library";
        for (size_t i = 0; i < COUNT(c_library); i++)
            if (strcmp(spelt, c_library[i]) == 0) return NULL;
        /* The optional bridge is about this header and nothing else. */
        if (starts(file, "sdk/pare/dlpack") && strcmp(spelt, "dlpack/dlpack.h") == 0) return NULL;
        return "sdk uses only sdk and the C library";
    }
    if (!target) return strstr(spelt, "..") ? "a path with .. that leads to no file of ours" : NULL;
    if (starts(target, "sdk/")) return NULL;
    if (starts(file, "core/")) {
        size_t end = prefix(file, 2);
        int from = end > 6 ? layer_of(file + 5, end - 6) : -1;
        if (from < 0) return "a file of core lies in one of its layers";
        if (!starts(target, "core/")) return "core uses only core and sdk";
        end = prefix(target, 2);
        int to = end > 6 ? layer_of(target + 5, end - 6) : -1;
        if (to < 0) return "a file of core lies in one of its layers";
        return to <= from ? NULL : "a layer uses only the layers before it";
    }
    if (starts(file, "plugins/") || starts(file, "tests/plugins/")) {
        size_t own = prefix(file, 2); /* plugins/NAME/ or tests/plugins/ */
        return own && strncmp(file, target, own) == 0 ? NULL : "a plugin uses only sdk and its own folder";
    }
    return NULL; /* tests may use everything */
}

static void judge(house *h, const char *file, unsigned line, const char *spelt, bool quoted) {
    h->includes++;
    char *target = target_of(h, file, spelt, quoted);
    const char *why = verdict(file, target, spelt);
    if (why) {
        h->wrong++;
        if (!h->quiet)
            fprintf(stderr, "%s:%u: includes %s (%s): %s\n", file, line, spelt, target ? target : "not ours", why);
    }
    free(target);
}

static void complain(house *h, const char *file, unsigned line, const char *why) {
    h->wrong++;
    if (!h->quiet) fprintf(stderr, "%s:%u: %s\n", file, line, why);
}

/* Comments become blanks and continued lines one line, as a compiler does before it looks for directives. Strings and
 * character constants are kept, so that what looks like a comment in them is none. Line numbers: newlines stay. */
static char *stripped(const char *s, size_t n) {
    char *out = pare_xmalloc(n + 2);
    size_t o = 0, owed = 0; /* newlines taken by continued lines, given back at the line's end */
    enum { CODE, LINE, BLOCK, STRING, CHAR } in = CODE;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\' && (s[i + 1] == '\n' || (s[i + 1] == '\r' && s[i + 2] == '\n'))) {
            i += s[i + 1] == '\r' ? 2 : 1;
            owed++;
            continue;
        }
        char c = s[i], next = i + 1 < n ? s[i + 1] : 0;
        if (c == '\n') {
            if (in == LINE || in == STRING || in == CHAR) in = CODE;
            if (in == BLOCK) {
                owed++; /* a directive may go on behind a comment of several lines */
                continue;
            }
            for (; owed; owed--) out[o++] = '\n';
            out[o++] = '\n';
        } else if (in == CODE && c == '/' && (next == '/' || next == '*')) {
            in = next == '/' ? LINE : BLOCK;
            out[o++] = ' ';
            i++;
        } else if (in == BLOCK) {
            if (c == '*' && next == '/') {
                in = CODE;
                i++;
            }
        } else if (in != LINE) {
            if ((in == STRING || in == CHAR) && c == '\\' && next && next != '\n') {
                out[o++] = c;
                out[o++] = next;
                i++;
                continue;
            }
            if (c == '"' && in != CHAR) in = in == STRING ? CODE : STRING;
            if (c == '\'' && in != STRING) {
                /* 1'000 of C++14 is no character constant */
                bool digit = in == CODE && i && ((s[i - 1] >= '0' && s[i - 1] <= '9'));
                if (!digit) in = in == CHAR ? CODE : CHAR;
            }
            out[o++] = c ? c : ' ';
        }
    }
    out[o] = 0;
    return out;
}

static const char *blanks(const char *p) {
    while (*p == ' ' || *p == '\t' || *p == '\f' || *p == '\v' || *p == '\r') p++;
    return p;
}

static void read_line(house *h, const char *file, unsigned number, const char *p) {
    p = blanks(p);
    if (starts(p, "%:"))
        p += 2;
    else if (*p == '#')
        p++;
    else
        return;
    p = blanks(p);
    static const char *const words[] = {"include_next", "include", "import", "embed"};
    size_t k = 0;
    for (; k < COUNT(words); k++)
        if (starts(p, words[k])) break;
    if (k == COUNT(words)) return;
    p = blanks(p + strlen(words[k]));
    if (*p != '"' && *p != '<') {
        complain(h, file, number, "the name of the header can't be read: spell it out");
        return;
    }
    const char *end = strchr(p + 1, *p == '"' ? '"' : '>');
    if (!end) return; /* the compiler's business */
    char *spelt = pare_xstrndup(p + 1, (size_t)(end - p - 1));
    judge(h, file, number, spelt, *p == '"');
    free(spelt);
}

static void read_file(house *h, const char *rel) {
    char *path = pare_path_join(h->root, rel);
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_map_file *m = NULL;
    if (pare_map_file_open(path, d, &m) == PARE_OK) {
        char *raw = pare_xcalloc((size_t)m->len + 3, 1);
        if (m->len) memcpy(raw, m->data, (size_t)m->len);
        char *text = stripped(raw, (size_t)m->len);
        unsigned number = 1;
        for (char *line = text, *eol; *line; line = eol + 1, number++) {
            eol = strchr(line, '\n');
            if (eol) *eol = 0;
            read_line(h, rel, number, line);
            if (!eol) break;
        }
        free(text);
        free(raw);
    } else {
        h->wrong++;
    }
    pare_map_file_unref(m);
    pare_diags_free(d);
    free(path);
}

/* Number of wrong includes. */
static size_t inspect(house *h, const char *root) {
    static const char *const parts[] = {"core", "plugins", "sdk", "tests"};
    h->root = root;
    for (size_t i = 0; i < COUNT(parts); i++) collect(h, parts[i]);
    for (size_t i = 0; i < h->files.len; i++) read_file(h, h->files.data[i]);
    return h->wrong;
}

static void house_free(house *h) {
    for (size_t i = 0; i < h->files.len; i++) free(h->files.data[i]);
    pare_vec_free(&h->files);
}

/* ---- the self-test: one file at a time is put into a good tree and must be found, or must not ---- */

static const char *const good_tree[][2] = {
    {"sdk/pare/status.h", "#include <stdint.h>\n"},
    {"sdk/pare/plugin.h", "#include <pare/status.h>\n#include \"status.h\"\n"},
    {"core/base/os.h", "#include <pare/status.h>\n#include <pthread.h>\n"},
    {"core/base/os.c", "#include \"base/os.h\"\n#include \"os.h\"\n"},
    {"core/base/yaml.h", "#include <yaml.h>\n"},
    {"core/model/model.h", "#include \"base/os.h\"\n"},
    {"core/model/zoo/net.c", "#include \"../model.h\"\n#include \"../../base/os.h\"\n"},
    {"core/pipeline/run.h", "#include <model/model.h>\n"},
    {"core/cli/main.c", "#include \"pipeline/run.h\"\n"},
    {"plugins/prune/prune.h", "#include <pare/plugin.h>\n#include <math.h>\n"},
    {"plugins/prune/prune.c", "#include \"prune.h\"\n#include \"../../sdk/pare/plugin.h\"\n"},
    {"tests/base/test_os.c", "#include \"base/os.h\"\n#include \"../../plugins/prune/prune.h\"\n"},
    {"tests/plugins/good.c", "#include <pare/plugin.h>\n"},
};

static const struct {
    const char *path, *text;
    bool wrong;
} cases[] = {
    {"core/base/x.c", "#include \"model/model.h\"\n", true},
    {"core/base/x.c", "#include <model/model.h>\n", true},
    {"core/base/x.c", "#include \"../model/model.h\"\n", true},
    {"core/base/x.c", "#include <../model/model.h>\n", true},
    {"core/base/x.c", "#include \"../base/../model/./model.h\"\n", true},
    {"core/base/x.c", "#include \"model.h\"\n", true}, /* some -I could find it */
    {"core/base/x.c", "#include \"zoo/../model.h\"\n", true},
    {"plugins/prune/x.c", "#include <yaml.h>\n", false},
    {"plugins/prune/x.c", "#include \"yaml.h\"\n", true},
    {"plugins/prune/x.c", "#include <base/yaml.h>\n", true},
    {"core/base/x.c", "  #  include\t\"model/model.h\"\n", true},
    {"core/base/x.c", "/* a */#/* b */include/* c */\"model/model.h\"\n", true},
    {"core/base/x.c", "/* a\n b */ #include \"model/model.h\"\n", true},
    {"core/base/x.c", "#inc\\\nlude \\\n \"model/model.h\"\n", true},
    {"core/base/x.c", "%:include \"model/model.h\"\n", true},
    {"core/base/x.c", "#include_next <model/model.h>\n", true},
    {"core/base/x.c", "#define H \"model/model.h\"\n#include H\n", true},
    {"core/base/x.c", "#if 0\n#include \"model/model.h\"\n#endif\n", true},
    {"core/base/x.c", "#include \"model/model.h\"", true}, /* no newline at the end */
    {"core/base/x.c", "const char *s = \"/*\";\n#include \"model/model.h\"\nconst char *t = \"*/\";\n", true},
    {"core/base/x.c", "char q = '\"';\n#include \"model/model.h\"\n", true},
    {"core/base/x.c", "// #include \"model/model.h\"\n", false},
    {"core/base/x.c", "/*\n#include \"model/model.h\"\n*/\n", false},
    {"core/base/x.c", "const char *s = \"#include <model/model.h>\";\n", false},
    {"core/base/x.c", "#include \"base/os.h\"\n#include <yaml.h>\n", false},
    {"core/base/x.h", "#include \"model/model.h\"\n", true},
    {"core/model/x.c", "#include \"pipeline/run.h\"\n", true},
    {"core/plugin/x.c", "#include \"pipeline/run.h\"\n", true},
    {"core/plugin/x.c", "#include \"model/model.h\"\n", false},
    {"core/pipeline/x.c", "#include \"prune/prune.h\"\n", true},
    {"core/pipeline/x.c", "#include \"../../plugins/prune/prune.h\"\n", true},
    {"core/pipeline/x.c", "#include \"prune.h\"\n", true},
    {"core/pipeline/x.c", "#include \"../../tests/plugins/good.c\"\n", true},
    {"core/pipeline/x.c", "#include \"cli/main.c\"\n", true},
    {"core/pipeline/x.c", "#include \"/usr/include/stdio.h\"\n", true},
    {"core/pipeline/x.c", "#include \"../../../elsewhere.h\"\n", true},
    {"core/x.c", "#include \"base/os.h\"\n", true},       /* in no layer */
    {"core/magic/x.c", "#include \"base/os.h\"\n", true}, /* in a layer nobody knows */
    {"sdk/pare/x.h", "#include \"base/os.h\"\n", true},
    {"sdk/pare/x.h", "#include \"../../core/base/os.h\"\n", true},
    {"sdk/pare/x.h", "#include <unistd.h>\n", true},
    {"sdk/pare/x.h", "#include <jansson.h>\n", true},
    {"sdk/pare/x.h", "#include <dlpack/dlpack.h>\n", true},
    {"sdk/pare/dlpack_bridge.h", "#include <dlpack/dlpack.h>\n", false},
    {"sdk/pare/x.h", "#include <string.h>\n#include <pare/status.h>\n", false},
    {"plugins/prune/x.c", "#include \"base/os.h\"\n", true},
    {"plugins/prune/x.c", "#include <base/os.h>\n", true},
    {"plugins/prune/x.c", "#include \"../../core/base/os.h\"\n", true},
    {"plugins/prune/x.c", "#include \"os.h\"\n", true},
    {"plugins/other/x.c", "#include \"../prune/prune.h\"\n", true},
    {"plugins/other/x.c", "#include <prune/prune.h>\n", true},
    {"plugins/other/x.cu", "#include \"base/os.h\"\n", true},
    {"plugins/other/x.cpp", "int big = 1'000'000;\n#include \"base/os.h\"\n", true},
    {"plugins/other/x.c", "#include <dnnl.h>\n#include \"pare/plugin.h\"\n", false},
    {"tests/plugins/x.c", "#include \"base/os.h\"\n", true},
    {"tests/model/x.c", "#include \"cli/main.c\"\n", false},
};

static bool put(const char *root, const char *rel, const char *text) {
    char *path = pare_path_join(root, rel), *dir = pare_path_dir(path);
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    bool ok = pare_dir_make(dir, d) == PARE_OK && pare_file_write(path, text, strlen(text), d) == PARE_OK;
    pare_diags_free(d);
    free(path);
    free(dir);
    return ok;
}

static int self_test(void) {
    const char *tmp = getenv("TMPDIR");
    char *root = pare_path_join(tmp && *tmp ? tmp : "/tmp", "pare-house-XXXXXX");
    if (!mkdtemp(root)) {
        fprintf(stderr, "no temporary folder: %s\n", root);
        return 1;
    }
    int failed = 0;
    for (size_t i = 0; i < COUNT(good_tree); i++) failed += !put(root, good_tree[i][0], good_tree[i][1]);
    house all = {0};
    if (inspect(&all, root) != 0 || all.includes != 20) {
        fprintf(stderr, "the good tree: %zu wrong of %zu includes\n", all.wrong, all.includes);
        failed++;
    }
    house_free(&all);
    for (size_t i = 0; i < COUNT(cases); i++) {
        house h = {.quiet = true};
        failed += !put(root, cases[i].path, cases[i].text);
        if ((inspect(&h, root) == 1) != cases[i].wrong || h.wrong > 1) {
            fprintf(stderr, "case %zu, %s:\n%s%zu wrong\n", i, cases[i].path, cases[i].text, h.wrong);
            failed++;
        }
        house_free(&h);
        char *path = pare_path_join(root, cases[i].path);
        pare_file_remove(path);
        free(path);
    }
    pare_tree_remove(root, NULL);
    free(root);
    printf("%zu cases, %d failed\n", COUNT(cases), failed);
    return failed != 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--self-test") == 0) return self_test();
    if (argc != 2) {
        fprintf(stderr, "usage: house_includes ROOT | --self-test\n");
        return 2;
    }
    house h = {0};
    inspect(&h, argv[1]);
    printf("%zu includes in %zu files, %zu wrong\n", h.includes, h.files.len, h.wrong);
    int rc = h.wrong || !h.includes;
    house_free(&h);
    return rc;
}
