/* tape.c - see tape.h. */
#include "engine/tape.h"

#include "engine/runtime.h"

#include <string.h>

enum { TAPE_BYTES = 256 * 1024 };

struct tape {
    struct pst_world *world;
    struct pst_file *file;
    struct gunzip *gunzip;
    bool packed, sealed; /* sealed: capsules (enclave_shim/sealed.h), and no lines */
    uint64_t file_bytes;
    int64_t from, until;
    struct tape_lines lines;
    /* buffer[at, count) is not used up; `file_at` is the place of buffer[at] in the file */
    char *buffer;
    size_t at, count;
    uint64_t file_at;
    bool at_end;         /* of the file */
    bool mid_line;       /* the byte before buffer[at] ends no line */
    bool found;          /* `begin` is known */
    uint64_t begin, end; /* of the stream, in the file; end UINT64_MAX: not known */
    uint64_t wanted;     /* in the stream: as seek() said */
};

static bool ends_in(const char *name, const char *end)
{
    size_t name_bytes = strlen(name), end_bytes = strlen(end);
    return name_bytes >= end_bytes && strcmp(name + name_bytes - end_bytes, end) == 0;
}

/* By its first bytes; whoever opens it looks closer. */
static int kind_find(struct tape *tape)
{
    static const char magic[4] = {'P', 'S', 'T', 'F'};
    char bytes[sizeof magic];
    int64_t count = tape->world->file_read(tape->world->self, tape->file, bytes, sizeof bytes);
    if (count < 0)
        return (int)count;
    tape->sealed = count == sizeof bytes && memcmp(bytes, magic, sizeof magic) == 0;
    return tape->world->file_seek(tape->world->self, tape->file, 0);
}

int pst_tape_open(struct pst_world *world, const char *path, int64_t from, int64_t until, struct tape **ret_tape)
{
    struct tape *tape = pst_calloc(1, sizeof *tape);
    if (tape == NULL)
        return PST_ENOMEM;
    *tape =
        (struct tape){.world = world, .from = from, .until = until, .end = UINT64_MAX, .packed = ends_in(path, ".gz")};
    tape->found = from == INT64_MIN;
    tape->buffer = pst_malloc(TAPE_BYTES);
    int rc = tape->buffer != NULL ? world->file_open(world->self, path, PST_OPEN_READ, &tape->file) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = world->file_size(world->self, tape->file, &tape->file_bytes);
    if (rc == PST_OK && !tape->packed)
        rc = kind_find(tape);
    if (rc == PST_OK && tape->sealed && (from != INT64_MIN || until != INT64_MAX))
        rc = PST_ERANGE;
    if (rc == PST_OK && tape->packed) {
        tape->gunzip = pst_gunzip_new(world, tape->file);
        rc = tape->gunzip != NULL ? PST_OK : PST_ENOMEM;
    }
    if (rc != PST_OK) {
        pst_tape_close(tape);
        return rc;
    }
    *ret_tape = tape;
    return PST_OK;
}

void pst_tape_close(struct tape *tape)
{
    if (tape == NULL)
        return;
    pst_gunzip_free(tape->gunzip);
    if (tape->file != NULL)
        (void)tape->world->file_close(tape->world->self, tape->file);
    pst_free(tape->buffer);
    pst_free(tape);
}

void pst_tape_lines(struct tape *tape, const struct tape_lines *lines) { tape->lines = *lines; }

uint64_t pst_tape_file_bytes(const struct tape *tape)
{
    return tape->packed || tape->from != INT64_MIN || tape->until != INT64_MAX ? 0 : tape->file_bytes;
}

bool pst_tape_is_sealed(const struct tape *tape) { return tape->sealed; }

uint64_t pst_tape_offset(const struct tape *tape) { return tape->file_at - tape->begin; }

/* ---- lines ---- */

bool pst_tape_time(const char *line, size_t byte_count, const struct tape_lines *lines, int64_t *ret_time)
{
    const char *end = line + byte_count;
    uint32_t column = 0, commas = 0;
    while (end != line && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    for (const char *c = line; lines->column_count != 0 && (c = memchr(c, ',', (size_t)(end - c))) != NULL; c++)
        commas++;
    if (lines->column_count != 0 && commas + 1 != lines->column_count)
        return false;
    for (; column != lines->column; column++) {
        const char *comma = memchr(line, ',', (size_t)(end - line));
        if (comma == NULL)
            return false;
        line = comma + 1;
    }
    bool minus = line < end && *line == '-';
    uint64_t value = 0, most = minus ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    const char *digits = line += minus;
    for (; line < end && *line >= '0' && *line <= '9'; line++) {
        uint64_t digit = (uint64_t)(*line - '0');
        if (value > (most - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (line == digits || (line < end && *line != ','))
        return false;
    *ret_time = (int64_t)(minus ? 0 - value : value);
    return *ret_time >= lines->time_min && *ret_time <= lines->time_max;
}

/* Of the line at `from` in the buffer. */
static bool time_at(const struct tape *tape, size_t from, size_t byte_count, int64_t *ret_time)
{
    const char *line = tape->buffer + from;
    size_t mark =
        tape->file_at + (from - tape->at) == 0 && byte_count >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return pst_tape_time(line + mark, byte_count - mark, &tape->lines, ret_time);
}

/* The bytes of the line at `from`, its end among them; 0: its end is not in the buffer, and may still come. */
static size_t line_bytes(const struct tape *tape, size_t from)
{
    const char *line = tape->buffer + from, *newline = memchr(line, '\n', tape->count - from);
    bool whole = tape->at_end || (tape->at == 0 && tape->count == TAPE_BYTES && from == 0);
    return newline != NULL ? (size_t)(newline - line) + 1 : whole ? tape->count - from : 0;
}

/* ---- reading ---- */

/* More behind what is there. PST_ESTOPPED: there is no more. */
static int fill(struct tape *tape)
{
    const struct pst_world *world = tape->world;
    if (tape->at_end || (tape->at == 0 && tape->count == TAPE_BYTES))
        return PST_ESTOPPED;
    memmove(tape->buffer, tape->buffer + tape->at, tape->count - tape->at);
    tape->count -= tape->at;
    tape->at = 0;
    char *to = tape->buffer + tape->count;
    int64_t count = tape->packed ? pst_gunzip_read(tape->gunzip, to, TAPE_BYTES - tape->count)
                                 : world->file_read(world->self, tape->file, to, TAPE_BYTES - tape->count);
    if (count == PST_EAGAIN)
        return world->file_watch(world->self, tape->file, 0) == PST_OK ? PST_EAGAIN : PST_EIO;
    if (count < 0)
        return (int)count;
    tape->at_end = count == 0;
    tape->count += (size_t)count;
    return PST_OK;
}

static void drop(struct tape *tape, size_t byte_count)
{
    if (byte_count == 0)
        return;
    tape->mid_line = tape->buffer[tape->at + byte_count - 1] != '\n';
    tape->at += byte_count;
    tape->file_at += byte_count;
}

/* What is there is used up line by line until the stream begins. */
static int find_begin(struct tape *tape)
{
    while (tape->at < tape->count) {
        size_t bytes = line_bytes(tape, tape->at);
        int64_t time;
        if (bytes == 0)
            break;
        if (!tape->mid_line && time_at(tape, tape->at, bytes, &time) && time >= tape->from) {
            tape->begin = tape->file_at;
            tape->found = true;
            return PST_OK;
        }
        drop(tape, bytes);
    }
    int rc = fill(tape);
    if (rc == PST_ESTOPPED) { /* there is no such line: the stream is empty */
        tape->begin = tape->end = tape->file_at;
        tape->found = true;
        return PST_OK;
    }
    return rc == PST_OK ? PST_EAGAIN : rc;
}

static int rewind_to(struct tape *tape, uint64_t place)
{
    int rc = tape->world->file_seek(tape->world->self, tape->file, place);
    tape->at = tape->count = 0;
    tape->file_at = place;
    tape->at_end = tape->mid_line = false;
    if (rc != PST_OK || !tape->packed)
        return rc;
    pst_gunzip_free(tape->gunzip);
    tape->gunzip = pst_gunzip_new(tape->world, tape->file);
    return tape->gunzip != NULL ? PST_OK : PST_ENOMEM;
}

void pst_tape_seek(struct tape *tape, uint64_t offset) { tape->wanted = offset; }

int pst_tape_reach(struct tape *tape)
{
    if (!tape->found)
        return find_begin(tape);
    uint64_t place = tape->begin + tape->wanted;
    if (place == tape->file_at)
        return PST_OK;
    /* The byte before is wanted, too: it says whether a line begins here. */
    uint64_t rest = place - tape->file_at, buffered = tape->count - tape->at;
    bool near = tape->packed || rest <= buffered || (buffered == 0 && rest == 1);
    if (place < tape->file_at || !near) {
        int rc = rewind_to(tape, tape->packed || place == 0 ? 0 : place - 1);
        return rc == PST_OK ? PST_EAGAIN : rc;
    }
    if (buffered == 0) {
        int rc = fill(tape);
        return rc == PST_ESTOPPED ? PST_EDATA : rc == PST_OK ? PST_EAGAIN : rc;
    }
    drop(tape, (size_t)(rest < buffered ? rest : buffered));
    return PST_EAGAIN;
}

/* ---- pieces ---- */

static uint64_t newlines(const char *from, const char *end)
{
    uint64_t count = 0;
    while (from != end && (from = memchr(from, '\n', (size_t)(end - from))) != NULL)
        count++, from++;
    return count;
}

/* The event time of the last line that begins in the piece and ends in the buffer. */
static int64_t newest_of(const struct tape *tape, const struct piece *piece)
{
    const char *end = piece->bytes + piece->byte_count;
    while (end != piece->bytes) {
        const char *newline = memrchr(piece->bytes, '\n', (size_t)(end - piece->bytes) - 1);
        const char *line = newline != NULL ? newline + 1 : piece->bytes;
        size_t from = (size_t)(line - tape->buffer), bytes = line_bytes(tape, from);
        int64_t time;
        if ((newline != NULL || !tape->mid_line) && bytes != 0 && time_at(tape, from, bytes, &time))
            return time;
        end = line;
    }
    return INT64_MIN;
}

static void first_find(const struct tape *tape, struct piece *piece)
{
    size_t from = tape->at, end = tape->at + piece->byte_count, bytes = tape->mid_line ? 0 : 1;
    while (from < end && bytes != 0 && !time_at(tape, from, line_bytes(tape, from), &piece->first)) {
        bytes = line_bytes(tape, from);
        from += bytes;
    }
}

/* All that may go as one: no line of it needs to be looked at. */
static void piece_blind(struct tape *tape, size_t bytes_max, struct piece *piece)
{
    size_t count = tape->count - tape->at;
    piece->byte_count = count < bytes_max ? count : bytes_max;
}

/* Is what stands at a place alone above `due`? The two event times behind it say so, as far as they are in the buffer. */
static bool is_alone(const struct tape *tape, size_t from, int64_t due)
{
    uint32_t seen = 0;
    size_t bytes;
    for (; seen != 2 && from < tape->count && (bytes = line_bytes(tape, from)) != 0; from += bytes) {
        int64_t time;
        if (!time_at(tape, from, bytes, &time))
            continue;
        if (time > due)
            return false;
        seen++;
    }
    return seen != 0;
}

/* Line by line: those that are due, and below the stream's end. A line that does not fit goes in parts. */
static void piece_lines(struct tape *tape, size_t bytes_max, int64_t due, struct piece *piece)
{
    bool mid_line = tape->mid_line;
    while (piece->byte_count < bytes_max && tape->at + piece->byte_count < tape->count) {
        size_t from = tape->at + piece->byte_count, bytes = line_bytes(tape, from);
        int64_t time;
        if (bytes == 0)
            return;
        bool timed = !mid_line && time_at(tape, from, bytes, &time);
        if (timed && time >= tape->until) {
            tape->end = tape->file_at + piece->byte_count;
            return;
        }
        if (timed && time > due && !is_alone(tape, from + bytes, due)) {
            piece->next = time;
            return;
        }
        if (piece->byte_count + bytes > bytes_max && piece->byte_count != 0)
            return;
        piece->byte_count += bytes < bytes_max ? bytes : bytes_max;
        mid_line = false;
    }
}

/* PST_EFULL: nothing of what is there can go, and more has to be read first. */
static int piece_make(struct tape *tape, size_t bytes_max, int64_t due, struct piece *piece)
{
    if (tape->at_end && tape->at == tape->count && tape->end == UINT64_MAX)
        tape->end = tape->file_at;
    *piece = (struct piece){.bytes = tape->buffer + tape->at, .newest = INT64_MIN, .next = INT64_MIN};
    if (tape->file_at != tape->end && (tape->sealed || (due == INT64_MAX && tape->until == INT64_MAX)))
        piece_blind(tape, bytes_max, piece);
    else if (tape->file_at != tape->end)
        piece_lines(tape, bytes_max, due, piece);
    if (piece->byte_count == 0)
        return tape->file_at == tape->end ? PST_ESTOPPED : piece->next != INT64_MIN ? PST_EAGAIN : PST_EFULL;
    piece->first = INT64_MIN;
    if (tape->sealed)
        return PST_OK;
    piece->rows = newlines(piece->bytes, piece->bytes + piece->byte_count);
    piece->newest = piece->first = newest_of(tape, piece);
    first_find(tape, piece);
    return PST_OK;
}

int pst_tape_next(struct tape *tape, size_t bytes_max, int64_t due, struct piece *ret_piece)
{
    bool wanted = tape->count - tape->at < TAPE_BYTES / 2;
    for (;;) {
        int read = wanted ? fill(tape) : PST_OK;
        if (read != PST_OK && read != PST_ESTOPPED && read != PST_EAGAIN)
            return read;
        int rc = piece_make(tape, bytes_max, due, ret_piece);
        if (rc != PST_EFULL)
            return rc;
        if (read == PST_EAGAIN)
            return read;
        wanted = true;
    }
}

void pst_tape_took(struct tape *tape, const struct piece *piece) { drop(tape, piece->byte_count); }
