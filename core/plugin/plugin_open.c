/* plugin/plugin_open.c - one candidate: the ELF header, dlopen, the version gate, what the plugin declares.
 *
 * The header and the segment table are read first: the system's loader says "invalid ELF header" of a text file and
 * dies of SIGBUS on a truncated object. Is not: the search (plugin.c). May use: base, sdk, param.h.
 */
#include "plugin/plugin_open.h"

#include "base/os.h"
#include "plugin/param.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file, before it is opened ---- */

enum { ELF_IDENT = 16, ELF64_HEADER = 64, ELF64_SEGMENT = 56, ELF_TYPE_DYN = 3, ELF_CLASS_64 = 2, ELF_PT_LOAD = 1 };

static uint64_t get(const unsigned char *p, size_t n, unsigned char order) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint64_t)p[order == 2 ? n - 1 - i : i] << (8 * i);
    return v;
}

static bool is_elf(const unsigned char *h, size_t n) { return n >= 20 && memcmp(h, "\177ELF", 4) == 0; }

static pare_elf_kind kind_of(const unsigned char *h) {
    return (pare_elf_kind){true, h[4], h[5], (uint16_t)get(h + 18, 2, h[5])};
}

pare_elf_kind pare_elf_kind_own(void) {
    pare_elf_kind kind = {0};
    unsigned char head[20];
    char *exe = pare_path_exe();
    FILE *f = exe ? fopen(exe, "rb") : NULL;
    if (f) {
        size_t n = fread(head, 1, sizeof head, f);
        if (is_elf(head, n)) kind = kind_of(head);
        fclose(f);
    }
    free(exe);
    return kind;
}

/* Numbers of the ELF specification's e_machine. */
static const char *machine_name(uint16_t machine) {
    switch (machine) {
    case 3: return "x86 (32 bit)";
    case 20: return "PowerPC";
    case 21: return "PowerPC 64";
    case 22: return "s390";
    case 40: return "ARM (32 bit)";
    case 62: return "x86-64";
    case 183: return "AArch64";
    case 243: return "RISC-V";
    case 258: return "LoongArch";
    default: return NULL;
    }
}

static const char *machine_text(pare_arena *a, uint16_t machine) {
    const char *name = machine_name(machine);
    return name ? name : pare_arena_printf(a, "ELF machine %u", machine);
}

/* Do all segments lie within the file? Reads the 64-bit form alone; another is left to the system's loader. */
static const char *segments_fit(FILE *f, const unsigned char *head, size_t n, uint64_t size, pare_arena *a) {
    if (head[4] != ELF_CLASS_64) return NULL;
    if (n < ELF64_HEADER)
        return pare_arena_printf(a, "truncated: %llu bytes are no ELF header", (unsigned long long)size);
    uint64_t at = get(head + 32, 8, head[5]), entry = get(head + 54, 2, head[5]), count = get(head + 56, 2, head[5]);
    uint64_t end;
    if (entry < ELF64_SEGMENT || !pare_add_ok(at, entry * count, &end)) return "its ELF header is damaged";
    for (uint64_t i = 0; i <= count; i++) {
        if (i == count && end <= size) break;
        unsigned char seg[ELF64_SEGMENT];
        uint64_t need = end;
        if (end <= size) {
            if (fseek(f, (long)(at + i * entry), SEEK_SET) || fread(seg, 1, sizeof seg, f) != sizeof seg)
                return "its segment table can't be read";
            if (get(seg, 4, head[5]) != ELF_PT_LOAD) continue;
            if (!pare_add_ok(get(seg + 8, 8, head[5]), get(seg + 32, 8, head[5]), &need)) need = UINT64_MAX;
        }
        if (need > size)
            return pare_arena_printf(a, "truncated: it has %llu bytes, its segments reach to byte %llu",
                                     (unsigned long long)size, (unsigned long long)need);
    }
    return NULL;
}

/* NULL: worth opening; else the reason. */
static const char *look(const char *path, const pare_elf_kind *own, pare_arena *a) {
    pare_path_kind what = pare_path_what(path);
    if (what == PARE_PATH_NONE) return "a link to a file that doesn't exist";
    if (what != PARE_PATH_FILE) return "not a regular file";
    uint64_t size = 0;
    FILE *f = fopen(path, "rb");
    if (!f || !pare_file_size(path, &size)) {
        const char *why = pare_arena_printf(a, "can't be read: %s", strerror(errno));
        if (f) fclose(f);
        return why;
    }
    unsigned char head[ELF64_HEADER];
    size_t n = fread(head, 1, sizeof head, f);
    const char *why = NULL;
    if (size == 0)
        why = "an empty file";
    else if (!is_elf(head, n))
        why = "not an ELF file";
    else {
        pare_elf_kind kind = kind_of(head);
        if (own->known && kind.machine != own->machine)
            why = pare_arena_printf(a, "built for another machine: %s, this host is %s", machine_text(a, kind.machine),
                                    machine_text(a, own->machine));
        else if (own->known && (kind.class_ != own->class_ || kind.order != own->order))
            why = pare_arena_printf(a, "built for another word size or byte order than this host");
        else if (get(head + 16, 2, head[5]) != ELF_TYPE_DYN)
            why = "an ELF file, but not a shared object";
        else
            why = segments_fit(f, head, n, size, a);
    }
    fclose(f);
    return why;
}

/* ---- dlopen's words made plain ---- */

static const char *plain_dlerror(const char *path, const char *error, pare_arena *a) {
    if (!error) return "the system's loader refused it without a reason";
    static const char undefined[] = "undefined symbol: ", missing[] = ": cannot open shared object file";
    const char *p = strstr(error, undefined);
    if (p) {
        p += sizeof undefined - 1;
        size_t n = strcspn(p, " ,\n");
        return pare_arena_printf(a, "needs the symbol %s, which neither it nor its libraries define",
                                 pare_arena_strndup(a, p, n));
    }
    p = strstr(error, "version `");
    const char *quote = p ? strchr(p + 9, '\'') : NULL;
    if (quote && strstr(quote, "not found"))
        return pare_arena_printf(a, "needs %s, which this system's libraries don't have",
                                 pare_arena_strndup(a, p + 9, (size_t)(quote - p - 9)));
    p = strstr(error, missing);
    if (p && strncmp(error, path, strlen(path)) != 0)
        return pare_arena_printf(a, "needs the library %s, which is not installed",
                                 pare_arena_strndup(a, error, (size_t)(p - error)));
    size_t n = strlen(path);
    if (strncmp(error, path, n) == 0 && error[n] == ':') error += n + 1 + strspn(error + n + 1, " ");
    return pare_arena_printf(a, "can't be opened: %s", error);
}

/* ---- what the plugin declares ---- */

static bool id_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

/* Lower-case words joined by dots, at least `words` of them, 64 bytes at most. */
static bool id_ok(const char *id, unsigned words) {
    if (!id || strlen(id) > 64) return false;
    unsigned n = 1;
    for (const char *p = id; *p; p++) {
        bool start = p == id || p[-1] == '.';
        if (*p == '.') n++;
        if (*p == '.' ? start || !p[1] : start ? !(*p >= 'a' && *p <= 'z') : !id_char(*p)) return false;
    }
    return *id && n >= words;
}

static const char *text_or(const char *s, const char *otherwise) { return s && *s ? s : otherwise; }

/* The fields every plugin of this major has: the smallest struct that may come. */
enum {
    PLUGIN_MIN = PARE_END(pare_plugin, techniques),
    TECHNIQUE_MIN = PARE_END(pare_technique, destroy),
    PARAM_MIN = PARE_END(pare_param, column_stride),
    BACKEND_MIN = PARE_END(pare_backend, run),
    LOSS_MIN = PARE_END(pare_loss, destroy)
};

static const char *check_params(const char *kind, const char *id, pare_param_table t, pare_arena *a) {
    if (!t.n) return NULL;
    if (!t.rows) return pare_arena_printf(a, "%s %s has %u parameters but no table", kind, id, t.n);
    if (t.stride < PARAM_MIN)
        return pare_arena_printf(a, "%s %s: param_stride is %u, at least %u (sizeof(pare_param))", kind, id, t.stride,
                                 (unsigned)PARAM_MIN);
    char *wrong = pare_params_check(t);
    if (!wrong) return NULL;
    const char *why = pare_arena_printf(a, "bad parameter table of %s %s: %s", kind, id, wrong);
    free(wrong);
    return why;
}

static const char *check_technique(const pare_technique *t, pare_arena *a) {
    if (t->size < TECHNIQUE_MIN)
        return pare_arena_printf(a, "a technique's struct is too small: size %u, at least %u (set .size = sizeof)",
                                 t->size, (unsigned)TECHNIQUE_MIN);
    if (!id_ok(t->id, 2))
        return pare_arena_printf(a,
                                 "bad technique id \"%s\": it takes lower-case words joined by dots, as in "
                                 "\"prune.magnitude\"",
                                 t->id ? t->id : "(NULL)");
    const char *what = !t->version || !*t->version   ? "version"
                       : !t->summary || !*t->summary ? "summary"
                       : !t->create                  ? "create"
                       : !t->apply                   ? "apply"
                                                     : NULL;
    if (what) return pare_arena_printf(a, "technique %s has no %s", t->id, what);
    if (t->flags & ~(uint32_t)(PARE_TECHNIQUE_TRAINS | PARE_TECHNIQUE_NEEDS_FIT))
        return pare_arena_printf(a, "technique %s sets flags 0x%x, which this host doesn't know", t->id, t->flags);
    const char *loss = PARE_HAS(pare_technique, t, loss) ? t->loss : NULL;
    if (loss && !(t->flags & PARE_TECHNIQUE_TRAINS && id_ok(loss, 2)))
        return pare_arena_printf(
            a, "technique %s names a loss \"%s\", which takes PARE_TECHNIQUE_TRAINS and a loss's id", t->id, loss);
    return check_params("technique", t->id, (pare_param_table){t->params, t->n_params, t->param_stride}, a);
}

static const char *check_backend(const pare_backend *b, pare_arena *a) {
    if (b->size < BACKEND_MIN)
        return pare_arena_printf(a, "a backend's struct is too small: size %u, at least %u (set .size = sizeof)",
                                 b->size, (unsigned)BACKEND_MIN);
    if (!id_ok(b->id, 1))
        return pare_arena_printf(a, "bad backend id \"%s\": it takes lower-case words joined by dots, as in \"cpu\"",
                                 b->id ? b->id : "(NULL)");
    const struct {
        const char *what;
        bool there;
    } parts[] = {
        {"version", b->version && *b->version},
        {"summary", b->summary && *b->summary},
        {"count", b->count},
        {"open", b->open},
        {"close", b->close},
        {"describe", b->describe},
        {"alloc", b->alloc},
        {"free", b->free},
        {"copy", b->copy},
        {"fill", b->fill},
        {"sync", b->sync},
        {"kernel", b->kernel},
        {"kernel_info", b->kernel_info},
        {"kernel_free", b->kernel_free},
        {"pack", b->pack},
        {"run", b->run},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!parts[i].there) return pare_arena_printf(a, "backend %s has no %s", b->id, parts[i].what);
    return NULL;
}

static const char *check_backends(const pare_backend *const *backends, pare_arena *a) {
    for (size_t i = 0; backends[i]; i++) {
        const char *why = check_backend(backends[i], a);
        for (size_t j = 0; !why && j < i; j++)
            if (strcmp(backends[j]->id, backends[i]->id) == 0)
                why = pare_arena_printf(a, "it offers backend %s twice", backends[i]->id);
        if (why) return why;
    }
    return NULL;
}

static const char *check_techniques(const pare_technique *const *techniques, pare_arena *a) {
    for (size_t i = 0; techniques[i]; i++) {
        const char *why = check_technique(techniques[i], a);
        for (size_t j = 0; !why && j < i; j++)
            if (strcmp(techniques[j]->id, techniques[i]->id) == 0)
                why = pare_arena_printf(a, "it offers technique %s twice", techniques[i]->id);
        if (why) return why;
    }
    return NULL;
}

/* The parameters that a loss has of type MODEL are its teachers. */
static bool has_model_param(const pare_loss *l) {
    pare_param_table t = {l->params, l->n_params, l->param_stride};
    for (uint32_t i = 0; i < t.n; i++)
        if (pare_param_at(t, i)->type == PARE_PARAM_MODEL) return true;
    return false;
}

static const char *check_loss(const pare_loss *l, pare_arena *a) {
    if (l->size < LOSS_MIN)
        return pare_arena_printf(a, "a loss's struct is too small: size %u, at least %u (set .size = sizeof)", l->size,
                                 (unsigned)LOSS_MIN);
    if (!id_ok(l->id, 2))
        return pare_arena_printf(a,
                                 "bad loss id \"%s\": it takes lower-case words joined by dots, as in "
                                 "\"distill.hinton\"",
                                 l->id ? l->id : "(NULL)");
    const char *what = !l->version || !*l->version   ? "version"
                       : !l->summary || !*l->summary ? "summary"
                       : !l->create                  ? "create"
                                                     : NULL;
    if (what) return pare_arena_printf(a, "loss %s has no %s", l->id, what);
    if (!l->build && !(PARE_HAS(pare_loss, l, evaluate) && l->evaluate))
        return pare_arena_printf(a, "loss %s has neither build nor evaluate", l->id);
    uint32_t unknown = l->flags & ~(uint32_t)(PARE_LOSS_LABELS | PARE_LOSS_TEACHER);
    if (unknown) return pare_arena_printf(a, "loss %s sets flags 0x%x, which this host doesn't know", l->id, unknown);
    const char *why = check_params("loss", l->id, (pare_param_table){l->params, l->n_params, l->param_stride}, a);
    if (!why && l->flags & PARE_LOSS_TEACHER && !has_model_param(l))
        why = pare_arena_printf(a, "loss %s needs a teacher, but none of its parameters is of type model", l->id);
    return why;
}

static const char *check_losses(const pare_loss *const *losses, pare_arena *a) {
    for (size_t i = 0; losses[i]; i++) {
        const char *why = check_loss(losses[i], a);
        for (size_t j = 0; !why && j < i; j++)
            if (strcmp(losses[j]->id, losses[i]->id) == 0)
                why = pare_arena_printf(a, "it offers loss %s twice", losses[i]->id);
        if (why) return why;
    }
    return NULL;
}

static const char *check_plugin(const pare_plugin *p, pare_arena *a) {
    if (p->size < PLUGIN_MIN)
        return pare_arena_printf(a, "its plugin struct is too small: size %u, at least %u (set .size = sizeof)",
                                 p->size, (unsigned)PLUGIN_MIN);
    if (p->abi_major != PARE_ABI_MAJOR)
        return pare_arena_printf(a, "its struct says ABI %u, this host speaks %u", p->abi_major, PARE_ABI_MAJOR);
    if (p->abi_minor > PARE_ABI_MINOR_LATEST)
        return pare_arena_printf(a, "needs ABI %u.%u, this host speaks %u.%u: a newer pare is needed", p->abi_major,
                                 p->abi_minor, PARE_ABI_MAJOR, PARE_ABI_MINOR_LATEST);
    if (!id_ok(p->id, 1))
        return pare_arena_printf(a, "bad plugin id \"%s\": it takes lower-case words, joined by dots",
                                 text_or(p->id, p->id ? "" : "(NULL)"));
    if (!p->version || !*p->version) return pare_arena_printf(a, "plugin %s has no version", p->id);
    const pare_backend *const *backends = PARE_HAS(pare_plugin, p, backends) ? p->backends : NULL;
    const pare_loss *const *losses = PARE_HAS(pare_plugin, p, losses) ? p->losses : NULL;
    bool offers = (p->techniques && p->techniques[0]) || (backends && backends[0]) || (losses && losses[0]);
    if (!offers) return pare_arena_printf(a, "plugin %s offers nothing", p->id);
    const char *why = p->techniques ? check_techniques(p->techniques, a) : NULL;
    if (!why && backends) why = check_backends(backends, a);
    return why || !losses ? why : check_losses(losses, a);
}

/* ---- the gate ---- */

const pare_plugin *pare_plugin_open(const char *path, const pare_elf_kind *own, pare_arena *a, const char **reason) {
    *reason = look(path, own, a);
    if (*reason) return NULL;
    char *error = NULL;
    void *object = pare_dl_open(path, &error);
    if (!object) {
        *reason = plain_dlerror(path, error, a);
        free(error);
        return NULL;
    }
    pare_fn entry = pare_dl_sym(object, pare_arena_printf(a, "pare_plugin_v%d", PARE_ABI_MAJOR));
    if (!entry) {
        *reason = pare_arena_printf(a, "it does not export pare_plugin_v%d: not a pare plugin", PARE_ABI_MAJOR);
        for (int v = 0; v <= 9; v++)
            if (pare_dl_sym(object, pare_arena_printf(a, "pare_plugin_v%d", v)))
                *reason = pare_arena_printf(a, "built for ABI %d, this host speaks %d", v, PARE_ABI_MAJOR);
        return NULL;
    }
    const pare_plugin *plugin = ((const pare_plugin *(*)(void))entry)();
    *reason = plugin ? check_plugin(plugin, a) : pare_arena_printf(a, "pare_plugin_v%d returned NULL", PARE_ABI_MAJOR);
    return *reason ? NULL : plugin;
}
