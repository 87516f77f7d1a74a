/* model/onnx_sniff.c - what a file is that is no ONNX model: by its first bytes, for one clear error. */
#include "model/onnx_graph.h"

#include <string.h>

typedef struct magic {
    size_t offset, len;
    const char *bytes, *what;
} magic;

static const magic magics[] = {
    {0, 3, "\xff\xd8\xff", "a JPEG image"},
    {0, 8, "\x89PNG\r\n\x1a\n", "a PNG image"},
    {0, 4, "GIF8", "a GIF image"},
    {0, 5, "%PDF-", "a PDF document"},
    {0, 4, "PK\x03\x04", "a zip archive (a PyTorch .pth or .pt file, perhaps: export it to ONNX)"},
    {0, 2, "\x1f\x8b", "gzip data (unpack it first)"},
    {0, 4, "\x28\xb5\x2f\xfd", "zstd data (unpack it first)"},
    {0, 6,
     "\xfd"
     "7zXZ\x00",
     "xz data (unpack it first)"},
    {0, 4,
     "\x7f"
     "ELF",
     "an ELF program"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (Keras weights, perhaps)"},
    {0, 6, "\x93NUMPY", "a NumPy array"},
    {0, 4, "GGUF", "a GGUF model"},
    {4, 4, "TFL3", "a TensorFlow Lite model"},
    {4, 4, "ORTM", "a model in ONNX Runtime's own format"},
    {0, 2, "\x80\x02", "a Python pickle (an old PyTorch file, perhaps: export it to ONNX)"},
    {0, 2, "\x80\x04", "a Python pickle"},
    {8, 2, "{\"", "a safetensors file (weights alone: name it under `weights`)"},
    {0, 23, "version https://git-lfs", "a git-lfs pointer (run `git lfs pull`)"},
};

static bool is_text(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0x20 && p[i] != '\n' && p[i] != '\r' && p[i] != '\t') return false;
    while (n && (p[n - 1] & 0xc0) == 0x80) n--; /* a character cut in half at the end */
    if (n && p[n - 1] >= 0x80) n--;
    return n && pare_utf8_ok((const char *)p, n);
}

char *pare_onnx_sniff(const unsigned char *data, size_t n) {
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const magic *m = &magics[i];
        if (n >= m->offset + m->len && memcmp(data + m->offset, m->bytes, m->len) == 0) return pare_xstrdup(m->what);
    }
    size_t head = n < 512 ? n : 512;
    if (is_text(data, head)) return pare_xstrdup("text");
    for (size_t i = 0; i < head; i++)
        if (data[i]) return NULL;
    return pare_xstrdup("a file of zero bytes");
}
