/* net_frame.c - messages in a stream of bytes: each behind its length, or the heads of HTTP requests. Asks nobody for anything, so that a fuzzer can have it. */
#include "base/world_uv.h"

#include <string.h>

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

int pst_request_parse(const uint8_t *bytes, size_t byte_count, uint32_t head_bytes_max, size_t *ret_bytes)
{
    const uint8_t *at = bytes, *end = bytes + byte_count;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++; /* an empty line ends it: RFC 9112 lets a line end without the carriage return */
        size_t count = (size_t)(at - bytes);
        size_t empty = end - at >= 1 && at[0] == '\n' ? 1 : end - at >= 2 && at[0] == '\r' && at[1] == '\n' ? 2 : 0;
        if (empty == 0)
            continue;
        *ret_bytes = count + empty;
        return *ret_bytes <= head_bytes_max ? PST_OK : PST_EREFUSED;
    }
    *ret_bytes = byte_count + 1;
    return byte_count < head_bytes_max ? PST_EAGAIN : PST_EREFUSED;
}
