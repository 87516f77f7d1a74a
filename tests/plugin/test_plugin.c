/* tests/plugin/test_plugin.c - finding and loading plugins: order, shadowing, and the fate of every kind of bad
 * candidate. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/os.h"
#include "base/str.h"
#include "plugin/param.h"
#include "plugin/plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CASES PARE_BUILD_DIR "/tests/plugins"

static char tmp[64];

static int setup(void **state) {
    (void)state;
    strcpy(tmp, "/tmp/pare-plugin-XXXXXX");
    if (!mkdtemp(tmp)) return -1;
    setenv("XDG_DATA_HOME", tmp, 1); /* the tester's own plugins stay out */
    unsetenv("PARE_PLUGIN_PATH");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return pare_tree_remove(tmp, NULL);
}

static char *in_tmp(const char *name) { return pare_path_join(tmp, name); }

/* A file of tmp/dir with the bytes of a built test plugin; its path. */
static char *copy(const char *plugin_case, const char *dir, const char *name) {
    char from[512], *folder = in_tmp(dir), *to = pare_path_join(folder, name);
    snprintf(from, sizeof from, CASES "/%s/%s.so", plugin_case, plugin_case);
    pare_map_file *f;
    assert_int_equal(pare_map_file_open(from, NULL, &f), PARE_OK);
    assert_int_equal(pare_dir_make(folder, NULL), PARE_OK);
    assert_int_equal(pare_file_write(to, f->data, f->len, NULL), PARE_OK);
    pare_map_file_unref(f);
    free(folder);
    return to;
}

static const char *reason_of(const pare_plugins *set, const char *path_end) {
    for (size_t i = 0; i < pare_plugins_rejected_count(set); i++) {
        const pare_rejected *r = pare_plugins_rejected_at(set, i);
        size_t n = strlen(r->path), k = strlen(path_end);
        if (n >= k && strcmp(r->path + n - k, path_end) == 0) return r->reason;
    }
    return NULL;
}

static const pare_loaded *loaded(const pare_plugins *set, const char *id) {
    for (size_t i = 0; i < pare_plugins_count(set); i++)
        if (strcmp(pare_plugins_at(set, i)->id, id) == 0) return pare_plugins_at(set, i);
    return NULL;
}

#define assert_reason(set, path_end, text)                                                                             \
    do {                                                                                                               \
        const char *why_ = reason_of(set, path_end);                                                                   \
        if (!why_ || !strstr(why_, text)) fail_msg("%s: \"%s\" lacks \"%s\"", path_end, why_ ? why_ : "(none)", text); \
    } while (0)

static void every_bad_plugin_has_its_reason(void **state) {
    (void)state;
    static const struct {
        const char *name, *reason;
    } bad[] = {
        {"wrong_major", "built for ABI 2, this host speaks 1"},
        {"wrong_field", "its struct says ABI 3, this host speaks 1"},
        {"newer_minor", "needs ABI 1.999, this host speaks 1.0"},
        {"missing_symbol", "does not export pare_plugin_v1: not a pare plugin"},
        {"unresolved_symbol", "needs the symbol pare_model_secret_edit, which neither it nor its libraries define"},
        {"bad_params", "bad parameter table of technique test.bad: "},
        {"returns_null", "pare_plugin_v1 returned NULL"},
        {"small_struct", "its plugin struct is too small: size 16, at least "},
        {"bad_id", "bad technique id \"Prune Everything\""},
        {"not_elf", "not an ELF file"},
    };
    enum { N = sizeof bad / sizeof *bad };
    char dirs[N][512];
    const char *list[N];
    for (size_t i = 0; i < N; i++) {
        snprintf(dirs[i], sizeof dirs[i], CASES "/%s", bad[i].name);
        list[i] = dirs[i];
    }
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_plugins *set = pare_plugins_load(list, N, d);
    assert_non_null(set);
    assert_int_equal(pare_diags_count(d), 0); /* kept, not shouted */
    for (size_t i = 0; i < N; i++) {
        char end[128];
        snprintf(end, sizeof end, "/%s/%s.so", bad[i].name, bad[i].name);
        assert_reason(set, end, bad[i].reason);
        assert_int_equal(pare_plugins_folder_at(set, i)->origin, PARE_FOLDER_OPTION);
    }
    assert_reason(set, "bad_params.so", "share"); /* the table's fault is explained */
    pare_plugins_free(set);
    pare_diags_free(d);
}

static void damaged_files_are_not_opened(void **state) {
    (void)state;
    char *half = copy("edits", "damaged", "half.so"), *machine = copy("edits", "damaged", "machine.so");
    char *head = copy("edits", "damaged", "head.so"), *empty = in_tmp("damaged/empty.so"),
         *dir = in_tmp("damaged/dir.so");
    char *ignored = copy("not_elf", "damaged", "notes.txt"), *hidden = copy("not_elf", "damaged", ".hidden.so");
    char *dangling = in_tmp("damaged/dangling.so"), *exe = in_tmp("damaged/core.so"), *folder = in_tmp("damaged");
    uint64_t size;
    assert_true(pare_file_size(half, &size));
    assert_int_equal(truncate(half, (off_t)(size / 8)), 0);
    assert_int_equal(truncate(head, 30), 0);
    assert_int_equal(pare_file_write(empty, "", 0, NULL), PARE_OK);
    assert_int_equal(pare_dir_make(dir, NULL), PARE_OK);
    assert_int_equal(symlink("nowhere", dangling), 0);
    FILE *f = fopen(machine, "r+b");
    assert_non_null(f);
    fseek(f, 18, SEEK_SET); /* e_machine: s390 */
    fputc(22, f);
    fputc(0, f);
    fclose(f);
    unsigned char core[64] = "\177ELF";
    f = fopen("/proc/self/exe", "rb");
    assert_int_equal(fread(core, 1, sizeof core, f), sizeof core);
    fclose(f);
    core[16] = 4; /* ET_CORE */
    assert_int_equal(pare_file_write(exe, core, sizeof core, NULL), PARE_OK);

    const char *dirs[] = {folder};
    pare_plugins *set = pare_plugins_load(dirs, 1, NULL);
    assert_non_null(set);
    assert_reason(set, "half.so", "truncated: it has ");
    assert_reason(set, "head.so", "truncated: 30 bytes");
    assert_reason(set, "empty.so", "an empty file");
    assert_reason(set, "dir.so", "not a regular file");
    assert_reason(set, "dangling.so", "a link to a file that doesn't exist");
    assert_reason(set, "machine.so", "built for another machine: s390");
    assert_reason(set, "core.so", "not a shared object");
    assert_null(reason_of(set, "notes.txt"));
    assert_null(reason_of(set, ".hidden.so"));
    pare_plugins_free(set);
    char *all[] = {half, machine, head, empty, dir, ignored, hidden, dangling, exe, folder};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void first_wins(void **state) {
    (void)state;
    char *option = copy("edits", "one", "edits.so"), *env = copy("edits", "two", "edits.so");
    char *user = copy("misuse", "pare/plugins", "misuse.so"), *clash = copy("clash", "two", "clash.so");
    char *one = in_tmp("one"), *two = in_tmp("two"), *none = in_tmp("none"), *path = NULL;
    pare_sb b = {0};
    pare_sb_printf(&b, "%s::%s:%s/../one", none, two, two);
    path = b.data;
    setenv("PARE_PLUGIN_PATH", path, 1);
    const char *dirs[] = {one};
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_plugins *set = pare_plugins_load(dirs, 1, d);
    assert_non_null(set);
    unsetenv("PARE_PLUGIN_PATH");

    assert_non_null(loaded(set, "test-edits"));
    assert_string_equal(loaded(set, "test-edits")->path, option);
    assert_string_equal(loaded(set, "test-misuse")->path, user);
    pare_sb shadowed = {0};
    pare_sb_printf(&shadowed, "shadowed by %s", option);
    assert_reason(set, "/two/edits.so", shadowed.data);
    assert_reason(set, "/two/clash.so", "technique test.edits is already offered by plugin test-edits");
    pare_sb_free(&shadowed);

    /* one, none (said), two, two/../one (the first again), the user's, beside the executable */
    assert_int_equal(pare_plugins_folder_count(set), 6);
    static const pare_folder_origin origin[] = {PARE_FOLDER_OPTION, PARE_FOLDER_ENV,  PARE_FOLDER_ENV,
                                                PARE_FOLDER_ENV,    PARE_FOLDER_USER, PARE_FOLDER_INSTALL};
    for (size_t i = 0; i < 6; i++) assert_int_equal(pare_plugins_folder_at(set, i)->origin, origin[i]);
    assert_false(pare_plugins_folder_at(set, 1)->exists);
    assert_true(pare_plugins_folder_at(set, 3)->repeated);
    assert_int_equal(pare_diags_count(d), 1);
    assert_int_equal(pare_diags_get(d, 0)->severity, PARE_WARNING);
    assert_non_null(strstr(pare_diags_get(d, 0)->message, none));
    const char *install = pare_plugins_folder_at(set, 5)->path;
    const char *end = "/" PARE_LIBDIR "/pare/plugins";
    assert_string_equal(install + strlen(install) - strlen(end), end);

    size_t n;
    const char *const *ids = pare_plugins_technique_ids(set, &n);
    assert_true(n >= 4);
    for (size_t i = 1; i < n; i++) assert_true(strcmp(ids[i - 1], ids[i]) < 0);
    const pare_loaded *from;
    const pare_technique *t = pare_plugins_technique(set, "misuse.leaks", &from);
    assert_non_null(t);
    assert_string_equal(from->id, "test-misuse");
    assert_null(pare_plugins_technique(set, "misuse.nothing", NULL));
    pare_plugins_free(set);
    pare_diags_free(d);
    char *all[] = {option, env, user, clash, one, two, none, path};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void named_folders_must_exist(void **state) {
    (void)state;
    char *none = in_tmp("nowhere"), *file = in_tmp("file");
    assert_int_equal(pare_file_write(file, "x", 1, NULL), PARE_OK);
    const char *dirs[] = {none, CASES "/edits", file};
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    assert_null(pare_plugins_load(dirs, 3, d));
    assert_int_equal(pare_diags_errors(d), 2); /* both at once */
    assert_string_equal(pare_diags_get(d, 0)->code, "plugin.no-folder");
    assert_non_null(strstr(pare_diags_get(d, 0)->message, "does not exist"));
    assert_non_null(strstr(pare_diags_get(d, 1)->message, "is not a folder"));
    pare_diags_free(d);
    free(none);
    free(file);
}

static void hash_on_demand(void **state) {
    (void)state;
    char *path = copy("edits", "hash", "edits.so"), *folder = in_tmp("hash"), want[PARE_SHA256_HEX];
    const char *dirs[] = {folder};
    pare_plugins *set = pare_plugins_load(dirs, 1, NULL);
    assert_non_null(set);
    assert_int_equal(pare_sha256_file(path, NULL, want), PARE_OK);
    const char *got = pare_plugin_sha256(set, loaded(set, "test-edits"), NULL);
    assert_non_null(got);
    assert_string_equal(got, want);
    assert_ptr_equal(got, pare_plugin_sha256(set, loaded(set, "test-edits"), NULL));
    pare_plugins_free(set);
    free(path);
    free(folder);
}

/* Structs that grew: what this host knows of them is read, by their own stride. */
static void plugins_of_the_future_load(void **state) {
    (void)state;
    const char *dirs[] = {CASES "/grown", CASES "/cpp17"};
    pare_plugins *set = pare_plugins_load(dirs, 2, NULL);
    assert_non_null(set);
    const pare_technique *t = pare_plugins_technique(set, "test.grown", NULL);
    if (!t) fail_msg("grown: %s", reason_of(set, "grown.so"));
    pare_param_table table = {t->params, t->n_params, t->param_stride};
    assert_string_equal(pare_param_at(table, 1)->name, "second");
    assert_string_equal(loaded(set, "test-grown")->vendor, "");
    if (!loaded(set, "test-cpp17")) fail_msg("cpp17: %s", reason_of(set, "cpp17.so"));
    assert_string_equal(loaded(set, "test-cpp17")->license, "Apache-2.0");
    pare_plugins_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bad_plugin_has_its_reason),
        cmocka_unit_test(damaged_files_are_not_opened),
        cmocka_unit_test(first_wins),
        cmocka_unit_test(named_folders_must_exist),
        cmocka_unit_test(hash_on_demand),
        cmocka_unit_test(plugins_of_the_future_load),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
