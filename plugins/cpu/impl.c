/* cpu/impl.c - the implementation object: the device, its memory, its layouts. See device.h; kernels are in kernel.c.
 */
#define _DEFAULT_SOURCE /* madvise */
#include "impl.h"

#include "device.h"
#include "team.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory ---- */

enum { ALIGN = 64 };
#define HUGE_PAGE ((uint64_t)2 << 20)
#define ADDRESSES ((uint64_t)1 << (sizeof(void *) > 4 ? 47 : 31)) /* no process has more */

/* Before each block, in the ALIGN bytes that keep it aligned. */
typedef struct block {
    uint64_t bytes;
} block;

pare_status cpu_alloc(void *device, uint64_t bytes, void **memory) {
    cpu_device *dev = device;
    if (bytes > ADDRESSES) return PARE_ENOMEM;
    if (dev->cap && (bytes > dev->cap || dev->used > dev->cap - bytes)) return PARE_ENOMEM;
    uint64_t total = (bytes + 2 * ALIGN - 1) / ALIGN * ALIGN, align = ALIGN;
    if (total >= 2 * HUGE_PAGE) {
        align = HUGE_PAGE;
        total = (total + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    }
    unsigned char *p = aligned_alloc((size_t)align, (size_t)total);
    if (!p) return PARE_ENOMEM;
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE) madvise(p, (size_t)total, MADV_HUGEPAGE); /* a wish: fewer page faults */
#endif
    ((block *)(void *)p)->bytes = bytes;
    dev->used += bytes;
    *memory = p + ALIGN;
    return PARE_OK;
}

void cpu_free(void *device, void *memory) {
    cpu_device *dev = device;
    if (!memory) return;
    unsigned char *p = (unsigned char *)memory - ALIGN;
    dev->used -= ((block *)(void *)p)->bytes;
    free(p);
}

/* ---- layouts ---- */

pare_layout cpu_layout_plain(const pare_operand *o) {
    uint64_t count = ref_count(o);
    return (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = o->dtype ? pare_nbytes(o->dtype, count) : 0};
}

/* oneDNN's letters count the dims: "aBcd16b". Images' dims have letters that people know: "nChw16c". */
static void name_layout(cpu_own_layout *l) {
    char text[64] = "";
    int dims = 0;
    dn_desc_text(l->desc, text, sizeof text);
    for (const char *p = text; isalpha((unsigned char)*p); p++) dims++;
    const char *letters = dims == 4 ? "nchw" : dims == 5 ? "ncdhw" : NULL;
    for (char *p = text; letters && *p && strcmp(text, "packed") != 0 && strcmp(text, "plain") != 0; p++) {
        int at = tolower((unsigned char)*p) - 'a';
        if (isalpha((unsigned char)*p) && at < dims)
            *p = (char)(isupper((unsigned char)*p) ? toupper((unsigned char)letters[at]) : letters[at]);
    }
    snprintf(l->name, sizeof l->name, "%.*s", (int)sizeof l->name - 1, text);
}

uint32_t cpu_layout_number(cpu_device *dev, const dn_desc *d) {
    uint32_t number = dn_desc_hash(d);
    for (uint32_t i = 0; i < dev->n_layouts; i++)
        if (dn_desc_equal(dev->layouts[i].desc, d)) return dev->layouts[i].number;
    while (!number || cpu_layout_desc(dev, number)) number++; /* another's */
    if (dev->n_layouts == dev->room_layouts) {
        uint32_t room = dev->room_layouts ? 2 * dev->room_layouts : 64;
        cpu_own_layout *more = realloc(dev->layouts, room * sizeof *more);
        if (!more) return 0;
        dev->layouts = more;
        dev->room_layouts = room;
    }
    dn_desc *kept = dn_desc_clone(d);
    if (!kept) return 0;
    cpu_own_layout *l = &dev->layouts[dev->n_layouts++];
    *l = (cpu_own_layout){.desc = kept, .number = number};
    name_layout(l);
    return number;
}

bool cpu_layout_of(cpu_device *dev, const dn_desc *d, pare_layout *out) {
    *out = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = dn_desc_bytes(d)};
    if (dn_desc_is_plain(d)) return true;
    out->kind = PARE_LAYOUT_OWN;
    out->id = cpu_layout_number(dev, d);
    return out->id != 0;
}

const dn_desc *cpu_layout_desc(const cpu_device *dev, uint64_t id) {
    for (uint32_t i = 0; i < dev->n_layouts; i++)
        if (dev->layouts[i].number == id) return dev->layouts[i].desc;
    return NULL;
}

static const char *dev_layout_name(void *device, uint64_t id) {
    const cpu_device *dev = device;
    for (uint32_t i = 0; i < dev->n_layouts; i++)
        if (dev->layouts[i].number == id) return dev->layouts[i].name;
    return NULL;
}

/* ---- the device ---- */

static void dev_close(void *device) {
    cpu_device *dev = device;
    if (!dev) return;
    for (uint32_t i = 0; i < dev->n_layouts; i++) dn_desc_free(dev->layouts[i].desc);
    free(dev->layouts);
    if (dev->stream) dnnl_stream_destroy(dev->stream);
    if (dev->engine) dnnl_engine_destroy(dev->engine);
    free(dev);
}

static pare_status dev_open(const pare_host *host, const pare_device_opts *opts, void **device) {
    if (opts->index != 0) {
        PARE_REPORT(host, PARE_ERROR, .code = "cpu.no-device", .message = "the cpu backend has one device, number 0");
        return PARE_EINVAL;
    }
    cpu_device *dev = calloc(1, sizeof *dev);
    if (!dev) return PARE_ENOMEM;
    dev->threads = opts->threads ? opts->threads : 1;
    dev->cap = opts->memory;
    cpu_team_size(dev->threads);
    if (dnnl_engine_create(&dev->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&dev->stream, dev->engine, dnnl_stream_default_flags) != dnnl_success) {
        PARE_REPORT(host, PARE_ERROR, .code = "cpu.onednn", .message = "oneDNN makes no engine for this CPU");
        dev_close(dev);
        return PARE_EUNSUPPORTED;
    }
    const dnnl_version_t *v = dnnl_version();
    snprintf(dev->about, sizeof dev->about, "oneDNN %d.%d.%d, %s, %u thread%s", v->major, v->minor, v->patch, dn_isa(),
             dev->threads, dev->threads == 1 ? "" : "s");
    *device = dev;
    return PARE_OK;
}

static const char *dev_describe(void *device) { return ((cpu_device *)device)->about; }

static pare_status dev_copy(void *device, void *dst, const void *src, uint64_t bytes, uint32_t kind) {
    (void)device;
    (void)kind; /* one address space */
    if (bytes) memmove(dst, src, (size_t)bytes);
    return PARE_OK;
}

static pare_status dev_fill(void *device, void *dst, int value, uint64_t bytes) {
    (void)device;
    if (bytes) memset(dst, value, (size_t)bytes);
    return PARE_OK;
}

static pare_status dev_sync(void *device) {
    (void)device; /* every call is done when it returns */
    return PARE_OK;
}

/* ---- kernels ---- */

static pare_status dev_kernel(void *device, const pare_kernel_spec *s, uint32_t candidate, void **kernel) {
    cpu_device *dev = device;
    cpu_team_size(dev->threads);
    cpu_kernel *k = NULL;
    for (uint32_t i = 0; i < cpu_n_fast_makers; i++) {
        pare_status st = cpu_fast_makers[i](dev, s, candidate, &k);
        if (st == PARE_EUNSUPPORTED) continue;
        if (!st) *kernel = k;
        return st;
    }
    pare_status st = cpu_make_ref(dev, s, candidate, &k);
    if (!st) *kernel = k;
    return st;
}

static pare_status dev_kernel_info(void *kernel, pare_kernel_info *out) {
    cpu_kernel *k = kernel;
    uint32_t size = out->size;
    if (size < sizeof *out) return PARE_EINVAL;
    *out = (pare_kernel_info){
        .size = size,
        .n_post = k->n_post,
        .name = k->name,
        .in = k->in,
        .out = k->out,
        .pack = k->pack,
        .scratch = k->scratch,
        .in_place = k->in_place,
        .view = k->view,
    };
    return PARE_OK;
}

static void dev_kernel_free(void *kernel) { cpu_kernel_free(kernel); }

static pare_status dev_pack(void *kernel, uint32_t i, const void *src, void *dst) {
    cpu_kernel *k = kernel;
    if (i >= k->n_in || !k->pack[i] || !k->pack_one) return PARE_EINVAL;
    cpu_team_size(k->dev->threads);
    return k->pack_one(k, i, src, dst);
}

static pare_status dev_run(void *kernel, const void *const *in, void *const *out, void *scratch) {
    cpu_kernel *k = kernel;
    cpu_team_size(k->dev->threads); /* of the calling thread: another device may have set its own */
    return k->run(k, in, out, scratch);
}

const cpu_impl *pare_cpu_impl_v1(void) {
    static const cpu_impl table = {
        .size = sizeof(cpu_impl),
        .build = CPU_IMPL_BUILD,
        .open = dev_open,
        .close = dev_close,
        .describe = dev_describe,
        .alloc = cpu_alloc,
        .free = cpu_free,
        .copy = dev_copy,
        .fill = dev_fill,
        .sync = dev_sync,
        .kernel = dev_kernel,
        .kernel_info = dev_kernel_info,
        .kernel_free = dev_kernel_free,
        .pack = dev_pack,
        .run = dev_run,
        .layout_name = dev_layout_name,
    };
    return &table;
}
