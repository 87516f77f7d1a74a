/* tests/model/pickle_text.h - a state dict {'w': tensor} by hand, as torch.save writes it (protocol 2), in parts.
 * Numbers are given as the byte behind opcode K: "\6". */
#ifndef PARE_TESTS_PICKLE_TEXT_H
#define PARE_TESTS_PICKLE_TEXT_H

#define STORAGE_OF(numel)                                                                                              \
    "(U\7storagectorch\nFloatStorage\nU\1"                                                                             \
    "0U\3cpu" numel "tQ"
#define TENSOR_OF(numel, offset, size, stride)                                                                         \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE_OF(numel) offset size stride "\x89"                                 \
                                                                                "ccollections\nOrderedDict\n)RtR"
#define SIZE_2_3 "K\2K\3\x86"
#define STRIDE_3_1 "K\3K\1\x86"
#define HEAD "\x80\2ccollections\nOrderedDict\n)R(U\1w"
#define GOOD HEAD TENSOR_OF("K\6", "K\0", SIZE_2_3, STRIDE_3_1) "u}U\t_metadataK\0sb."

#endif
