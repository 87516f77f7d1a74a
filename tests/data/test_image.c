/* tests/data/test_image.c - decoding, colours, resizing and cropping, against values worked out by hand; corrupt and
 * odd images. What Pillow makes of the same files is compared by tests/interop/test_data.py, which drives this program:
 *
 * data_test_image KIND PATH OUT [KEY=VALUE ...]   writes OUT.images.npy and OUT.labels.npy: all of a set in one batch
 */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/image.h"
#include "data/make.h"

static void decode_file(const char *path, pare_image *im) {
    pare_map_file *f;
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    assert_int_equal(pare_map_file_open(path, d, &f), PARE_OK);
    assert_int_equal(pare_image_decode(f->data, f->len, path, d, im), PARE_OK);
    pare_map_file_unref(f);
    pare_diags_free(d);
}

static void pngs(void **state) {
    (void)state;
    pare_image im = {0};
    write_png(in_tmp("rgba.png"), 1, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, 0, (const unsigned char *)"\x0a\x14\x1e\x00");
    decode_file(in_tmp("rgba.png"), &im);
    assert_int_equal(im.channels, 3);
    assert_memory_equal(im.pixels, "\x0a\x14\x1e", 3); /* alpha is dropped, not blended */

    write_png(in_tmp("ga.png"), 2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, (const unsigned char *)"\x07\x00\x09\xff");
    decode_file(in_tmp("ga.png"), &im);
    assert_int_equal(im.channels, 1);
    assert_memory_equal(im.pixels, "\x07\x09", 2);

    write_png(in_tmp("rgb16.png"), 1, 1, 16, PNG_COLOR_TYPE_RGB, 0, (const unsigned char *)"\x12\xff\x34\x00\xff\xff");
    decode_file(in_tmp("rgb16.png"), &im);
    assert_memory_equal(im.pixels, "\x12\x34\xff", 3);

    write_png(in_tmp("pal.png"), 4, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, (const unsigned char *)"\x1b"); /* 0 1 2 3 */
    decode_file(in_tmp("pal.png"), &im);
    assert_int_equal(im.channels, 3);
    assert_memory_equal(im.pixels, "\xff\0\0\0\xff\0\0\0\xff\x0a\x14\x1e", 12);

    write_png(in_tmp("bit.png"), 8, 1, 1, PNG_COLOR_TYPE_GRAY, 0, (const unsigned char *)"\xa0");
    decode_file(in_tmp("bit.png"), &im);
    assert_memory_equal(im.pixels, "\xff\0\xff\0\0\0\0\0", 8);

    unsigned char px[9 * 7 * 3];
    for (size_t i = 0; i < sizeof px; i++) px[i] = (unsigned char)(i * 37);
    write_png(in_tmp("adam7.png"), 9, 7, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, px);
    decode_file(in_tmp("adam7.png"), &im);
    assert_int_equal(im.width, 9);
    assert_int_equal(im.height, 7);
    assert_memory_equal(im.pixels, px, sizeof px);
    pare_image_free(&im);
}

static void jpegs(void **state) {
    (void)state;
    pare_image im = {0};
    static unsigned char px[16 * 16 * 4];
    memset(px, 128, sizeof px);
    write_jpeg(in_tmp("grey.jpg"), 16, 16, 1, px);
    decode_file(in_tmp("grey.jpg"), &im);
    assert_int_equal(im.channels, 1);
    assert_int_equal(im.pixels[17], 128);
    write_jpeg(in_tmp("one.jpg"), 1, 1, 3, px);
    decode_file(in_tmp("one.jpg"), &im);
    assert_int_equal(im.width * im.height, 1);
    assert_int_equal(im.channels, 3);
    /* Adobe's: 255 is no ink. c = 255 (none), m = 0 (full), y = 255, k = 255 (none): green goes */
    for (size_t i = 0; i < 256; i++) memcpy(px + i * 4, "\xff\0\xff\xff", 4);
    write_jpeg(in_tmp("cmyk.jpg"), 16, 16, 4, px);
    decode_file(in_tmp("cmyk.jpg"), &im);
    assert_int_equal(im.channels, 3);
    assert_true(im.pixels[0] > 250 && im.pixels[1] < 5 && im.pixels[2] > 250);
    assert_true(im.pixels[765] > 250 && im.pixels[766] < 5 && im.pixels[767] > 250);
    pare_image_free(&im);
}

static void decode_bad(const void *p, size_t n, pare_status st, const char *code) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_image im = {0};
    assert_int_equal(pare_image_decode(p, n, "a/cat.jpg", d, &im), st);
    assert_int_equal(pare_diags_errors(d), 1);
    told(d, code, "cat.jpg");
    pare_diags_free(d);
    pare_image_free(&im);
}

static void corrupt(void **state) {
    (void)state;
    static unsigned char px[64 * 64 * 3];
    for (size_t i = 0; i < sizeof px; i++) px[i] = (unsigned char)(i * i >> 3);
    static const char *const names[] = {"c.jpg", "c.png"};
    write_jpeg(in_tmp(names[0]), 64, 64, 3, px);
    write_png(in_tmp(names[1]), 64, 64, 8, PNG_COLOR_TYPE_RGB, 0, px);
    for (int k = 0; k < 2; k++) {
        size_t n = 0;
        char *p = get_file(in_tmp(names[k]), &n);
        assert_non_null(p);
        static const double cuts[] = {0.02, 0.2, 0.5, 0.9};
        for (size_t i = 0; i < 4; i++) {
            size_t len = (size_t)((double)n * cuts[i]);
            if (len > 8) decode_bad(p, len, PARE_EINVAL, "image.corrupt");
        }
        p[n / 2] ^= 0x7f; /* PNG's checksum tells; a JPEG may survive it */
        if (k) decode_bad(p, n, PARE_EINVAL, "image.corrupt");
        /* whatever bytes come, a status comes back */
        pare_image im = {0};
        for (unsigned s = 1; s < 200; s++) {
            p[(s * 7919u) % n] = (char)(s * 31u);
            (void)pare_image_decode((unsigned char *)p, n, "x", NULL, &im);
        }
        pare_image_free(&im);
        free(p);
    }
    decode_bad("", 0, PARE_EINVAL, "image.corrupt");
    decode_bad("\xff\xd8", 2, PARE_EINVAL, "image.corrupt");
    decode_bad("hello, world", 12, PARE_EINVAL, "image.corrupt");
    decode_bad("RIFF\1\2\3\4WEBPVP8", 15, PARE_EUNSUPPORTED, "image.format");
    decode_bad("GIF89a....", 10, PARE_EUNSUPPORTED, "image.format");
}

static void wide(void **state) {
    (void)state;
    /* 30,000 wide is read and shrinks; what would take more than half a GiB is refused before it is allocated */
    unsigned char *row = calloc(30000, 2);
    memset(row, 200, 60000);
    write_png(in_tmp("wide.png"), 30000, 2, 8, PNG_COLOR_TYPE_GRAY, 0, row);
    free(row);
    pare_image im = {0}, out = {0};
    pare_resize_room room = {0};
    decode_file(in_tmp("wide.png"), &im);
    assert_int_equal(im.width, 30000);
    pare_window w = {60000, 4, 29998, 0, 4, 4};
    assert_int_equal(pare_image_resize(&im, &w, "wide.png", NULL, &room, &out), PARE_OK);
    for (int i = 0; i < 16; i++) assert_int_equal(out.pixels[i], 200);
    pare_image_free(&im);
    pare_image_free(&out);
    pare_resize_room_free(&room);

    /* headers alone: 30000x30000 */
    static const unsigned char big[] =
        "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x75\x30\0\0\x75\x30\x08\x02\0\0\0\xe1\x30\x0b\x29";
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_status st = pare_image_decode(big, sizeof big - 1, "big.png", d, &im);
    assert_true(st == PARE_EUNSUPPORTED || st == PARE_EINVAL);
    assert_null(im.pixels);
    assert_int_equal(pare_image_size(&im, 30000, 30000, 3, "big.png", d), PARE_EUNSUPPORTED);
    told(d, "image.too-large", "30000x30000");
    assert_int_equal(pare_image_size(&im, 0, 5, 3, "big.png", d), PARE_EINVAL);
    pare_diags_free(d);
}

static void resizing(void **state) {
    (void)state;
    unsigned char px[4] = {0, 100, 200, 40};
    pare_image in = {4, 1, 1, px, 4}, out = {0};
    pare_resize_room room = {0};
    /* half: the triangle reaches 2 pixels: weights 1/8 3/8 3/8 1/8, cut and renormalised at the edges */
    pare_window w = {2, 1, 0, 0, 2, 1};
    assert_int_equal(pare_image_resize(&in, &w, "x", NULL, &room, &out), PARE_OK);
    assert_int_equal(out.pixels[0], 71);  /* (3*0 + 3*100 + 1*200) / 7 = 71.4 */
    assert_int_equal(out.pixels[1], 117); /* (100 + 3*200 + 3*40) / 7 = 117.1 */
    /* a window that reaches over the edges: black there */
    w = (pare_window){4, 1, -1, -1, 6, 3};
    assert_int_equal(pare_image_resize(&in, &w, "x", NULL, &room, &out), PARE_OK);
    assert_memory_equal(out.pixels, "\0\0\0\0\0\0\0\0\x64\xc8\x28\0\0\0\0\0\0\0", 18);
    /* beside the image */
    w = (pare_window){4, 1, 10, 0, 2, 1};
    assert_int_equal(pare_image_resize(&in, &w, "x", NULL, &room, &out), PARE_OK);
    assert_memory_equal(out.pixels, "\0\0", 2);

    /* a crop of a resized image is the resized image's crop */
    static unsigned char big[50 * 40 * 3];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (unsigned char)(i * i * 13 >> 4);
    pare_image src = {50, 40, 3, big, sizeof big}, all = {0};
    w = (pare_window){31, 23, 0, 0, 31, 23};
    assert_int_equal(pare_image_resize(&src, &w, "x", NULL, &room, &all), PARE_OK);
    w = (pare_window){31, 23, 5, 6, 10, 11};
    assert_int_equal(pare_image_resize(&src, &w, "x", NULL, &room, &out), PARE_OK);
    for (int y = 0; y < 11; y++) assert_memory_equal(out.pixels + y * 30, all.pixels + ((y + 6) * 31 + 5) * 3, 30);
    pare_image_free(&out);
    pare_image_free(&all);
    pare_resize_room_free(&room);
}

static void colours(void **state) {
    (void)state;
    pare_image im = {0};
    assert_int_equal(pare_image_size(&im, 2, 1, 3, "x", NULL), PARE_OK);
    memcpy(im.pixels, "\xff\x00\x00\x0a\x14\x1e", 6);
    assert_int_equal(pare_image_channels(&im, 1, "x", NULL), PARE_OK);
    assert_memory_equal(im.pixels, "\x4c\x12", 2); /* 0.299 * 255 = 76.2; 18.15 */
    assert_int_equal(pare_image_channels(&im, 3, "x", NULL), PARE_OK);
    assert_memory_equal(im.pixels, "\x4c\x4c\x4c\x12\x12\x12", 6);
    assert_int_equal(pare_image_channels(&im, 4, "x", NULL), PARE_EUNSUPPORTED);
    pare_image_free(&im);
}

/* ---- as a tool ---- */

static uint32_t number(const char *s) { return (uint32_t)strtoul(s, NULL, 10); }

static void two(const char *s, uint32_t *a, uint32_t *b) {
    const char *x = strchr(s, 'x');
    *a = number(s);
    *b = x ? number(x + 1) : *a;
}

static uint32_t floats(const char *s, double *to) {
    uint32_t n = 0;
    for (; *s; n++) {
        char *end;
        to[n] = strtod(s, &end);
        s = *end ? end + 1 : end;
    }
    return n;
}

static int tool(int argc, char **argv) {
    static const char *const kinds[] = {"idx", "npy", "cifar10", "cifar100", "folder", "flat", "list", "safetensors"};
    pare_data_source src = {.path = argv[2]};
    pare_data_preprocess pre = {0};
    pare_reader_opts opts = {.threads = 2};
    while (src.kind < PARE_DATA_RANDOM && strcmp(argv[1], kinds[src.kind]) != 0) src.kind++;
    for (int i = 4; i < argc; i++) {
        const char *v = strchr(argv[i], '=') + 1;
        switch (argv[i][0] << 8 | argv[i][1]) {
        case 'l' << 8 | 'a':
            if (strncmp(argv[i], "labels", 6) == 0)
                src.labels = v;
            else
                pre.layout = v[1] == 'h' ? PARE_DATA_LAYOUT_NHWC : PARE_DATA_LAYOUT_NCHW;
            break;
        case 'r' << 8 | 'e':
            if (strchr(v, 'x'))
                two(v, &pre.resize_height, &pre.resize_width);
            else
                pre.resize = number(v);
            break;
        case 'c' << 8 | 'r': two(v, &pre.crop_height, &pre.crop_width); break;
        case 'c' << 8 | 'h': pre.channels = number(v); break;
        case 'm' << 8 | 'e': pre.n_mean = floats(v, pre.mean); break;
        case 's' << 8 | 't': pre.n_std = floats(v, pre.std); break;
        case 'o' << 8 | 'r': pre.order = v[0] == 'b' ? PARE_ORDER_BGR : PARE_ORDER_RGB; break;
        case 't' << 8 | 'h': opts.threads = number(v); break;
        case 'b' << 8 | 'a': opts.batch = number(v); break;
        default: return 2;
        }
    }
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_data *set = NULL;
    pare_reader *r = NULL;
    pare_batch b = {0};
    char path[4300];
    pare_status st = pare_data_open(&src, NULL, d, &set);
    bool all = !opts.batch; /* else: read through, for timing */
    if (all && set) opts.batch = (uint32_t)pare_data_count(set);
    if (st == PARE_OK) st = pare_reader_open(set, &pre, NULL, &opts, d, &r);
    double start = pare_clock();
    uint64_t n = 0;
    while (st == PARE_OK) {
        pare_batch_free(&b);
        st = pare_reader_next(r, d, &b);
        n += b.n;
        if (all || !b.n) break;
    }
    if (!all) printf("%.6f %llu\n", pare_clock() - start, (unsigned long long)n);
    snprintf(path, sizeof path, "%s.images.npy", argv[3]);
    if (st == PARE_OK && all) st = pare_npy_write(path, b.images, d);
    snprintf(path, sizeof path, "%s.labels.npy", argv[3]);
    if (st == PARE_OK && b.labels) st = pare_npy_write(path, b.labels, d);
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);
    pare_diags_free(d);
    return st == PARE_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc > 3) return tool(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pngs), cmocka_unit_test(jpegs),    cmocka_unit_test(corrupt),
        cmocka_unit_test(wide), cmocka_unit_test(resizing), cmocka_unit_test(colours),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
