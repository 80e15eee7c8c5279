/* common/config.h - what a worker is told before it starts: the operator's configuration, and where this worker stands.
 *
 * Configuration, the bytes that are measured: "PSTC", u32 version 4, then type, id, buckets, epoch, order, parameters, inputs, outputs, whose
 * certificates count where its buckets move, as config.c writes them; integers little endian, a text as u32 bytes and bytes.
 * Boot, by the backend's own way into the worker: struct pst_boot, then the configuration. */
#ifndef PST_ENCLAVE_CONFIG_H
#define PST_ENCLAVE_CONFIG_H

#include "enclave_shim/common/border.h"
#include "enclave_shim/enclave_shim.h"

enum {
    PST_CONFIG_BYTES_MAX = 4 * 1024 * 1024,
    PST_CONFIG_ITEMS_MAX = 65536,
    PST_BOOT_BUCKETS_MAX = 4096, /* PST_BUCKETS_MAX of the engine */
};
#define PST_BOOT_MAGIC UINT32_C(0x42545350) /* "PSTB" */

struct pst_boot { /* nothing of it is kept by the host */
    uint32_t magic, version, config_bytes, evict;
    uint64_t epc_bytes, outside_bytes;
    uint32_t spins; /* PST_BORDER_SPINS_MAX at most: more are taken for so many */
    uint32_t
        touch_pages; /* of 4 KiB: so much of the pool, from its beginning, is touched before READY; UINT32_MAX: all */
    uint8_t key_in[PST_BORDER_KEY_BYTES], key_out[PST_BORDER_KEY_BYTES];
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8]; /* bit b: the partition owns bucket b */
    /* Images: the keys that they are sealed and opened with, where there are any, and the checkpoint below which it opens none; 0: it
     * may begin with an empty state. */
    uint32_t has_images, restore_key_count;
    uint64_t restore_least;
    uint8_t image_key[32], graph[32], restore_keys[PST_IMAGE_KEYS_MAX][32];
    uint32_t lane;  /* 1: it owns none of its buckets before they have come from another worker */
    uint32_t trial; /* 1: it makes its plan, answers, and ends; nothing of the above counts then */
    uint32_t paced; /* 1: rows come sealed, and it works on them as far as it is told times */
    uint32_t cheap; /* 1: pages are taken as if memory that was never touched cost nothing */
};
enum { PST_BOOT_VERSION = 7 };
static_assert(sizeof(struct pst_boot) == 40 + 64 + PST_BOOT_BUCKETS_MAX / 8 + 80 + PST_IMAGE_KEYS_MAX * 32 + 16,
              "boot layout");

struct pst_boot_answer { /* the worker's, before it locks itself in */
    uint32_t magic;
    int32_t error;
    uint32_t facts;
    char sentence[PST_SENTENCE_BYTES_MAX];
};

/* Adds to `text`. PST_ENOMEM; PST_EGRAPH: more than a worker takes. */
int pst_config_encode(const struct pst_enclave_operator *operator, struct pst_text * text);
/* Everything it points to is the arena's. PST_EDATA: it is no such configuration; PST_ENOMEM. */
int pst_config_decode(const void *bytes, size_t byte_count, struct pst_arena *arena, struct pst_enclave_operator *ret);
/* The shapes of FRAMEs by input, and of ROWS by output. */
void pst_config_shapes(const struct pst_enclave_operator *operator, struct pst_shape inputs[PST_INPUTS_MAX],
                       struct pst_shape outputs[PST_OUTPUTS_MAX]);

#endif
