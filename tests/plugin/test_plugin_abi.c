/* tests/plugin/test_plugin_abi.c - the layout of every SDK struct against the golden table, no padding, and the SDK's
 * own helpers (nbytes, the DLPack bridge). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "abi/layout.h"
#include "base/os.h"
#include "base/str.h"

#include <pare/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char golden[] = PARE_TESTS_DIR "/abi/golden/abi-v1.txt";

static char *layout(void) {
    pare_sb b = {0};
#define S(T) pare_sb_printf(&b, "%s %zu\n", #T, sizeof(T));
#define F(T, f) pare_sb_printf(&b, "  %s %zu %zu\n", #f, offsetof(T, f), sizeof(((T *)0)->f));
    PARE_ABI_LAYOUT(S, F)
#undef S
#undef F
    return b.data;
}

static char *whole(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    pare_sb b = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) pare_sb_addn(&b, part, n);
    fclose(f);
    return b.data;
}

static void layout_is_golden(void **state) {
    (void)state;
    char *now = layout();
    if (getenv("PARE_GOLDEN_UPDATE")) {
        FILE *f = fopen(golden, "wb");
        assert_non_null(f);
        fputs(now, f);
        assert_int_equal(fclose(f), 0);
    }
    char *then = whole(golden);
    assert_string_equal(now, then);
    free(now);
    free(then);
}

/* Fields follow each other without gaps, so none is missing from the table and none can hide in padding. */
static void structs_have_no_padding(void **state) {
    (void)state;
    size_t end = 0, size = 0;
    const char *name = NULL;
#define S(T)                                                                                                           \
    if (name && end != size) fail_msg("%s: %zu bytes of fields, size %zu", name, end, size);                           \
    name = #T;                                                                                                         \
    size = sizeof(T);                                                                                                  \
    end = 0;
#define F(T, f)                                                                                                        \
    if (offsetof(T, f) != end) fail_msg("%s.%s is at %zu, after %zu bytes of fields", #T, #f, offsetof(T, f), end);    \
    end += sizeof(((T *)0)->f);
    PARE_ABI_LAYOUT(S, F)
    S(pare_arg)
#undef S
#undef F
    assert_int_equal(sizeof(pare_arg), 16);
}

static void every_struct_is_listed(void **state) {
    (void)state;
    static const char start[] = "typedef struct ";
    size_t n, seen = 0;
    char *now = layout();
    char **names = pare_dir_list(PARE_TESTS_DIR "/../sdk/pare", &n);
    assert_non_null(names);
    for (size_t i = 0; i < n; i++) {
        char *path = pare_path_join(PARE_TESTS_DIR "/../sdk/pare", names[i]), *text = whole(path);
        for (const char *p = text; (p = strstr(p, start));) {
            p += sizeof start - 1;
            size_t k = strcspn(p, " ;");
            if (p[k] != ' ' || p[k + 1] != '{') continue;
            char *line = pare_xstrndup(p, k + 1);
            if (!strstr(now, line)) fail_msg("%s in %s is not in tests/abi/layout.h", line, names[i]);
            free(line);
            seen++;
        }
        free(text);
        free(path);
    }
    assert_true(seen > 15);
    pare_dir_list_free(names);
    free(now);
}

static void bytes_of_packed_types(void **state) {
    (void)state;
    assert_int_equal(pare_nbytes(PARE_FLOAT, 3), 12);
    assert_int_equal(pare_nbytes(PARE_INT4, 3), 2);
    assert_int_equal(pare_nbytes(PARE_UINT2, 5), 2);
    assert_int_equal(pare_nbytes(PARE_COMPLEX128, 1), 16);
    assert_int_equal(pare_nbytes(PARE_DOUBLE, 0), 0);
    assert_true(pare_nbytes(PARE_STRING, 1) == UINT64_MAX);
    assert_true(pare_nbytes(PARE_DOUBLE, UINT64_MAX / 8) == UINT64_MAX);
    assert_true(pare_nbytes(99, 1) == UINT64_MAX);
}

/* ---- the bridge, over a DLPack of our own (its layout is in DLPack's documentation) ---- */

#define DLPACK_MAJOR_VERSION 1
typedef enum { kDLCPU = 1 } DLDeviceType;
typedef struct {
    DLDeviceType device_type;
    int32_t device_id;
} DLDevice;
typedef struct {
    uint8_t code, bits;
    uint16_t lanes;
} DLDataType;
typedef struct {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} DLTensor;
#include <pare/dlpack_bridge.h>

static void views_cross_the_bridge(void **state) {
    (void)state;
    float x[6] = {0};
    const int64_t dims[] = {2, 3}, strides[] = {3, 1};
    for (uint32_t dtype = 1; dtype < PARE_DTYPE_COUNT; dtype++) {
        pare_view v = {.size = sizeof v,
                       .dtype = dtype,
                       .device_type = PARE_DEVICE_CPU,
                       .data = x,
                       .dims = dims,
                       .strides = strides,
                       .count = 6,
                       .nbytes = pare_nbytes(dtype, 6),
                       .ndim = 2};
        pare_view back = {0};
        DLTensor t = {0};
        pare_status st = pare_view_to_dlpack(&v, &t);
        if (dtype == PARE_STRING) {
            assert_int_equal(st, PARE_EUNSUPPORTED);
            continue;
        }
        assert_int_equal(st, PARE_OK);
        assert_int_equal(pare_view_from_dlpack(&t, &back), PARE_OK);
        assert_memory_equal(&v, &back, sizeof v);
    }
    assert_int_equal(pare_dlpack_code(PARE_BFLOAT16), 4);
    assert_int_equal(pare_dlpack_dtype((DLDataType){2, 32, 4}), PARE_DTYPE_UNKNOWN); /* vectors of four */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_golden),       cmocka_unit_test(structs_have_no_padding),
        cmocka_unit_test(every_struct_is_listed), cmocka_unit_test(bytes_of_packed_types),
        cmocka_unit_test(views_cross_the_bridge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
