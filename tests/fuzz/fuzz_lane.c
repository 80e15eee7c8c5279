/* fuzz_lane.c - buckets as another node sends them: whatever the bytes, an answer, and a state that holds what state.h says. */
#include "engine/lane.h"
#include "state/image.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUCKETS = 4, RECORDS = 40, OWNED = 2 };

struct side { /* a partition with a table and a log */
    struct pst_graph_node node;
    struct pst_ctx ctx;
    struct lane lane;
    uint8_t of[BUCKETS];
    uint32_t buckets[BUCKETS], joining[OWNED];
    struct lane_digest digests[OWNED];
    int64_t timers[BUCKETS];
    uint64_t numbers[BUCKETS];
    struct pst_table *table;
    struct pst_log *log;
    struct packings packings;
    uint32_t begun; /* of its buckets */
};

static void side_init(struct side *side)
{
    memset(side, 0, sizeof *side);
    side->node.bucket_count = BUCKETS;
    side->ctx.node = &side->node;
    side->ctx.state = pst_state_new(BUCKETS, 1 << 24);
    side->ctx.buckets = side->buckets;
    side->ctx.timers = side->timers;
    side->ctx.numbers = side->numbers;
    side->ctx.owned_count = OWNED; /* 1 and 3 */
    side->buckets[0] = 1;
    side->buckets[1] = 3;
    side->ctx.lane = &side->lane;
    side->lane.of = side->of;
    side->lane.joining = side->joining;
    side->lane.digests = side->digests;
    side->lane.wanted_count = OWNED;
    side->of[1] = side->of[3] = LANE_WANTS;
    if (side->ctx.state == NULL)
        abort();
    side->table = pst_state_table_open(side->ctx.state, "keys", 4, 12);
    side->log = pst_state_log_open(side->ctx.state, "readings");
    if (side->table == NULL || side->log == NULL)
        abort();
}

static void fill(struct side *side)
{
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t bucket = side->buckets[i % 2];
        uint64_t hash = i * 0x9e3779b97f4a7c15u, position;
        void *record, *space;
        if (pst_state_table_upsert(side->table, 1, &bucket, &hash, &i, NULL, &record) != PST_OK ||
            pst_state_log_append(side->log, bucket, 16, &space, &position) != PST_OK)
            abort();
        memset(record, (int)i, 12);
        memset(space, (int)i, 16);
    }
}

/* True: it was taken. */
static bool install(struct side *taker, const void *bytes, size_t byte_count)
{
    struct blob blob = {0};
    if (byte_count != 0 && pst_text_add(&blob.bytes, bytes, byte_count) != PST_OK)
        abort();
    int rc = byte_count != 0 ? pst_parcel_read(&taker->ctx, &blob) : PST_EDATA;
    if (rc == PST_OK && !taker->lane.goes_on)
        (void)pst_state_check(taker->ctx.state);
    pst_text_fini(&blob.bytes);
    return rc == PST_OK;
}

/* A parcel, changed where `data` says, is taken; *ret_count more are in. */
static bool hand(struct side *giver, struct side *taker, uint32_t bucket_count, uint64_t bytes_max, const uint8_t *data,
                 size_t size, uint32_t *ret_count)
{
    struct blob blob = {0};
    struct parcel parcel = {
        .buckets = giver->buckets + *ret_count, .bucket_count = bucket_count, .last = bytes_max == UINT64_MAX};
    uint64_t bytes;
    for (; giver->begun < *ret_count + bucket_count; giver->begun++)
        if (pst_packing_begin(&giver->ctx, giver->buckets[giver->begun], 1, &giver->packings) != PST_OK)
            abort();
    if (pst_parcel_write(&giver->ctx, &parcel, bytes_max, &giver->packings, &blob.bytes, &bytes) != PST_OK)
        abort();
    for (size_t i = 0; i + 3 <= size; i += 3) { /* u16 place, u8 to be added */
        size_t place = (size_t)(data[i] | data[i + 1] << 8) % blob.bytes.count;
        blob.bytes.bytes[place] = (char)(blob.bytes.bytes[place] + data[i + 2]);
    }
    *ret_count += bucket_count - giver->packings.count;
    bool taken = install(taker, blob.bytes.bytes, blob.bytes.count);
    pst_text_fini(&blob.bytes);
    return taken;
}

/* Bits of the first byte: 1: parcels are made, and changed; else the bytes are one. 2: buckets go in parts, so that there are several, a
 * fifth of the changes for each; of bytes as they are: behind it, after a good part. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct side giver, taker;
    const bool made = size != 0 && (data[0] & 1) != 0, parts = size != 0 && (data[0] & 2) != 0;
    uint32_t count = 0;
    side_init(&giver);
    side_init(&taker);
    fill(&giver);
    if (!made) {
        if (parts && (!hand(&giver, &taker, 1, 1, NULL, 0, &count) || !taker.lane.goes_on))
            abort();
        (void)install(&taker, parts ? data + 1 : data, parts ? size - 1 : size);
    } else if (!parts) {
        bool taken = hand(&giver, &taker, OWNED, UINT64_MAX, data + 1, size - 1, &count);
        if (!taken && size < 4)
            abort();
    } else {
        const size_t each = (size - 1) / 5;
        bool taken = true;
        for (size_t i = 0; taken && count < OWNED; i++)
            taken = hand(&giver, &taker, 1, 1, data + 1 + (i < 5 ? i * each : 0), i < 5 ? each : 0, &count);
        if (each < 3 && (!taken || taker.lane.goes_on || taker.of[1] != LANE_HAS || taker.of[3] != LANE_HAS))
            abort();
    }
    pst_packings_free(&giver.packings);
    pst_state_free(taker.ctx.state);
    pst_state_free(giver.ctx.state);
    return 0;
}
