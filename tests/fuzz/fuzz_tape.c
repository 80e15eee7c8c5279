/* fuzz_tape.c - the event time of a line, against a plain reading of it.
 *
 * The first byte chooses the column, the second how many columns there are to be (0: any), the rest is the line. */
#include "engine/tape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Column by column, the number by strtoll(). */
static bool plain(const char *line, size_t count, const struct tape_lines *lines, int64_t *ret_time)
{
    char number[64];
    size_t columns = 1, from = 0, at = 0, digits;
    while (count != 0 && (line[count - 1] == '\n' || line[count - 1] == '\r'))
        count--;
    for (size_t i = 0; i < count; i++) {
        if (line[i] != ',')
            continue;
        columns++;
        if (columns == lines->column + 1)
            from = i + 1;
    }
    if ((lines->column_count != 0 && columns != lines->column_count) || columns <= lines->column)
        return false;
    for (size_t i = from; i < count && line[i] != ','; i++) {
        bool zero = line[i] == '0' && (at == 0 || (at == 1 && number[0] == '-')) && i + 1 < count &&
                    line[i + 1] >= '0' && line[i + 1] <= '9';
        if (zero)
            continue; /* as many as one likes */
        if (at + 1 == sizeof number)
            return false;
        number[at++] = line[i];
    }
    number[at] = '\0';
    digits = at != 0 && number[0] == '-' ? 1 : 0;
    if (at == digits || strspn(number + digits, "0123456789") != at - digits)
        return false;
    errno = 0;
    *ret_time = strtoll(number, NULL, 10);
    return errno == 0 && *ret_time >= lines->time_min && *ret_time <= lines->time_max;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct tape_lines lines = {.column = data[0] % 8,
                                     .column_count = data[1] % 9,
                                     .time_min = (data[1] & 0x80) != 0 ? INT64_MIN : 0,
                                     .time_max = (data[0] & 0x80) != 0 ? INT64_MAX : UINT32_MAX};
    int64_t time = 0, wanted = 0;
    char *line = malloc(size - 1); /* one more than the line: malloc(0) is nothing to look at */
    if (line == NULL)
        return 0;
    memcpy(line, data + 2, size - 2);
    bool has = pst_tape_time(line, size - 2, &lines, &time), has_wanted = plain(line, size - 2, &lines, &wanted);
    if (has != has_wanted || (has && time != wanted))
        abort();
    free(line);
    return 0;
}
