/* model/pickle.c - see pickle.h: the stack machine. What the names mean is pickle_torch.c's. May use: pickle.h.
 *
 * Bounds: an opcode of at least one byte makes at most one value, so memory is a multiple of the file's size, which
 * pth.c caps; values, stack and memo have caps of their own.
 */
#include "model/pickle.h"

#include <stdlib.h>
#include <string.h>

enum { OBJECTS_MAX = 4 * 1000 * 1000, STACK_MAX = 1000 * 1000 };

/* ---- values ---- */

pare_pk_value *pare_pk_bad(pare_pk_vm *vm, const char *fmt, ...) {
    if (vm->st) return NULL;
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    vm->st = pare_fail_file(vm->d, PARE_EINVAL, vm->path, "weights.pickle", NULL,
                            "data.pkl is not a sound state dict: %s (at byte %zu)", pare_sb_str(&b), vm->at);
    pare_sb_free(&b);
    return NULL;
}

pare_pk_value *pare_pk_new(pare_pk_vm *vm, pare_pk_kind kind) {
    if (vm->objects++ >= OBJECTS_MAX) return pare_pk_bad(vm, "more than %d values", OBJECTS_MAX);
    pare_pk_value *v = pare_arena_alloc(&vm->out->arena, sizeof *v);
    v->kind = kind;
    if (kind == PARE_PK_TUPLE || kind == PARE_PK_LIST || kind == PARE_PK_DICT) {
        v->u.items = pare_arena_alloc(&vm->out->arena, sizeof *v->u.items);
        pare_vec_push(&vm->out->lists, v->u.items);
    }
    return v;
}

/* ---- stack: NULL means that vm->st is set ---- */

static void push(pare_pk_vm *vm, pare_pk_value *v) {
    if (!v) return;
    if (vm->stack.len >= STACK_MAX) {
        pare_pk_bad(vm, "the stack grows beyond %d values", STACK_MAX);
        return;
    }
    pare_vec_push(&vm->stack, v);
}

static size_t floor_of(const pare_pk_vm *vm) { return vm->marks.len ? vm->marks.data[vm->marks.len - 1] : 0; }

static pare_pk_value *pop(pare_pk_vm *vm) {
    if (vm->stack.len <= floor_of(vm)) return pare_pk_bad(vm, "a value is taken from an empty stack");
    return vm->stack.data[--vm->stack.len];
}

static pare_pk_value *top(pare_pk_vm *vm) {
    if (vm->stack.len <= floor_of(vm)) return pare_pk_bad(vm, "a value is needed on an empty stack");
    return vm->stack.data[vm->stack.len - 1];
}

/* Ends the newest mark: the values above it are stack.data[*from ..]; the caller cuts the stack to *from. */
static bool pop_mark(pare_pk_vm *vm, size_t *from) {
    if (!vm->marks.len) {
        pare_pk_bad(vm, "a mark is missing");
        return false;
    }
    *from = vm->marks.data[--vm->marks.len];
    return true;
}

/* Moves the stack's values from `from` on to the end of a list. */
static void take(pare_pk_vm *vm, pare_pk_items *to, size_t from) {
    for (size_t i = from; i < vm->stack.len; i++) pare_vec_push(to, vm->stack.data[i]);
    vm->stack.len = from;
}

static void push_tuple(pare_pk_vm *vm, pare_pk_kind kind, size_t from) {
    pare_pk_value *v = pare_pk_new(vm, kind);
    if (!v) return;
    take(vm, v->u.items, from);
    if (kind == PARE_PK_DICT && v->u.items->len % 2) {
        pare_pk_bad(vm, "a dict has a key without a value");
        return;
    }
    push(vm, v);
}

/* ---- bytes ---- */

static const unsigned char *need(pare_pk_vm *vm, uint64_t n) {
    if (n > vm->len - vm->at) {
        pare_pk_bad(vm, "it ends in the middle of an opcode");
        return NULL;
    }
    const unsigned char *p = vm->data + vm->at;
    vm->at += (size_t)n;
    return p;
}

static uint64_t number(pare_pk_vm *vm, unsigned bytes) {
    const unsigned char *p = need(vm, bytes);
    uint64_t v = 0;
    for (unsigned i = 0; p && i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void push_int(pare_pk_vm *vm, pare_pk_kind kind, int64_t i) {
    pare_pk_value *v = pare_pk_new(vm, kind);
    if (v) v->u.i = i;
    push(vm, v);
}

/* Text or bytes behind a length of `width` bytes. */
static void push_text(pare_pk_vm *vm, pare_pk_kind kind, unsigned width) {
    uint64_t n = number(vm, width);
    if (vm->st) return;
    const unsigned char *p = need(vm, n);
    pare_pk_value *v = p ? pare_pk_new(vm, kind) : NULL;
    if (v && kind == PARE_PK_STR) {
        v->u.s.data = (const char *)p;
        v->u.s.len = (size_t)n;
    }
    push(vm, v);
}

/* Two's complement, little-endian; more than 8 bytes are carried as OTHER. */
static void push_long(pare_pk_vm *vm, unsigned width) {
    uint64_t n = number(vm, width), v = 0;
    if (vm->st) return;
    const unsigned char *p = need(vm, n);
    if (!p) return;
    if (n > 8) {
        push(vm, pare_pk_new(vm, PARE_PK_OTHER));
        return;
    }
    for (uint64_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    if (n && n < 8 && p[n - 1] & 0x80) v |= UINT64_MAX << (8 * n);
    push_int(vm, PARE_PK_INT, (int64_t)v);
}

/* A line of text up to '\n', for GLOBAL and INST. */
static bool line(pare_pk_vm *vm, const char **s, size_t *n) {
    const unsigned char *p = vm->data + vm->at, *end = memchr(p, '\n', vm->len - vm->at);
    if (!end) {
        pare_pk_bad(vm, "a name has no end");
        return false;
    }
    *s = (const char *)p;
    *n = (size_t)(end - p);
    vm->at += *n + 1;
    return true;
}

/* ---- memo ---- */

static void memo_put(pare_pk_vm *vm, uint64_t i) {
    pare_pk_value *v = top(vm);
    if (!v) return;
    if (i >= vm->len) { /* picklers count up from 0, one opcode each */
        pare_pk_bad(vm, "memo index %llu is out of range", (unsigned long long)i);
        return;
    }
    while (vm->memo.len <= i) pare_vec_push(&vm->memo, NULL);
    vm->memo.data[i] = v;
}

static void memo_get(pare_pk_vm *vm, uint64_t i) {
    if (i >= vm->memo.len || !vm->memo.data[i])
        pare_pk_bad(vm, "memo entry %llu is read before it is written", (unsigned long long)i);
    else
        push(vm, vm->memo.data[i]);
}

/* ---- containers ---- */

static void append(pare_pk_vm *vm, size_t from) {
    if (!from || from <= floor_of(vm)) {
        pare_pk_bad(vm, "a list is missing");
        return;
    }
    pare_pk_value *to = vm->stack.data[from - 1];
    if (to->kind != PARE_PK_LIST)
        pare_pk_bad(vm, "something is appended to what is no list");
    else
        take(vm, to->u.items, from);
}

static void set_items(pare_pk_vm *vm, size_t from) {
    if (!from || from <= floor_of(vm) || (vm->stack.len - from) % 2) {
        pare_pk_bad(vm, "a dict, key or value is missing");
        return;
    }
    pare_pk_value *to = vm->stack.data[from - 1];
    if (to->kind != PARE_PK_DICT)
        pare_pk_bad(vm, "an item is set in what is no dict");
    else
        take(vm, to->u.items, from);
}

/* ---- calls: only ever to what pare_pk_global_find let through ---- */

static void op_global(pare_pk_vm *vm, bool is_inst) {
    const char *module, *name;
    size_t nm, nn;
    if (!line(vm, &module, &nm) || !line(vm, &name, &nn)) return;
    if (is_inst)
        pare_pk_refuse(vm, module, nm, name, nn);
    else
        push(vm, pare_pk_global_find(vm, module, nm, name, nn));
}

static void op_stack_global(pare_pk_vm *vm) {
    pare_pk_value *name = pop(vm), *module = name ? pop(vm) : NULL;
    if (!module) return;
    if (name->kind != PARE_PK_STR || module->kind != PARE_PK_STR)
        pare_pk_bad(vm, "a name is no text");
    else
        push(vm, pare_pk_global_find(vm, module->u.s.data, module->u.s.len, name->u.s.data, name->u.s.len));
}

static void op_reduce(pare_pk_vm *vm, bool new_object) {
    pare_pk_value *args = pop(vm), *fn = args ? pop(vm) : NULL;
    if (!fn) return;
    if (fn->kind != PARE_PK_GLOBAL || args->kind != PARE_PK_TUPLE)
        pare_pk_bad(vm, "something is called that is no function");
    else if (new_object && fn->u.global->kind != PARE_PK_ORDERED_DICT)
        pare_pk_refuse(vm, fn->u.global->module, strlen(fn->u.global->module), fn->u.global->name,
                       strlen(fn->u.global->name));
    else
        push(vm, pare_pk_call(vm, fn, args));
}

/* Attributes set on an object: OrderedDict's _metadata holds versions, which weights don't need. */
static void op_build(pare_pk_vm *vm) {
    if (!pop(vm)) return;
    pare_pk_value *v = top(vm);
    if (v && v->kind != PARE_PK_DICT) pare_pk_bad(vm, "attributes are set on what is no dict");
}

static void op_object(pare_pk_vm *vm) {
    size_t from;
    if (!pop_mark(vm, &from)) return;
    const pare_pk_value *c = from < vm->stack.len ? vm->stack.data[from] : NULL;
    if (c && c->kind == PARE_PK_GLOBAL)
        pare_pk_refuse(vm, c->u.global->module, strlen(c->u.global->module), c->u.global->name,
                       strlen(c->u.global->name));
    else
        pare_pk_bad(vm, "an object is made without a class");
}

/* ---- the machine ---- */

static void step(pare_pk_vm *vm, unsigned char op) {
    size_t from;
    switch (op) {
    case 0x80: /* PROTO */ {
        uint64_t v = number(vm, 1);
        if (!vm->st && (v < 2 || v > 5)) pare_pk_bad(vm, "protocol %d, 2 to 5 are read", (int)v);
        break;
    }
    case 0x95: /* FRAME */ number(vm, 8); break;
    case '(': pare_vec_push(&vm->marks, vm->stack.len); break;
    case '0': /* POP */
        if (vm->marks.len && vm->stack.len == floor_of(vm))
            vm->marks.len--;
        else
            pop(vm);
        break;
    case '1': /* POP_MARK */
        if (pop_mark(vm, &from)) vm->stack.len = from;
        break;
    case '2': /* DUP */ push(vm, top(vm)); break;
    case 'N': push(vm, pare_pk_new(vm, PARE_PK_NONE)); break;
    case 0x88: push_int(vm, PARE_PK_BOOL, 1); break;
    case 0x89: push_int(vm, PARE_PK_BOOL, 0); break;
    case 'J': push_int(vm, PARE_PK_INT, (int32_t)(uint32_t)number(vm, 4)); break;
    case 'K': push_int(vm, PARE_PK_INT, (int64_t)number(vm, 1)); break;
    case 'M': push_int(vm, PARE_PK_INT, (int64_t)number(vm, 2)); break;
    case 0x8a: push_long(vm, 1); break;
    case 0x8b: push_long(vm, 4); break;
    case 'G': /* BINFLOAT */
        if (need(vm, 8)) push(vm, pare_pk_new(vm, PARE_PK_OTHER));
        break;
    case 'T': push_text(vm, PARE_PK_STR, 4); break;
    case 'U': push_text(vm, PARE_PK_STR, 1); break;
    case 'X': push_text(vm, PARE_PK_STR, 4); break;
    case 0x8c: push_text(vm, PARE_PK_STR, 1); break;
    case 0x8d: push_text(vm, PARE_PK_STR, 8); break;
    case 'B': push_text(vm, PARE_PK_OTHER, 4); break;
    case 'C': push_text(vm, PARE_PK_OTHER, 1); break;
    case 0x8e: push_text(vm, PARE_PK_OTHER, 8); break;
    case 0x96: push_text(vm, PARE_PK_OTHER, 8); break;
    case ']': push(vm, pare_pk_new(vm, PARE_PK_LIST)); break;
    case 0x8f: /* EMPTY_SET */ push(vm, pare_pk_new(vm, PARE_PK_LIST)); break;
    case '}': push(vm, pare_pk_new(vm, PARE_PK_DICT)); break;
    case ')': push(vm, pare_pk_new(vm, PARE_PK_TUPLE)); break;
    case 't':
        if (pop_mark(vm, &from)) push_tuple(vm, PARE_PK_TUPLE, from);
        break;
    case 0x91: /* FROZENSET */
        if (pop_mark(vm, &from)) push_tuple(vm, PARE_PK_TUPLE, from);
        break;
    case 'l':
        if (pop_mark(vm, &from)) push_tuple(vm, PARE_PK_LIST, from);
        break;
    case 'd':
        if (pop_mark(vm, &from)) push_tuple(vm, PARE_PK_DICT, from);
        break;
    case 0x85: /* TUPLE1..3 */
    case 0x86:
    case 0x87: {
        size_t n = op - 0x84u;
        if (vm->stack.len - floor_of(vm) < n)
            pare_pk_bad(vm, "a tuple is missing values");
        else
            push_tuple(vm, PARE_PK_TUPLE, vm->stack.len - n);
        break;
    }
    case 'a': append(vm, vm->stack.len ? vm->stack.len - 1 : 0); break;
    case 'e':
    case 0x90: /* ADDITEMS */
        if (pop_mark(vm, &from)) append(vm, from);
        break;
    case 's': set_items(vm, vm->stack.len >= 2 ? vm->stack.len - 2 : 0); break;
    case 'u':
        if (pop_mark(vm, &from)) set_items(vm, from);
        break;
    case 'q': memo_put(vm, number(vm, 1)); break;
    case 'r': memo_put(vm, number(vm, 4)); break;
    case 0x94: /* MEMOIZE */ memo_put(vm, vm->memo.len); break;
    case 'h': memo_get(vm, number(vm, 1)); break;
    case 'j': memo_get(vm, number(vm, 4)); break;
    case 'c': op_global(vm, false); break;
    case 'i': op_global(vm, true); break;
    case 0x93: op_stack_global(vm); break;
    case 'R': op_reduce(vm, false); break;
    case 0x81: /* NEWOBJ */ op_reduce(vm, true); break;
    case 0x92: /* NEWOBJ_EX */
        if (pop(vm)) op_reduce(vm, true);
        break;
    case 'b': op_build(vm); break;
    case 'o': op_object(vm); break;
    case 'Q': {
        pare_pk_value *id = pop(vm);
        if (id) push(vm, pare_pk_persistent(vm, id));
        break;
    }
    default: pare_pk_bad(vm, "opcode 0x%02x is not one that weights need", op);
    }
}

pare_status pare_pickle_read(const unsigned char *data, size_t len, const char *path, pare_diags *d, pare_pickle *out) {
    pare_pk_vm vm = {.data = data, .len = len, .path = path, .d = d, .out = out};
    *out = (pare_pickle){0};
    for (;;) {
        const unsigned char *op = need(&vm, 1);
        if (!op || *op == '.') break;
        step(&vm, *op);
        if (vm.st) break;
    }
    if (!vm.st && vm.marks.len) pare_pk_bad(&vm, "a mark is left open");
    const pare_pk_value *root = vm.st ? NULL : pop(&vm);
    if (root) vm.st = pare_pk_state_dict(&vm, root);
    pare_vec_free(&vm.stack);
    pare_vec_free(&vm.memo);
    pare_vec_free(&vm.marks);
    if (vm.st) pare_pickle_free(out);
    return vm.st;
}

void pare_pickle_free(pare_pickle *p) {
    for (size_t i = 0; i < p->lists.len; i++) pare_vec_free(p->lists.data[i]);
    pare_vec_free(&p->lists);
    pare_vec_free(&p->tensors);
    pare_arena_free(&p->arena);
}
