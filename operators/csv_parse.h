/* operators/csv_parse.h - lines of comma-separated text to rows, for any declared schema.
 *
 * Two parsers with one answer. The plain one takes a line at a time, a byte at a time, and says exactly what a row is and
 * why a line is none. The fast one finds separators 64 bytes at a time, converts column by column without branches, and
 * hands each line that it is not sure of to the plain one. Tests and a fuzz target hold them against each other.
 *
 * What a line is: all up to '\n' or "\r\n", without it; the last line may lack it (a '\r' without '\n' is then a byte of the
 * line). A byte order mark at the very beginning is no part of the first line. Neither row nor reject, only counted:
 *   - a first line that begins with the first field's name and a comma: the header. There is no other rule for headers: a
 *     later one is no row where that field is a number;
 *   - one empty line at the very end of the input.
 * A line is a reject for the first of these that holds: over 4096 bytes (the header too), empty, a NUL in it, not the number
 * of fields, a field that is not of its type. There are no quotes and no escapes.
 *
 * Thread: a parser belongs to one partition. It keeps nothing between blocks but scratch and hints of speed.
 */
#ifndef PST_CSV_PARSE_H
#define PST_CSV_PARSE_H

#include "operators/operator.h"

enum {
    PST_CSV_LINE_BYTES_MAX = 4096,
    PST_CSV_NAME_BYTES_MAX = 63,
    PST_CSV_SCALE_MAX = 9,
    PST_CSV_DECIMAL_LIMIT = 10000000, /* a decimal's magnitude is below it, before rounding, whatever its scale */
};
/* Event times stay this far from the ends of i64, so that whoever adds an epoch or a window to one cannot overflow. */
#define PST_CSV_TIME_MAX (INT64_C(1) << 60)

/*    type          what is accepted                                                                       stored as */
typedef enum pst_csv_kind {
    PST_CSV_U32 = 1, /* digits alone, any number of leading zeros, in range                                 PST_U32   */
    PST_CSV_U64,     /* the same                                                                            PST_U64   */
    PST_CSV_BIT,     /* the same, 0 or 1                                                                    PST_U32   */
    PST_CSV_I64,     /* -?[0-9]+ in range                                                                   PST_I64   */
    PST_CSV_DECIMAL, /* -?[0-9]+(\.[0-9]+)? below the limit; decimals beyond the scale are rounded, halves  PST_I64   */
                     /* toward +infinity                                                                    scaled    */
    PST_CSV_TEXT,    /* 0..31 bytes of anything but ',', line end and NUL                                   PST_TEXT  */
} pst_csv_kind;

struct pst_csv_field {
    char name[PST_CSV_NAME_BYTES_MAX + 1];
    pst_csv_kind kind;
    uint8_t scale;
    uint64_t max; /* numbers but decimals: the largest magnitude */
    bool wanted;  /* stored; else only checked */
    bool time;    /* the event time */
};

struct pst_csv_schema {
    uint32_t field_count;
    struct pst_csv_field fields[PST_FIELDS_MAX];
};

/* Reads "name:type" (types: u32, u64, i64, bit, text, decimal0 .. decimal9). NULL, or the sentence that says what is wrong.
 */
const char *pst_csv_field_read(const char *text, struct pst_csv_field *ret_field);
/* Makes a field the event time. NULL, or the sentence that says why it cannot be. */
const char *pst_csv_field_time_set(struct pst_csv_field *field);
pst_type pst_csv_field_type(const struct pst_csv_field *field);

/* ---- the plain parser ---- */
struct pst_csv_cell {
    uint64_t number; /* as stored; of a text: its byte count */
    const char *text;
};

/* One line without its end. 0 and all cells, or why it is no row. */
int pst_csv_line_read(const struct pst_csv_schema *schema, const char *line, size_t line_bytes,
                      struct pst_csv_cell *ret_cells);

/* A whole block, with nothing but pst_csv_line_read(): the model of the fast parser. */
int pst_csv_plain_parse(struct pst_ctx *ctx, const struct pst_csv_schema *schema, const struct pst_block *block);

/* ---- the fast parser ---- */
typedef enum pst_csv_level { PST_CSV_PORTABLE, PST_CSV_AVX2, PST_CSV_AVX512, PST_CSV_LEVEL_COUNT } pst_csv_level;
struct pst_csv_kernel;

/* What this machine can do; NULL where it cannot. */
const struct pst_csv_kernel *pst_csv_kernel_at(pst_csv_level level);
const struct pst_csv_kernel *pst_csv_kernel_best(void);

struct pst_csv_parser {
    struct pst_csv_schema schema;
    const struct pst_csv_kernel *kernel;
    uint16_t *starts;     /* private: where fields start in the window being parsed */
    uint8_t *bad;         /* private: rows of a run that the plain parser must decide */
    uint64_t wide_fields; /* private: bit i: field i had numbers of more than 8 bytes, not long ago */
    uint32_t block_count; /* private */
};

/* The schema is copied. kernel NULL: the best one. Owns: its scratch is pst_alloc()ed, there is nothing to free. */
int pst_csv_parser_init(struct pst_ctx *ctx, struct pst_csv_parser *parser, const struct pst_csv_schema *schema,
                        const struct pst_csv_kernel *kernel);

/* Parses a block: rows go to output 0, others to pst_reject(), the count of lines to pst_block_lines(). Of a line in pieces
 * (block->overlong) every piece goes to pst_reject() as line 0, and only the first is counted as a line: the engine may take
 * a reject of a block that is overlong and not overlong_begins for the continuation of the one before. */
int pst_csv_parse(struct pst_ctx *ctx, struct pst_csv_parser *parser, const struct pst_block *block);

#endif
