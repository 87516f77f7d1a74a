/* data/window.c - see window.h. */
#include "data/window.h"

#include <inttypes.h>

static int64_t offset(uint64_t size, uint64_t crop) {
    if (crop > size) return -(int64_t)((crop - size) / 2);
    uint64_t n = size - crop, half = n / 2;
    return (int64_t)(n % 2 && half % 2 ? half + 1 : half);
}

pare_status pare_prep_window(const pare_data_preprocess *q, uint64_t width, uint64_t height, const char *path,
                             pare_diags *d, pare_window *out) {
    uint64_t w = width, h = height;
    if (q->resize_height) {
        w = q->resize_width;
        h = q->resize_height;
    } else if (q->resize && w <= h) {
        h = q->resize * h / w; /* sides are below 2^16 */
        w = q->resize;
    } else if (q->resize) {
        w = q->resize * w / h;
        h = q->resize;
    }
    uint64_t cw = q->crop_width ? q->crop_width : w, ch = q->crop_height ? q->crop_height : h;
    if (cw > PARE_IMAGE_SIDE || ch > PARE_IMAGE_SIDE)
        return pare_fail_file(d, PARE_EUNSUPPORTED, path, "image.too-large",
                              "say crop, or resize: [height, width], or leave the image out",
                              "%" PRIu64 "x%" PRIu64 " pixels become %" PRIu64 "x%" PRIu64 ": more than %d a side",
                              width, height, cw, ch, PARE_IMAGE_SIDE);
    *out = (pare_window){w, h, offset(w, cw), offset(h, ch), (uint32_t)cw, (uint32_t)ch};
    return PARE_OK;
}
