/* data/data.h - datasets: what they are, how their samples become a model's input, and reading them in batches.
 *
 * A set (pare_data) is opened once from a plain description and holds no samples in memory where its files can be
 * mapped or decoded when needed; sets made `from` another share its files. A reader decodes on threads of its own, a
 * bounded number of batches ahead. The order of samples is fixed by seeds, never by threads.
 * Is not: YAML (the pipeline fills these structs), metrics. May use: base, model, libjpeg, libpng, libzip, zlib.
 */
#ifndef PARE_DATA_DATA_H
#define PARE_DATA_DATA_H

#include "base/hash.h"
#include "model/array.h"

/* ---- how samples become input ---- */

typedef enum { PARE_ORDER_RGB, PARE_ORDER_BGR } pare_color_order;
typedef enum { PARE_DATA_LAYOUT_AUTO, PARE_DATA_LAYOUT_NCHW, PARE_DATA_LAYOUT_NHWC } pare_data_layout;
enum { PARE_DATA_CHANNELS = 16 };

/* In this order: to `channels`, resize, centre crop, order, scale, mean, std. Zero-initialise: pixels of 8 bits become
 * x/255, everything else stays. x = (pixel * scale - mean[c]) / std[c], c the channel of the model's tensor. */
typedef struct pare_data_preprocess {
    double scale;           /* 0: 1/255 for 8-bit pixels, 1 for all else */
    uint32_t n_mean, n_std; /* 0: none; 1: for all channels; else one a channel */
    double mean[PARE_DATA_CHANNELS], std[PARE_DATA_CHANNELS];
    uint32_t resize;                      /* the shorter side, the other in proportion; 0: see below */
    uint32_t resize_height, resize_width; /* both exactly; 0: no resizing. Bilinear with antialias, as Pillow's */
    uint32_t crop_height, crop_width;     /* 0: none. What the image lacks is filled with 0 before scaling */
    uint32_t channels;                    /* 1 or 3 for colour conversion; 0: the model's, else the data's */
    pare_color_order order;
    pare_data_layout layout; /* AUTO: by where the model's input has its channels, else NCHW */
} pare_data_preprocess;

/* As JSON on one line, only what is set, by the names and in the forms that the pipeline file has: mean, std, scale,
 * resize (a number, or [height, width]), crop ([height, width]), channels, order, layout. For a model's metadata. */
void pare_data_preprocess_print(const pare_data_preprocess *p, pare_sb *out);
/* Reads it back; crop may be one number. `name` is for messages. PARE_EINVAL (reported) names the key. */
pare_status pare_data_preprocess_parse(const char *json, const char *name, pare_diags *d, pare_data_preprocess *out);

/* What the model's first input takes. ndim 0: nothing is known. */
typedef struct pare_data_target {
    uint32_t dtype; /* PARE_FLOAT, PARE_UINT8 (pixels as they are), or the data's own; 0: unknown */
    uint32_t ndim;
    int64_t dims[PARE_ARRAY_DIMS]; /* with the batch; -1: any */
} pare_data_target;

/* ---- sets ---- */

typedef enum {
    PARE_DATA_IDX,         /* path is PREFIX of PREFIX-images-idx3-ubyte[.gz] and PREFIX-labels-idx1-ubyte[.gz] */
    PARE_DATA_NPY,         /* path: .npy of the samples, labels: .npy or NULL; or path: an .npz of both */
    PARE_DATA_CIFAR10,     /* path: the folder of data_batch_*.bin and test_batch.bin (see part), or one such file */
    PARE_DATA_CIFAR100,    /* path: the folder of train.bin and test.bin, or one such file; fine labels */
    PARE_DATA_FOLDER,      /* path: a folder of class folders, classes in byte order; JPEG and PNG */
    PARE_DATA_FLAT,        /* path: a folder of images, no labels; or one image */
    PARE_DATA_LIST,        /* path: a text file, "IMAGE LABEL" or "IMAGE" a line, relative to it */
    PARE_DATA_SAFETENSORS, /* path: one file with the tensors `images` and, if it has them, `labels` */
    PARE_DATA_RANDOM,      /* count normal samples of the target's shape, by seed */
    PARE_DATA_FROM,        /* samples of the set `from` */
} pare_data_kind;

typedef enum { PARE_ON_ERROR_FAIL, PARE_ON_ERROR_SKIP } pare_on_error;

typedef struct pare_data pare_data;

/* Zero-initialise. Strings are borrowed until pare_data_open returns. */
typedef struct pare_data_source {
    pare_data_kind kind;
    const char *name; /* for messages; NULL: the path */
    const char *path;
    const char *labels;      /* NPY: the labels' file; in .npz and safetensors the array's name (NULL: "labels", which
                                may be absent) */
    const char *images;      /* in .npz and safetensors the array's name; NULL: "images" */
    const char *part;        /* CIFAR folders: "train" (NULL) or "test" */
    pare_data_layout layout; /* of arrays with 4 dims; AUTO: by where 1, 3 or 4 channels can be */
    uint64_t count;          /* RANDOM */
    uint32_t classes;        /* labels must be below it; 0: any */
    const pare_data *from;   /* FROM; must not be freed before open returns (its files are shared) */
    double split_from, split_to; /* a share of each class, drawn by seed; 0, 0: all. Equal seeds: parts don't overlap */
    uint64_t take;               /* so many samples, drawn by seed, in proportion of the classes; after split; 0: all */
    uint64_t seed;
    bool shuffle;           /* readers go through it in another order each epoch, by seed */
    pare_on_error on_error; /* an image that can't be decoded ends reading, or is left out and told */
} pare_data_source;

/* PARE_EINVAL, PARE_ENOTFOUND, PARE_EUNSUPPORTED, PARE_EIO, PARE_ENOMEM: reported. target may be NULL (RANDOM needs its
 * shape). The set is immutable: any thread may read it. */
pare_status pare_data_open(const pare_data_source *src, const pare_data_target *target, pare_diags *d, pare_data **out);
void pare_data_free(pare_data *set); /* NULL is fine; readers must be closed */

uint64_t pare_data_count(const pare_data *set);
bool pare_data_labelled(const pare_data *set);
uint32_t pare_data_classes(const pare_data *set);                       /* named or highest label + 1; 0: no labels */
const char *pare_data_class_name(const pare_data *set, uint32_t label); /* NULL: it has none */
/* The names of a source's classes, from its folders or its own list of names, without a look at its samples: *n
 * strings, each and the array malloc'ed. NULL and 0: it has none, they can't be read, or it is made `from` another set
 * (ask that one's source). */
char **pare_data_source_classes(const pare_data_source *src, uint32_t *n);
/* Of the i-th sample: its label (-1: none) and the file it comes from (NULL for kinds that hold many in one). */
int64_t pare_data_label(const pare_data *set, uint64_t i);
const char *pare_data_path(const pare_data *set, uint64_t i);
/* "images/0/cat.png", or "sample 17 of train" where there is no file: what a person may call the i-th sample.
 * malloc'ed.
 */
char *pare_data_sample_name(const pare_data *set, uint64_t i);
/* At most n of the set's samples (0: all), by seed, in proportion of the classes, in an order that the seed gives:
 * *positions (malloc'ed, the caller's) holds *count of them. PARE_ENOMEM, reported. */
pare_status pare_data_draw(const pare_data *set, uint64_t n, uint64_t seed, pare_diags *d, uint64_t **positions,
                           uint64_t *count);
/* Adds samples and labels to a hash, in the set's order: the bytes of files (not their names) or records; of random
 * samples what they are made of. Reported; PARE_ECANCELLED after SIGINT. */
pare_status pare_data_hash(const pare_data *set, pare_sha256 *h, pare_diags *d);
/* The files that samples and labels come from, images of folders and lists last; 0: there are none. Borrowed. */
uint64_t pare_data_n_files(const pare_data *set);
const char *pare_data_file(const pare_data *set, uint64_t i);
uint64_t pare_data_n_images(const pare_data *set); /* of these, how many are images of their own */
/* Is every label below `classes`? PARE_EINVAL names the first that isn't: the file, and which of its samples. */
pare_status pare_data_check_labels(const pare_data *set, uint32_t classes, pare_diags *d);

/* ---- reading ---- */

typedef struct pare_reader_opts {
    uint32_t batch;   /* >= 1 */
    uint32_t threads; /* that decode; 0: pare_threads(). Batches don't depend on it */
    uint32_t ahead;   /* batches decoded ahead of the one handed out; 0: 1 */
    uint64_t epoch;   /* with the seed it makes the order of a set that is shuffled */
    bool drop_last;   /* leave out a last batch that is short */
    /* These samples of the set, in this order (copied; `epoch` means nothing then); NULL: all. */
    const uint64_t *only;
    uint64_t n_only;
} pare_reader_opts;

typedef struct pare_batch {
    pare_array *images; /* (n, channels, height, width), (n, height, width, channels), or the array's own shape */
    pare_array *labels; /* int64 (n), or NULL */
    uint64_t *samples;  /* which of the set each one is; n of them */
    uint64_t n;         /* may be fewer than asked for at the end, and where on_error skips */
} pare_batch;

typedef struct pare_reader pare_reader;
/* The set must outlive the reader; pre and target (may be NULL) are copied. What can't fit is refused here where the
 * shape of samples is known, else by next. One thread uses a reader. */
pare_status pare_reader_open(const pare_data *set, const pare_data_preprocess *pre, const pare_data_target *target,
                             const pare_reader_opts *opts, pare_diags *d, pare_reader **out);
/* The next batch, the caller's to free; n 0 and PARE_OK at the end. A failure is final. PARE_ECANCELLED after SIGINT.
 */
pare_status pare_reader_next(pare_reader *r, pare_diags *d, pare_batch *out);
void pare_batch_free(pare_batch *b);
uint64_t pare_reader_skipped(const pare_reader *r); /* samples left out so far */
/* Shape of one sample as batches have it (without the batch). */
void pare_reader_shape(const pare_reader *r, uint32_t *dtype, uint32_t *ndim, int64_t dims[PARE_ARRAY_DIMS]);
void pare_reader_close(pare_reader *r); /* NULL is fine; waits for its threads */

/* One image file as a batch of 1. */
pare_status pare_data_image(const char *path, const pare_data_preprocess *pre, const pare_data_target *target,
                            pare_diags *d, pare_array **out);

#endif
