/* net_frame.c - messages in a stream of bytes: each behind its length. Asks nobody for anything, so that a fuzzer can have it. */
#include "base/world_uv.h"

int pst_frame_parse(const uint8_t *bytes, size_t byte_count, uint32_t message_bytes_max, size_t *ret_bytes)
{
    *ret_bytes = PST_FRAME_HEAD_BYTES;
    if (byte_count < PST_FRAME_HEAD_BYTES)
        return PST_EAGAIN;
    uint32_t length =
        (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    if (length == 0 || length > message_bytes_max)
        return PST_EREFUSED;
    bool whole = byte_count - PST_FRAME_HEAD_BYTES >= length;
    *ret_bytes = whole ? length : PST_FRAME_HEAD_BYTES + (size_t)length;
    return whole ? PST_OK : PST_EAGAIN;
}

void pst_frame_head(uint8_t head[PST_FRAME_HEAD_BYTES], uint32_t message_bytes)
{
    for (int i = 0; i < PST_FRAME_HEAD_BYTES; i++)
        head[i] = (uint8_t)(message_bytes >> 8 * i);
}
