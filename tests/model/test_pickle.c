/* tests/model/test_pickle.c - the restricted unpickler: what it reads, and that it refuses the rest by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "model/pickle.h"
#include "model/pickle_text.h"

typedef struct outcome {
    pare_status st;
    pare_diags *d;
    pare_pickle p;
} outcome;

static outcome read_bytes(const void *data, size_t n) {
    outcome o = {.d = pare_diags_new(PARE_DIAG_SILENT, NULL)};
    void *copy = malloc(n ? n : 1); /* exact size: a read past the end is seen by ASan */
    memcpy(copy, data, n);
    o.st = pare_pickle_read(copy, n, "file.pth", o.d, &o.p);
    free(copy);
    return o;
}
#define READ(text) read_bytes(text, sizeof(text) - 1)

static void done(outcome *o) {
    pare_pickle_free(&o->p);
    pare_diags_free(o->d);
}

static void good(void **state) {
    (void)state;
    outcome o = READ(GOOD);
    assert_int_equal(o.st, PARE_OK);
    assert_int_equal(o.p.tensors.len, 1);
    assert_string_equal(o.p.tensors.data[0].name, "w");
    const pare_pk_tensor *t = o.p.tensors.data[0].tensor;
    assert_int_equal(t->dtype, PARE_FLOAT);
    assert_int_equal(t->ndim, 2);
    assert_int_equal(t->dims[0], 2);
    assert_int_equal(t->dims[1], 3);
    assert_int_equal(t->strides[0], 3);
    assert_int_equal(t->count, 6);
    assert_string_equal(t->storage->key, "0");
    assert_int_equal(t->storage->numel, 6);
    done(&o);
}

static void nested_and_skipped(void **state) {
    (void)state;
    outcome o = READ("\x80\2}(U\5epochK\3U\nstate_dict}(U\1w" TENSOR_OF(
        "K\6", "K\0", SIZE_2_3, STRIDE_3_1) "U\4noteU\2hiuU\4rateG\0\0\0\0\0\0\0\0u.");
    assert_int_equal(o.st, PARE_OK);
    assert_int_equal(o.p.tensors.len, 1);
    assert_int_equal(o.p.skipped, 1);
    done(&o);
}

/* Every way that a pickle has to name or call something. Each must say the name; nothing runs. */
static void refused_by_name(void **state) {
    (void)state;
#define CASE(text, name)                                                                                               \
    { text, sizeof(text) - 1, name }
    static const struct {
        const char *text;
        size_t n;
        const char *name;
    } cases[] = {
        CASE("\x80\2cposix\nsystem\nU\btouch /xq\1\x85R.", "posix.system"),
        CASE("cos\nsystem\n(U\4true"
             "tR.",
             "os.system"),
        CASE("(ios\nsystem\n.", "os.system"),
        CASE("\x80\4\x8c\2os\x8c\6system\x93\x8c\4true\x85R.", "os.system"),
        CASE("\x80\2c__builtin__\neval\nU\1"
             "1\x85R.",
             "__builtin__.eval"),
        CASE("\x80\4\x8c\10builtins\x8c\7getattr\x93.", "builtins.getattr"),
        CASE("(cos\nsystem\nU\4trueo.", "os.system"),
        CASE("\x80\2ctorchvision.models.resnet\nResNet\n)\x81.", "torchvision.models.resnet.ResNet"),
        CASE("\x80\2c__main__\nNet\n)}\x92.", "__main__.Net"),
        CASE("\x80\2ctorch._utils\n_rebuild_tensor_v2\n)\x81.", "torch._utils._rebuild_tensor_v2"),
        CASE("\x80\2(ctorch._utils\n_rebuild_tensor_v2\no.", "torch._utils._rebuild_tensor_v2"),
        CASE("\x80\2ctorch\nFloatStorage\n)R.", "torch.FloatStorage"),
        CASE("\x80\2ctorch\nFloatStorage.__class__\n.", "torch.FloatStorage.__class__"),
        CASE("\x80\2ccollections\nOrderedDict.popitem\n.", "collections.OrderedDict.popitem"),
    };
#undef CASE
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        outcome o = read_bytes(cases[i].text, cases[i].n);
        assert_int_equal(o.st, PARE_EUNSUPPORTED);
        assert_int_equal(pare_diags_errors(o.d), 1);
        assert_string_equal(pare_diags_get(o.d, 0)->code, "weights.pickle-global");
        pare_sb quoted = {0};
        pare_sb_printf(&quoted, "'%s'", cases[i].name);
        assert_non_null(strstr(pare_diags_get(o.d, 0)->message, pare_sb_str(&quoted)));
        pare_sb_free(&quoted);
        done(&o);
    }
}

static void malformed(void **state) {
    (void)state;
#define CASE(text)                                                                                                     \
    { text, sizeof(text) - 1 }
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {
        CASE(""),
        CASE("."),
        CASE("\x80"),
        CASE("\x80\6."),
        CASE("\x80\1."),
        CASE("N."),
        CASE("}."),
        CASE("(."),
        CASE("(N."),
        CASE("0."),
        CASE("1."),
        CASE("2."),
        CASE("t."),
        CASE("u."),
        CASE("e."),
        CASE("s."),
        CASE("a."),
        CASE("R."),
        CASE("b."),
        CASE("o."),
        CASE("Q."),
        CASE("\x93."),
        CASE("\x85."),
        CASE("}\x86."),
        CASE("}K\1s."),
        CASE("}(K\1u."),
        CASE("](K\1u."),
        CASE("}K\1a."),
        CASE("h\0."),
        CASE("j\xff\xff\xff\xff."),
        CASE("Nr\xff\xff\xff\xff."),
        CASE("X\xff\xff\xff\xffx."),
        CASE("\x8d\xff\xff\xff\xff\xff\xff\xff\xffx."),
        CASE("cos"),
        CASE("cos\nsystem"),
        CASE("\x82\1."),
        CASE("I1\n."),
        CASE("P1\n."),
        CASE("\x97."),
        CASE("NN\x93."),
        CASE("N)R."),
        CASE("ccollections\nOrderedDict\nNR."),
        CASE("ccollections\nOrderedDict\n(K\1tR."),
        CASE("NNb."),
        CASE("K\1Q."),
        CASE("(U\7storagectorch\nfloat32\nU\1"
             "0U\3cpuK\6tQ."),
        CASE("(U\7storagectorch\nFloatStorage\nU\1"
             "0U\3cpuJ\xff\xff\xff\xfftQ."),
        CASE("(U\7storagectorch\nFloatStorage\nU\0U\3cpuK\1tQ."),
        CASE("ctorch._utils\n_rebuild_tensor_v2\n)R."),
        CASE("ctorch._utils\n_rebuild_parameter\n(K\1tR."),
        /* out of the storage: offset, size, stride, overflow; negative numbers; ranks that differ */
        CASE(HEAD TENSOR_OF("K\6", "K\1", SIZE_2_3, STRIDE_3_1) "u."),
        CASE(HEAD TENSOR_OF("K\5", "K\0", SIZE_2_3, STRIDE_3_1) "u."),
        CASE(HEAD TENSOR_OF("K\6", "K\0", SIZE_2_3, "K\4K\1\x86") "u."),
        CASE(HEAD TENSOR_OF("K\6", "J\xff\xff\xff\xff", SIZE_2_3, STRIDE_3_1) "u."),
        CASE(HEAD TENSOR_OF("K\6", "K\0", "K\2J\xff\xff\xff\xff\x86", STRIDE_3_1) "u."),
        CASE(HEAD TENSOR_OF("K\6", "K\0", SIZE_2_3, "K\3J\xff\xff\xff\xff\x86") "u."),
        CASE(HEAD TENSOR_OF("K\6", "K\0", SIZE_2_3, "K\1\x85") "u."),
        CASE(HEAD TENSOR_OF("K\6", "K\0", "\x8a\x8\0\0\0\0\0\0\0\x40K\4\x86", "K\0K\0\x86") "u."),
        CASE(HEAD TENSOR_OF("K\6", "K\0", SIZE_2_3, "\x8a\x8\0\0\0\0\0\0\0\x40\x8a\x8\0\0\0\0\0\0\0\x40\x86") "u."),
        /* a name that is none, and one that stands twice */
        CASE("\x80\2}(K\1" TENSOR_OF("K\6", "K\0", SIZE_2_3, STRIDE_3_1) "u."),
        CASE("\x80\2}(U\2\xff\xfe" TENSOR_OF("K\6", "K\0", SIZE_2_3, STRIDE_3_1) "u."),
        CASE("\x80\2}(U\2w\0" TENSOR_OF("K\6", "K\0", SIZE_2_3, STRIDE_3_1) "u."),
        CASE("\x80\2}(U\1wctorch._utils\n_rebuild_tensor_v2\n(" STORAGE_OF("K\6") "K\0" SIZE_2_3 STRIDE_3_1
                                                                                  "\x89NtRq\1U\1wh\1u."),
    };
#undef CASE
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        outcome o = read_bytes(cases[i].text, cases[i].n);
        if (o.st != PARE_EINVAL) print_message("case %zu gave %d\n", i, o.st);
        assert_int_equal(o.st, PARE_EINVAL);
        assert_int_equal(pare_diags_errors(o.d), 1);
        done(&o);
    }
}

static void cut_anywhere(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof GOOD - 1; n++) {
        outcome o = read_bytes(GOOD, n);
        assert_int_not_equal(o.st, PARE_OK);
        assert_int_equal(pare_diags_errors(o.d), 1);
        done(&o);
    }
}

/* A dict that holds itself, lists in lists in lists, a long memo: no recursion, no blow-up. */
static void deep_and_cyclic(void **state) {
    (void)state;
    outcome o = READ("\x80\2}q\1(U\nstate_dicth\1u.");
    assert_int_equal(o.st, PARE_EINVAL); /* no tensors in it */
    done(&o);
    size_t n = 300000;
    char *deep = malloc(2 * n + 1);
    memset(deep, ']', n);
    memset(deep + n, 'a', n - 1);
    deep[2 * n - 1] = '.';
    o = read_bytes(deep, 2 * n);
    assert_int_equal(o.st, PARE_EINVAL); /* a list is no state dict */
    assert_string_equal(pare_diags_get(o.d, 0)->code, "weights.no-state-dict");
    done(&o);
    free(deep);
    n = 1200000;
    deep = malloc(n);
    memset(deep, 'N', n);
    o = read_bytes(deep, n);
    assert_int_equal(o.st, PARE_EINVAL);
    assert_non_null(strstr(pare_diags_get(o.d, 0)->message, "stack"));
    done(&o);
    free(deep);
}

/* Seeded mutations of the good pickle: whatever comes out, it is an answer. */
static void mutations(void **state) {
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int k = 0; k < 20000; k++) {
        char bytes[sizeof GOOD - 1];
        memcpy(bytes, GOOD, sizeof bytes);
        for (int j = 0; j < 1 + k % 4; j++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            bytes[x % sizeof bytes] = (char)(x >> 32);
        }
        outcome o = read_bytes(bytes, sizeof bytes);
        assert_true(o.st == PARE_OK ? o.p.tensors.len > 0 : pare_diags_errors(o.d) == 1);
        done(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),      cmocka_unit_test(nested_and_skipped), cmocka_unit_test(refused_by_name),
        cmocka_unit_test(malformed), cmocka_unit_test(cut_anywhere),       cmocka_unit_test(deep_and_cyclic),
        cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
