/* cli/infer_image.h - pare infer on images: the classes a model sees in them. May use: pipeline/score.h, carry.h. */
#ifndef PARE_CLI_INFER_IMAGE_H
#define PARE_CLI_INFER_IMAGE_H

#include "cli/cli.h"

/* Of the operands after the model and of --image: files, and folders of them. */
pare_status pare_infer_images(pare_cli *c);

#endif
