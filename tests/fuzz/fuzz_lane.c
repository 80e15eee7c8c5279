/* fuzz_lane.c - buckets as another node sends them: whatever the bytes, an answer, and a state that holds what state.h says. Odd first
 * byte: a good parcel is made, and the rest says where it is changed. */
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

static void install(const void *bytes, size_t byte_count, bool good)
{
    struct side taker;
    struct blob blob = {0};
    side_init(&taker);
    if (byte_count != 0 && pst_text_add(&blob.bytes, bytes, byte_count) != PST_OK)
        abort();
    int rc = byte_count != 0 ? pst_parcel_read(&taker.ctx, &blob) : PST_EDATA;
    if (rc == PST_OK)
        (void)pst_state_check(taker.ctx.state);
    if (good && rc != PST_OK)
        abort();
    pst_state_free(taker.ctx.state);
    pst_text_fini(&blob.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] % 2 == 0) {
        install(data, size, false);
        return 0;
    }
    struct side giver;
    struct blob blob = {0};
    struct parcel parcel = {.buckets = giver.buckets, .bucket_count = OWNED, .last = true};
    side_init(&giver);
    fill(&giver);
    if (pst_parcel_write(&giver.ctx, &parcel, &blob.bytes) != PST_OK)
        abort();
    for (size_t i = 1; i + 3 <= size; i += 3) { /* u16 place, u8 to be added */
        size_t place = (size_t)(data[i] | data[i + 1] << 8) % blob.bytes.count;
        blob.bytes.bytes[place] = (char)(blob.bytes.bytes[place] + data[i + 2]);
    }
    install(blob.bytes.bytes, blob.bytes.count, size < 4);
    pst_state_free(giver.ctx.state);
    pst_text_fini(&blob.bytes);
    return 0;
}
