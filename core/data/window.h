/* data/window.h - resize and centre crop as numbers. Inside the layer. May use: data.h, image.h. */
#ifndef PARE_DATA_WINDOW_H
#define PARE_DATA_WINDOW_H

#include "data/data.h"
#include "data/image.h"

/* What of an image is kept, resized to what: torchvision's Resize (int: the shorter side, the longer rounded down) and
 * CenterCrop (offset rounded half to even; what is missing is added around, the odd pixel right and below). */
pare_status pare_prep_window(const pare_data_preprocess *q, uint64_t width, uint64_t height, const char *path,
                             pare_diags *d, pare_window *out);

#endif
