/* fuzz_net.c - messages in a stream of bytes, as a connection takes them in: in pieces, the first two bytes say of what size, and
 * up to which limit of a message. What comes out is what a plain reading of the whole gives. */
#include "base/world_uv.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The model: where the next message ends, 0: nothing more comes of these bytes. */
static size_t model(const uint8_t *bytes, size_t count, uint64_t limit, bool *ret_refused)
{
    uint64_t length = 0;
    *ret_refused = false;
    if (count < 4)
        return 0;
    for (int i = 3; i >= 0; i--)
        length = length * 256 + bytes[i];
    *ret_refused = length == 0 || length > limit;
    return *ret_refused || length + 4 > count ? 0 : (size_t)length + 4;
}

/* Takes what is there. Returns how much, and whether it is refused from there on. */
static size_t take(const uint8_t *bytes, size_t count, uint32_t limit, bool *ret_refused)
{
    size_t taken = 0, needed;
    for (;;) {
        /* a copy of exactly so many, so that a sanitizer sees a read beyond them */
        uint8_t *exact = malloc(count - taken != 0 ? count - taken : 1);
        if (exact == NULL)
            abort();
        memcpy(exact, bytes + taken, count - taken);
        int rc = pst_frame_parse(exact, count - taken, limit, &needed);
        size_t end = model(exact, count - taken, limit, ret_refused);
        free(exact);
        if ((rc == PST_OK) != (end != 0) || (rc == PST_EREFUSED) != *ret_refused)
            abort();
        if (rc == PST_EAGAIN && (needed <= count - taken || needed > (size_t)limit + PST_FRAME_HEAD_BYTES))
            abort();
        if (rc != PST_OK)
            return taken;
        if (needed + PST_FRAME_HEAD_BYTES != end)
            abort();
        taken += end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[PST_FRAME_HEAD_BYTES];
    bool refused = false, refused_whole;
    if (size < 2)
        return 0;
    uint32_t limit = (uint32_t)data[1] * data[1] + 1;
    size_t piece = (size_t)data[0] + 1, taken = 0;
    data += 2;
    size -= 2;
    for (size_t there = 0; there < size && !refused;) {
        there = there + piece < size ? there + piece : size;
        taken += take(data + taken, there - taken, limit, &refused);
    }
    if (take(data, size, limit, &refused_whole) != taken || refused != refused_whole)
        abort();
    pst_frame_head(head, limit);
    if (pst_frame_parse(head, sizeof head, limit, &taken) != PST_EAGAIN || taken != (size_t)limit + sizeof head)
        abort();
    return 0;
}
