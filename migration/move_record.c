/* move_record.c - what a cluster has decided, as text: `moves/ID` and `owners/GRAPH`; and what may be done with owners. */
#include "migration/move_inside.h"

#include <stddef.h>
#include <string.h>

/* ---- reading: words and numbers, each with one character behind it ---- */
struct reader {
    const char *at, *end;
    bool bad;
};

static void read_word(struct reader *reader, const char *word)
{
    size_t byte_count = strlen(word);
    if (reader->bad || (size_t)(reader->end - reader->at) < byte_count || memcmp(reader->at, word, byte_count) != 0) {
        reader->bad = true;
        return;
    }
    reader->at += byte_count;
}

static bool read_if(struct reader *reader, const char *word)
{
    size_t byte_count = strlen(word);
    bool is =
        !reader->bad && (size_t)(reader->end - reader->at) >= byte_count && memcmp(reader->at, word, byte_count) == 0;
    reader->at += is ? byte_count : 0;
    return is;
}

static uint64_t read_u64(struct reader *reader, uint64_t max, char end)
{
    char text[24];
    size_t count = 0;
    uint64_t value = 0;
    while (reader->at + count < reader->end && reader->at[count] != end && count + 1 < sizeof text) {
        text[count] = reader->at[count];
        count++;
    }
    text[count] = '\0';
    if (reader->bad || reader->at + count >= reader->end || reader->at[count] != end || strlen(text) != count ||
        pst_parse_u64(text, &value) != PST_OK || value > max) {
        reader->bad = true;
        return 0;
    }
    reader->at += count + 1;
    return value;
}

static int64_t read_time(struct reader *reader, char end)
{
    bool negative = read_if(reader, "-");
    uint64_t value = read_u64(reader, negative ? (uint64_t)1 << 63 : INT64_MAX, end);
    return negative ? (int64_t)(0 - value) : (int64_t)value;
}

/* Names of an enum are words of capitals. */
static uint32_t read_name(struct reader *reader, const char *(*name)(uint32_t), uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *at = reader->at;
        if (read_if(reader, name(i)) && read_if(reader, "\n"))
            return i;
        reader->at = at;
    }
    reader->bad = true;
    return 0;
}

static const char *step_name(uint32_t step) { return pst_move_step_name((pst_move_step)step); }
static const char *why_name(uint32_t why) { return pst_move_why_name((pst_move_why)why); }

/* There is one form: what is read is what would have been written. */
static int same(const struct pst_text *text, const char *bytes, size_t byte_count)
{
    return text->count == byte_count && memcmp(text->bytes, bytes, byte_count) == 0 ? PST_OK : PST_EDATA;
}

/* ---- a move ---- */
int pst_move_record_write(const struct pst_move_record *record, struct pst_text *text)
{
    (void)pst_text_printf(text, "penstock move 1\nid %llu\nserial %llu\nstep %s\nwhy %s\nincarnation %llu\n",
                          (unsigned long long)record->id, (unsigned long long)record->serial,
                          pst_move_step_name(record->step), pst_move_why_name(record->why),
                          (unsigned long long)record->incarnation);
    (void)pst_text_printf(text, "operator %u\nfrom %u %u\nto %u %u\nepoch %llu\ndeadline %llu\n", record->op,
                          record->from, record->from_node, record->to, record->to_node,
                          (unsigned long long)record->epoch, (unsigned long long)record->deadline_ns);
    (void)pst_text_printf(text, "since %lld\nlatest %lld\ncut %lld\ngone %d\nbuckets", (long long)record->since,
                          (long long)record->latest, (long long)record->cut, record->gone ? 1 : 0);
    for (uint32_t first = pst_move_set_next(&record->buckets, 0), last; first < PST_MOVE_BUCKETS_MAX;
         first = pst_move_set_next(&record->buckets, last + 1)) {
        for (last = first; pst_move_set_has(&record->buckets, last + 1);)
            last++;
        (void)pst_text_printf(text, " %u-%u", first, last);
    }
    (void)pst_text_printf(text, "\n");
    return text->failed ? PST_ENOMEM : PST_OK;
}

static void read_buckets(struct reader *reader, struct pst_move_set *ret_set)
{
    while (read_if(reader, " ")) {
        uint32_t first = (uint32_t)read_u64(reader, PST_MOVE_BUCKETS_MAX - 1, '-');
        const char *space = reader->at;
        while (space < reader->end && *space >= '0' && *space <= '9')
            space++;
        uint32_t last =
            (uint32_t)read_u64(reader, PST_MOVE_BUCKETS_MAX - 1, space < reader->end && *space == ' ' ? ' ' : '\n');
        for (uint32_t bucket = first; !reader->bad && bucket <= last; bucket++)
            pst_move_set_add(ret_set, bucket);
        if (!reader->bad)
            reader->at--; /* the next space, or the end of the line */
    }
    read_word(reader, "\n");
}

/* What no coordinator has ever written is not a record, however well it is spelled. */
static bool record_can_be(const struct pst_move_record *record)
{
    return record->id != 0 && record->serial != 0 && record->incarnation != 0 && record->from != record->to &&
           record->from_node != record->to_node && pst_move_set_next(&record->buckets, 0) != PST_MOVE_BUCKETS_MAX &&
           (record->step == PST_MOVE_ABORTED) == (record->why != PST_MOVE_WHY_NONE) &&
           (!record->gone || record->step == PST_MOVE_COMMITTED || record->step == PST_MOVE_DONE);
}

int pst_move_record_read(const char *bytes, size_t byte_count, struct pst_move_record *ret_record)
{
    struct reader reader = {bytes, bytes + byte_count, false};
    struct pst_move_record record = {0};
    read_word(&reader, "penstock move 1\nid ");
    record.id = read_u64(&reader, UINT64_MAX, '\n');
    read_word(&reader, "serial ");
    record.serial = read_u64(&reader, UINT64_MAX, '\n');
    read_word(&reader, "step ");
    record.step = (pst_move_step)read_name(&reader, step_name, PST_MOVE_STEP_COUNT);
    read_word(&reader, "why ");
    record.why = (pst_move_why)read_name(&reader, why_name, PST_MOVE_WHY_COUNT);
    read_word(&reader, "incarnation ");
    record.incarnation = read_u64(&reader, UINT64_MAX, '\n');
    read_word(&reader, "operator ");
    record.op = (uint32_t)read_u64(&reader, PST_MOVE_OPERATORS_MAX - 1, '\n');
    read_word(&reader, "from ");
    record.from = (uint32_t)read_u64(&reader, PST_MOVE_PARTITIONS_MAX - 1, ' ');
    record.from_node = (uint32_t)read_u64(&reader, PST_MOVE_NODES_MAX - 1, '\n');
    read_word(&reader, "to ");
    record.to = (uint32_t)read_u64(&reader, PST_MOVE_PARTITIONS_MAX - 1, ' ');
    record.to_node = (uint32_t)read_u64(&reader, PST_MOVE_NODES_MAX - 1, '\n');
    read_word(&reader, "epoch ");
    record.epoch = read_u64(&reader, UINT64_MAX - 1, '\n');
    read_word(&reader, "deadline ");
    record.deadline_ns = read_u64(&reader, UINT64_MAX, '\n');
    read_word(&reader, "since ");
    record.since = read_time(&reader, '\n');
    read_word(&reader, "latest ");
    record.latest = read_time(&reader, '\n');
    read_word(&reader, "cut ");
    record.cut = read_time(&reader, '\n');
    read_word(&reader, "gone ");
    record.gone = read_u64(&reader, 1, '\n') != 0;
    read_word(&reader, "buckets");
    read_buckets(&reader, &record.buckets);
    struct pst_text text = {0};
    int rc = reader.bad || !record_can_be(&record) ? PST_EDATA : pst_move_record_write(&record, &text);
    if (rc == PST_OK)
        rc = same(&text, bytes, byte_count);
    pst_text_fini(&text);
    if (rc == PST_OK)
        *ret_record = record;
    return rc;
}

/* ---- owners ---- */
static bool is_same_owner(const struct pst_owner *one, const struct pst_owner *other)
{
    return one->partition == other->partition && one->epoch == other->epoch && one->locked == other->locked;
}

int pst_owners_write(const struct pst_owners *owners, struct pst_text *text)
{
    (void)pst_text_printf(text, "penstock owners 1\nincarnation %llu %s\ncheckpoint %lld\nserial %llu\noperators %u\n",
                          (unsigned long long)owners->incarnation, owners->running ? "running" : "starting",
                          (long long)owners->checkpoint, (unsigned long long)owners->serial, owners->op_count);
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++)
        if (owners->partitions[i].used)
            (void)pst_text_printf(text, "partition %u %u %u %llu\n", i, owners->partitions[i].op,
                                  owners->partitions[i].node, (unsigned long long)owners->partitions[i].serial);
    for (uint32_t op = 0; op < owners->op_count; op++) {
        uint32_t count = pst_owners_bucket_count(owners, op);
        const struct pst_owner *all = owners->buckets + owners->first[op];
        (void)pst_text_printf(text, "operator %u\n", count);
        for (uint32_t first = 0, last; first < count; first = last + 1) {
            for (last = first; last + 1 < count && is_same_owner(&all[last + 1], &all[first]);)
                last++;
            (void)pst_text_printf(text, "%u %u %llu %llu\n", last, all[first].partition,
                                  (unsigned long long)all[first].epoch, (unsigned long long)all[first].locked);
        }
    }
    (void)pst_text_printf(text, "end\n");
    return text->failed ? PST_ENOMEM : PST_OK;
}

static void read_partitions(struct reader *reader, struct pst_owners *owners)
{
    while (read_if(reader, "partition ")) {
        uint32_t i = (uint32_t)read_u64(reader, PST_MOVE_PARTITIONS_MAX - 1, ' ');
        struct pst_owner_partition *partition = &owners->partitions[i];
        partition->used = true;
        partition->op = (uint32_t)read_u64(reader, owners->op_count - 1, ' ');
        partition->node = (uint32_t)read_u64(reader, PST_MOVE_NODES_MAX - 1, ' ');
        partition->serial = read_u64(reader, UINT64_MAX, '\n');
    }
}

static void read_op(struct reader *reader, struct pst_owners *owners, uint32_t op)
{
    read_word(reader, "operator ");
    uint32_t count = (uint32_t)read_u64(reader, PST_MOVE_BUCKETS_MAX, '\n');
    if (reader->bad || count == 0 || count > PST_MOVE_OWNERS_MAX - owners->first[op]) {
        reader->bad = true;
        return;
    }
    owners->first[op + 1] = owners->first[op] + count;
    for (uint32_t bucket = 0; !reader->bad && bucket < count;) {
        uint32_t last = (uint32_t)read_u64(reader, count - 1, ' ');
        struct pst_owner owner = {.partition = (uint32_t)read_u64(reader, PST_MOVE_PARTITIONS_MAX - 1, ' ')};
        owner.epoch = read_u64(reader, UINT64_MAX - 1, ' ');
        owner.locked = read_u64(reader, UINT64_MAX, '\n');
        const struct pst_owner_partition *partition = &owners->partitions[owner.partition];
        if (last < bucket || !partition->used || partition->op != op)
            reader->bad = true;
        while (!reader->bad && bucket <= last)
            owners->buckets[owners->first[op] + bucket++] = owner;
    }
}

int pst_owners_read(const char *bytes, size_t byte_count, struct pst_owners *ret_owners)
{
    struct reader reader = {bytes, bytes + byte_count, false};
    struct pst_owners *owners = ret_owners;
    memset(owners->partitions, 0, sizeof owners->partitions);
    owners->first[0] = 0;
    read_word(&reader, "penstock owners 1\nincarnation ");
    owners->incarnation = read_u64(&reader, UINT64_MAX - 1, ' ');
    owners->running = read_if(&reader, "running\n");
    if (!owners->running)
        read_word(&reader, "starting\n");
    read_word(&reader, "checkpoint ");
    owners->checkpoint = read_time(&reader, '\n');
    read_word(&reader, "serial ");
    owners->serial = read_u64(&reader, UINT64_MAX - 1, '\n');
    read_word(&reader, "operators ");
    owners->op_count = (uint32_t)read_u64(&reader, PST_MOVE_OPERATORS_MAX, '\n');
    if (owners->incarnation == 0 || owners->op_count == 0)
        reader.bad = true;
    read_partitions(&reader, owners);
    for (uint32_t op = 0; !reader.bad && op < owners->op_count; op++)
        read_op(&reader, owners, op);
    read_word(&reader, "end\n");
    struct pst_text text = {0};
    int rc = reader.bad ? PST_EDATA : pst_owners_write(owners, &text);
    if (rc == PST_OK)
        rc = same(&text, bytes, byte_count);
    pst_text_fini(&text);
    return rc;
}

void pst_owners_init(struct pst_owners *owners, uint32_t op_count, const uint32_t *bucket_counts)
{
    PST_ASSERT(op_count != 0 && op_count <= PST_MOVE_OPERATORS_MAX);
    *owners = (struct pst_owners){.incarnation = 1, .checkpoint = PST_MOVE_NEVER, .op_count = op_count};
    for (uint32_t op = 0; op < op_count; op++) {
        PST_ASSERT(bucket_counts[op] <= PST_MOVE_BUCKETS_MAX);
        owners->first[op + 1] = owners->first[op] + bucket_counts[op];
    }
    PST_ASSERT(owners->first[op_count] <= PST_MOVE_OWNERS_MAX);
}

void pst_owners_copy(struct pst_owners *to, const struct pst_owners *from)
{
    memcpy(to, from, offsetof(struct pst_owners, buckets) + from->first[from->op_count] * sizeof from->buckets[0]);
}

uint32_t pst_owners_bucket_count(const struct pst_owners *owners, uint32_t op)
{
    return owners->first[op + 1] - owners->first[op];
}

struct pst_owner *pst_owners_at(struct pst_owners *owners, uint32_t op, uint32_t bucket)
{
    PST_ASSERT(op < owners->op_count && bucket < pst_owners_bucket_count(owners, op));
    return &owners->buckets[owners->first[op] + bucket];
}

int pst_owners_free(struct pst_owners *owners, uint32_t op, uint32_t node, uint64_t serial, uint32_t *ret_partition)
{
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++) {
        if (owners->partitions[i].used)
            continue;
        owners->partitions[i] = (struct pst_owner_partition){true, op, node, serial};
        *ret_partition = i;
        return PST_OK;
    }
    return PST_EFULL;
}

int pst_owners_partition(struct pst_owners *owners, uint32_t op, uint32_t node, uint32_t *ret_partition)
{
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++)
        if (owners->partitions[i].used && owners->partitions[i].op == op && owners->partitions[i].node == node) {
            *ret_partition = i;
            return PST_OK;
        }
    return pst_owners_free(owners, op, node, 0, ret_partition);
}

bool pst_owners_serves(const struct pst_owners *owners, uint32_t node)
{
    for (uint32_t i = 0; i < owners->first[owners->op_count]; i++)
        if (owners->partitions[owners->buckets[i].partition].node == node)
            return true;
    return false;
}

void pst_owners_lock(struct pst_owners *owners, uint32_t op, const struct pst_move_set *buckets, uint64_t move)
{
    for (uint32_t bucket = pst_move_set_next(buckets, 0); bucket < PST_MOVE_BUCKETS_MAX;
         bucket = pst_move_set_next(buckets, bucket + 1)) {
        PST_ASSERT(pst_owners_at(owners, op, bucket)->locked == 0);
        pst_owners_at(owners, op, bucket)->locked = move;
    }
}

/* Partitions that own nothing go, but for `kept`. */
static void partitions_clean(struct pst_owners *owners, const bool *kept)
{
    bool owning[PST_MOVE_PARTITIONS_MAX] = {false};
    for (uint32_t i = 0; i < owners->first[owners->op_count]; i++)
        owning[owners->buckets[i].partition] = true;
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++)
        if (owners->partitions[i].used && !owning[i] && !kept[i])
            owners->partitions[i] = (struct pst_owner_partition){0};
}

void pst_owners_unlock(struct pst_owners *owners, const struct pst_move_record *move, bool from_stays)
{
    for (uint32_t i = 0; i < owners->first[owners->op_count]; i++)
        if (owners->buckets[i].locked == move->id)
            owners->buckets[i].locked = 0;
    bool kept[PST_MOVE_PARTITIONS_MAX];
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++)
        kept[i] = i == move->from ? from_stays : i != move->to;
    partitions_clean(owners, kept);
}

void pst_owners_give(struct pst_owners *owners, const struct pst_move_record *move)
{
    for (uint32_t bucket = pst_move_set_next(&move->buckets, 0); bucket < PST_MOVE_BUCKETS_MAX;
         bucket = pst_move_set_next(&move->buckets, bucket + 1)) {
        struct pst_owner *owner = pst_owners_at(owners, move->op, bucket);
        PST_ASSERT(owner->locked == move->id && owner->partition == move->from && owner->epoch <= move->epoch);
        owner->partition = move->to;
        owner->epoch = move->epoch + 1;
    }
}

int pst_owners_recover(struct pst_owners *owners, uint32_t gone, uint32_t there)
{
    uint32_t node = 0;
    if (there == 0)
        return PST_EFULL;
    for (uint32_t op = 0; op < owners->op_count; op++)
        for (uint32_t bucket = 0; bucket < pst_owners_bucket_count(owners, op); bucket++) {
            struct pst_owner *owner = pst_owners_at(owners, op, bucket);
            uint32_t to = owners->partitions[owner->partition].node, partition;
            if ((gone & BIT(to)) != 0) {
                do
                    node = (node + 1) % PST_MOVE_NODES_MAX;
                while ((there & BIT(node)) == 0);
                to = node;
            }
            if (pst_owners_partition(owners, op, to, &partition) != PST_OK)
                return PST_EFULL;
            owner->epoch += partition != owner->partition;
            owner->partition = partition;
            owner->locked = 0;
        }
    partitions_clean(owners, (const bool[PST_MOVE_PARTITIONS_MAX]){false});
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++)
        owners->partitions[i].serial = 0;
    owners->incarnation++;
    owners->running = false;
    return PST_OK;
}
