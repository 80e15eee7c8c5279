/* gunzip.c - a compressed input as plain bytes: zlib's inflate over a file of the world, members one after another. */
#include "engine/runtime.h"

#include <zlib.h>

enum { COMPRESSED_BYTES = 64 * 1024 };

struct gunzip {
    struct pst_world *world;
    struct pst_file *file;
    z_stream stream;
    bool at_end, member_open, any;
    unsigned char bytes[COMPRESSED_BYTES];
};

static voidpf gunzip_alloc(voidpf opaque, uInt count, uInt bytes)
{
    (void)opaque;
    return pst_calloc(count, bytes);
}

static void gunzip_release(voidpf opaque, voidpf memory)
{
    (void)opaque;
    pst_free(memory);
}

struct gunzip *pst_gunzip_new(struct pst_world *world, struct pst_file *file)
{
    struct gunzip *gunzip = pst_calloc(1, sizeof *gunzip);
    if (gunzip == NULL)
        return NULL;
    gunzip->world = world;
    gunzip->file = file;
    gunzip->stream.zalloc = gunzip_alloc;
    gunzip->stream.zfree = gunzip_release;
    if (inflateInit2(&gunzip->stream, 15 + 16) != Z_OK) { /* 16: a gzip header */
        pst_free(gunzip);
        return NULL;
    }
    return gunzip;
}

void pst_gunzip_free(struct gunzip *gunzip)
{
    if (gunzip == NULL)
        return;
    (void)inflateEnd(&gunzip->stream);
    pst_free(gunzip);
}

static int64_t refill(struct gunzip *gunzip)
{
    int64_t count = gunzip->world->file_read(gunzip->world->self, gunzip->file, gunzip->bytes, sizeof gunzip->bytes);
    if (count > 0) {
        gunzip->stream.next_in = gunzip->bytes;
        gunzip->stream.avail_in = (uInt)count;
    }
    return count;
}

/* PST_EDATA: not gzip, damaged, or cut short. */
int64_t pst_gunzip_read(struct gunzip *gunzip, void *bytes, size_t byte_count)
{
    z_stream *stream = &gunzip->stream;
    stream->next_out = bytes;
    stream->avail_out = (uInt)(byte_count > 1u << 30 ? 1u << 30 : byte_count);
    size_t asked = stream->avail_out;
    while (stream->avail_out == asked && !gunzip->at_end) {
        if (stream->avail_in == 0) {
            int64_t count = refill(gunzip);
            if (count < 0)
                return count;
            if (count == 0 && (gunzip->member_open || !gunzip->any))
                return gunzip->any ? PST_EDATA : 0;
            gunzip->at_end = count == 0;
            if (gunzip->at_end)
                break;
        }
        gunzip->any = gunzip->member_open = true;
        int rc = inflate(stream, Z_NO_FLUSH);
        if (rc == Z_STREAM_END) {
            gunzip->member_open = false;
            if (inflateReset(stream) != Z_OK)
                return PST_EDATA;
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return rc == Z_MEM_ERROR ? PST_ENOMEM : PST_EDATA;
        }
    }
    return (int64_t)(asked - stream->avail_out);
}
