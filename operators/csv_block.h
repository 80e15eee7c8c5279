/* operators/csv_block.h - one way through a block of text, shared by the plain and the fast CSV parser. */
#ifndef PST_CSV_BLOCK_H
#define PST_CSV_BLOCK_H

#include "operators/csv_parse.h"

struct pst_csv_pass {
    struct pst_ctx *ctx;
    const struct pst_csv_schema *schema;
    const char *begin;    /* of the block */
    const char *at, *end; /* what is left of the block; `at` begins a line */
    bool last;            /* nothing follows the block */
    uint32_t line_index;  /* of the line at `at` */
};

struct pst_csv_line {
    const char *text;
    size_t bytes;       /* without its end */
    size_t bytes_whole; /* with it */
};

/* The line that begins at `at`, which is below text_end. */
struct pst_csv_line pst_csv_line_at(const char *at, const char *text_end);

/* Deals with what is special at the start: byte order mark, header, the piece of an overlong line. Errors: pst_reject()'s. */
int pst_csv_pass_begin(struct pst_ctx *ctx, const struct pst_csv_schema *schema, const struct pst_block *block,
                       struct pst_csv_pass *ret_pass);

/* Takes the line at pass->at, by the plain parser: a row, a reject or the empty line at the end. */
int pst_csv_line_take(struct pst_csv_pass *pass);

/* Stores the cells of wanted fields as row `row` of an output. */
void pst_csv_cells_store(const struct pst_csv_schema *schema, const struct pst_csv_cell *cells,
                         const struct pst_out *out, uint32_t row);

#endif
