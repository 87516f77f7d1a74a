/* base/yaml_scalar.c - see yaml.h: what a scalar is by YAML 1.2's core schema, how messages name it, and ${…}. */
#include "base/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- types: YAML 1.2.2 section 10.3.2 ---- */

static bool one_of(const char *s, const char *a, const char *b, const char *c) {
    return strcmp(s, a) == 0 || strcmp(s, b) == 0 || strcmp(s, c) == 0;
}

static const char *digits(const char *s) {
    while (*s >= '0' && *s <= '9') s++;
    return s;
}

static bool set_int(pare_yaml_node *n, const char *s, int base, bool negative) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, base);
    if (end == s || *end) return false;
    n->kind = PARE_YAML_INT;
    n->fits = !errno && v <= (unsigned long long)INT64_MAX + negative;
    n->i = !n->fits ? 0 : negative ? (int64_t)(0 - v) : (int64_t)v;
    n->f = base == 10 ? strtod(n->text, NULL) : (double)v;
    return true;
}

static bool type_number(pare_yaml_node *n) {
    const char *s = n->text;
    if (s[0] == '0' && s[1] == 'x')
        return s[2] && s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] == 0 && set_int(n, s + 2, 16, false);
    if (s[0] == '0' && s[1] == 'o') return s[2] && s[2 + strspn(s + 2, "01234567")] == 0 && set_int(n, s + 2, 8, false);
    bool negative = *s == '-';
    if (*s == '-' || *s == '+') s++;
    if (one_of(s, ".inf", ".Inf", ".INF")) {
        n->kind = PARE_YAML_FLOAT;
        n->f = negative ? -INFINITY : INFINITY;
        return true;
    }
    const char *whole = digits(s), *p = whole;
    if (whole > s && !*whole) return set_int(n, s, 10, negative);
    if (*p == '.') {
        p = digits(p + 1);
        if (whole == s && p == whole + 1) return false; /* "." alone */
    } else if (whole == s) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+') p++;
        const char *e = digits(p);
        if (e == p) return false;
        p = e;
    }
    if (*p) return false;
    n->kind = PARE_YAML_FLOAT;
    n->f = strtod(n->text, NULL);
    return true;
}

void pare_yaml_retype(pare_yaml_node *n) {
    n->kind = PARE_YAML_STRING;
    n->fits = false;
    n->i = 0;
    n->f = 0;
    if (!n->plain) return;
    const char *s = n->text;
    if (!*s || strcmp(s, "~") == 0 || one_of(s, "null", "Null", "NULL")) {
        n->kind = PARE_YAML_NULL;
    } else if (one_of(s, "true", "True", "TRUE") || one_of(s, "false", "False", "FALSE")) {
        n->kind = PARE_YAML_BOOL;
        n->i = *s == 't' || *s == 'T';
    } else if (one_of(s, ".nan", ".NaN", ".NAN")) {
        n->kind = PARE_YAML_FLOAT;
        n->f = NAN;
    } else {
        type_number(n);
    }
}

bool pare_yaml_is_text(const pare_yaml_node *n) { return n->text && (n->kind == PARE_YAML_STRING || n->substituted); }

/* ---- names ---- */

const char *pare_yaml_kind_name(pare_yaml_kind kind) {
    static const char *const name[] = {"null", "a bool", "an int", "a float", "a string", "a list", "a map"};
    return name[kind];
}

void pare_yaml_describe(const pare_yaml_node *n, pare_sb *out) {
    static const char *const word[] = {"nothing",     "the bool ", "the int ", "the float ",
                                       "the string ", "a list",    "a map"};
    pare_sb_add(out, word[n->kind]);
    if (n->kind == PARE_YAML_NULL || !n->text) return;
    const char *quote = n->kind == PARE_YAML_STRING ? "\"" : "";
    size_t len = strlen(n->text), show = len > 60 ? 60 : len;
    while (show < len && show && ((unsigned char)n->text[show] & 0xc0) == 0x80) show--;
    pare_sb_add(out, quote);
    pare_sb_add_safe(out, n->text, show);
    if (show < len) pare_sb_add(out, "...");
    pare_sb_add(out, quote);
}

/* ---- substitution ---- */

/* The place of text `what` inside a scalar's first line, or the scalar's own place. */
static pare_span place_inside(pare_span at, const char *what, size_t n) {
    if (!at.src || !at.line) return at;
    const char *s = at.src->text, *end = s + at.src->len;
    for (uint32_t line = 1; line < at.line && s < end; line++) {
        const char *nl = memchr(s, '\n', (size_t)(end - s));
        s = nl ? nl + 1 : end;
    }
    if ((size_t)(end - s) < at.col) return at;
    for (uint32_t i = 0; i < at.len; i++) {
        const char *p = s + at.col - 1 + i;
        if ((size_t)(end - p) < n || *p == '\n') break;
        if (memcmp(p, what, n) == 0) return (pare_span){at.src, at.line, at.col + i, (uint32_t)n};
    }
    return at;
}

typedef struct subst {
    pare_yaml *y;
    const pare_yaml_var *vars;
    size_t n_vars;
    pare_diags *d;
    unsigned errors;
} subst;

static void fail(subst *s, const pare_yaml_node *n, const char *what, size_t len, const char *code, const char *hint,
                 const char *message) {
    if (++s->errors > 20) return;
    pare_fail_at(s->d, PARE_EINVAL, place_inside(n->at, what, len), code, hint, "%s", message);
}

/* The value of ${name}, or NULL after having said why there is none. `what` is the whole of "${name}". */
static const char *value_of(subst *s, const pare_yaml_node *n, const char *name, const char *what, size_t len) {
    const char *value = NULL;
    pare_sb message = {0}, hint = {0};
    if (strncmp(name, "env:", 4) == 0) {
        value = name[4] ? getenv(name + 4) : NULL;
        if (!value) {
            pare_sb_printf(&message, "the environment has no variable \"%s\"", name + 4);
            pare_sb_printf(&hint, "set it (export %s=...), or override the value with --set", name + 4);
            fail(s, n, what, len, "yaml.env", pare_sb_str(&hint), pare_sb_str(&message));
        } else if (!pare_utf8_ok(value, strlen(value))) {
            pare_sb_printf(&message, "the environment variable \"%s\" is not UTF-8", name + 4);
            fail(s, n, what, len, "yaml.encoding", NULL, pare_sb_str(&message));
            value = NULL;
        }
    } else {
        for (size_t i = 0; i < s->n_vars && !value; i++)
            if (strcmp(s->vars[i].name, name) == 0) value = s->vars[i].value;
        if (!value) {
            pare_sb_printf(&message, "there is no ${%s} here", name);
            pare_sb_add(&hint, "known are");
            for (size_t i = 0; i < s->n_vars; i++) pare_sb_printf(&hint, " ${%s},", s->vars[i].name);
            pare_sb_add(&hint, " ${env:NAME}; write $${ for the characters ${");
            fail(s, n, what, len, "yaml.variable", pare_sb_str(&hint), pare_sb_str(&message));
        }
    }
    pare_sb_free(&message);
    pare_sb_free(&hint);
    return value;
}

static void substitute_text(subst *s, pare_yaml_node *n) {
    pare_sb b = {0};
    bool replaced = false;
    for (const char *p = n->text; *p;) {
        if (strncmp(p, "$${", 3) == 0) {
            pare_sb_add(&b, "${");
            p += 3;
            replaced = true;
            continue;
        }
        if (strncmp(p, "${", 2) != 0) {
            pare_sb_addc(&b, *p++);
            continue;
        }
        const char *end = strchr(p, '}');
        if (!end) {
            fail(s, n, p, 2, "yaml.variable", "write $${ for the characters ${", "this ${ is never closed with }");
            goto out;
        }
        size_t len = (size_t)(end - p) + 1;
        char *name = pare_xstrndup(p + 2, len - 3);
        const char *value = value_of(s, n, name, p, len);
        free(name);
        if (!value) goto out;
        size_t add = strlen(value);
        if (add > PARE_YAML_MAX_BYTES - s->y->grown) {
            fail(s, n, p, len, "yaml.too-large", NULL, "the substitutions make the file too large");
            goto out;
        }
        s->y->grown += add;
        pare_sb_add(&b, value);
        n->substituted = true;
        replaced = true;
        p = end + 1;
    }
    if (replaced) {
        n->text = pare_arena_strdup(&s->y->arena, pare_sb_str(&b));
        if (n->substituted) n->plain = true; /* typed by what it became */
        pare_yaml_retype(n);
    }
out:
    pare_sb_free(&b);
}

static void substitute_node(subst *s, pare_yaml_node *n) {
    if (n->text && strstr(n->text, "${")) substitute_text(s, n);
    for (uint32_t i = 0; i < n->n; i++) substitute_node(s, n->items[i]);
}

pare_status pare_yaml_substitute(pare_yaml *y, pare_yaml_node *n, const pare_yaml_var *vars, size_t n_vars,
                                 pare_diags *d) {
    subst s = {.y = y, .vars = vars, .n_vars = n_vars, .d = d};
    substitute_node(&s, n);
    return s.errors ? PARE_EINVAL : PARE_OK;
}
