/* readings.c - see readings.h. Entry: header of 12 bytes, i32 narrow[], i64 wide[], then owners u16[] or u32[]: zeros first, then
 * narrow, then wide. */
#include "debs14/readings.h"

#include <string.h>

enum { OWNERS_NONE = 0, OWNERS_U16 = 2, OWNERS_U32 = 4 };

struct header {
    uint32_t time_s;
    uint16_t zero_count, narrow_count, wide_count, owner_bytes;
};
_Static_assert(sizeof(struct header) == 12, "log entry layout");
_Static_assert(12 + BUNCH_MAX * (8 + 4) < PST_LOG_ENTRY_BYTES_MAX, "a bunch fits an entry");

static bool is_narrow(int64_t value) { return value >= INT32_MIN && value <= INT32_MAX; }

static struct header measure(const int64_t *values, const uint32_t *owners, uint32_t n)
{
    uint32_t zero_count = 0, narrow_count = 0, owner_bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        zero_count += values[i] == 0;
        narrow_count += is_narrow(values[i]);
        owner_bits |= owners != NULL ? owners[i] : 0;
    }
    uint32_t bytes = owners == NULL ? OWNERS_NONE : owner_bits <= UINT16_MAX ? OWNERS_U16 : OWNERS_U32;
    return (struct header){0, (uint16_t)zero_count, (uint16_t)(narrow_count - zero_count), (uint16_t)(n - narrow_count),
                           (uint16_t)bytes};
}

static void encode_owner(unsigned char *owners, uint32_t owner_bytes, uint32_t i, uint32_t owner)
{
    uint16_t narrow = (uint16_t)owner;
    if (owner_bytes == OWNERS_U16)
        memcpy(owners + i * 2, &narrow, 2);
    else
        memcpy(owners + i * 4, &owner, 4);
}

static void encode(unsigned char *to, const struct header *header, const int64_t *values, const uint32_t *owners,
                   uint32_t n)
{
    unsigned char *narrow = to + sizeof *header, *wide = narrow + header->narrow_count * 4;
    unsigned char *owner = wide + header->wide_count * 8;
    uint32_t zero_at = 0, narrow_at = 0, wide_at = 0;
    memcpy(to, header, sizeof *header);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place;
        if (values[i] == 0) {
            place = zero_at++;
        } else if (is_narrow(values[i])) {
            int32_t value = (int32_t)values[i];
            memcpy(narrow + narrow_at * 4, &value, 4);
            place = header->zero_count + narrow_at++;
        } else {
            memcpy(wide + wide_at * 8, &values[i], 8);
            place = (uint32_t)header->zero_count + header->narrow_count + wide_at++;
        }
        if (owners != NULL)
            encode_owner(owner, header->owner_bytes, place, owners[i]);
    }
}

int readings_append(struct pst_ctx *ctx, struct pst_log *log, uint32_t bucket, int64_t time, const int64_t *values,
                    const uint32_t *owners, uint32_t n)
{
    if (time < 0 || time > UINT32_MAX)
        return PST_ERANGE;
    for (uint32_t from = 0; from < n; from += BUNCH_MAX) {
        uint32_t count = n - from < BUNCH_MAX ? n - from : BUNCH_MAX;
        const uint32_t *some = owners != NULL ? owners + from : NULL;
        struct header header = measure(values + from, some, count);
        header.time_s = (uint32_t)time;
        uint32_t bytes =
            (uint32_t)sizeof header + header.narrow_count * 4u + header.wide_count * 8u + count * header.owner_bytes;
        void *space;
        uint64_t position;
        int rc = pst_log_append(ctx, log, bucket, bytes, &space, &position);
        if (rc != PST_OK)
            return rc;
        encode(space, &header, values + from, some, count);
    }
    return PST_OK;
}

bool readings_time(struct pst_ctx *ctx, struct pst_log *log, uint32_t bucket, uint64_t position, int64_t *ret_time)
{
    uint32_t bytes;
    struct header header;
    const void *entry = pst_log_read(ctx, log, bucket, &position, &bytes);
    if (entry == NULL)
        return false;
    memcpy(&header, entry, sizeof header);
    *ret_time = header.time_s;
    return true;
}

bool readings_next(struct pst_ctx *ctx, struct pst_log *log, uint32_t bucket, uint64_t *position,
                   struct bunch *ret_bunch)
{
    uint32_t bytes;
    struct header header;
    const unsigned char *entry = pst_log_read(ctx, log, bucket, position, &bytes);
    if (entry == NULL)
        return false;
    memcpy(&header, entry, sizeof header);
    const unsigned char *narrow = entry + sizeof header, *wide = narrow + header.narrow_count * 4;
    const unsigned char *owner = wide + header.wide_count * 8;
    uint32_t zeros = header.zero_count, narrows = header.narrow_count, n = zeros + narrows + header.wide_count;
    ret_bunch->time = header.time_s;
    ret_bunch->count = n;
    memset(ret_bunch->value, 0, zeros * sizeof *ret_bunch->value);
    for (uint32_t i = 0; i < narrows; i++) {
        int32_t value;
        memcpy(&value, narrow + i * 4, 4);
        ret_bunch->value[zeros + i] = value;
    }
    memcpy(ret_bunch->value + zeros + narrows, wide, header.wide_count * 8);
    if (header.owner_bytes == OWNERS_U16) {
        for (uint32_t i = 0; i < n; i++) {
            uint16_t name;
            memcpy(&name, owner + i * 2, 2);
            ret_bunch->owner[i] = name;
        }
    } else {
        memcpy(ret_bunch->owner, owner, n * (size_t)header.owner_bytes);
    }
    return true;
}
