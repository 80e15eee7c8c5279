/* diagnostics.c - collects the errors of a graph and prints them as a compiler does. */
#include "engine/graph_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_CHARACTERS = 120, SHOWN_BEFORE = 60 }; /* of a long source line: a window around the place */

void pst_diagnostics_init(struct pst_diagnostics *d)
{
    *d = (struct pst_diagnostics){0};
    pst_arena_init(&d->arena);
}

void pst_diagnostics_fini(struct pst_diagnostics *d)
{
    pst_arena_fini(&d->arena);
    *d = (struct pst_diagnostics){0};
}

static bool known_already(const struct pst_diagnostics *d, const struct pst_diagnostic *item)
{
    for (uint32_t i = 0; i < d->item_count; i++) {
        const struct pst_diagnostic *other = &d->items[i];
        if (other->line == item->line && other->column == item->column && strcmp(other->file, item->file) == 0 &&
            strcmp(other->text, item->text) == 0)
            return true;
    }
    return false;
}

static const char *line_of(const struct pst_place *place)
{
    const struct pst_source *source = place->source;
    return place->line >= 1 && place->line <= source->line_count ? source->lines[place->line - 1] : NULL;
}

int pst_diagnostics_add(struct pst_diagnostics *d, const struct pst_place *place, const char *text, const char *hint)
{
    struct pst_diagnostic item = {
        .file = place->source->file,
        .line = place->source->unnumbered ? 0 : place->line,
        .column = place->column,
        .width = place->width != 0 ? place->width : 1,
        .source_line = line_of(place),
        .text = text,
    };
    if (known_already(d, &item))
        return PST_OK;
    if (d->item_count == PST_DIAGNOSTICS_MAX) {
        d->left_out_count++;
        return PST_OK;
    }
    if (d->items == NULL) {
        d->items = pst_arena_alloc(&d->arena, PST_DIAGNOSTICS_MAX * sizeof *d->items);
        if (d->items == NULL)
            return PST_ENOMEM;
        d->item_capacity = PST_DIAGNOSTICS_MAX;
    }
    item.text = pst_arena_strdup(&d->arena, text);
    item.hint = hint != NULL ? pst_arena_strdup(&d->arena, hint) : NULL;
    if (item.text == NULL || (hint != NULL && item.hint == NULL))
        return PST_ENOMEM;
    d->items[d->item_count++] = item;
    return PST_OK;
}

static int compare(const struct pst_diagnostic *a, const struct pst_diagnostic *b)
{
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->column < b->column ? -1 : a->column > b->column;
}

/* Insertion: at most PST_DIAGNOSTICS_MAX of them, and those of one place keep their order. */
void pst_diagnostics_sort(struct pst_diagnostics *d)
{
    for (uint32_t i = 1; i < d->item_count; i++) {
        struct pst_diagnostic item = d->items[i];
        uint32_t j = i;
        for (; j > 0 && compare(&d->items[j - 1], &item) > 0; j--)
            d->items[j] = d->items[j - 1];
        d->items[j] = item;
    }
}

/* ---- printing ---- */
static const char *character_next(const char *c)
{
    c++;
    while (((unsigned char)*c & 0xc0) == 0x80)
        c++;
    return c;
}

static uint32_t characters(const char *text)
{
    uint32_t count = 0;
    for (; *text != '\0'; text = character_next(text))
        count++;
    return count;
}

/* The caret goes below the line as shown: tabs stay tabs, so that it stands where the terminal puts the character. */
static void caret_add(struct pst_text *out, const char *shown, uint32_t before, uint32_t width)
{
    const char *c = shown;
    for (uint32_t i = 0; i < before; i++) {
        (void)pst_text_add(out, *c == '\t' ? "\t" : " ", 1);
        if (*c != '\0')
            c = character_next(c);
    }
    uint32_t left = characters(c);
    if (width > left)
        width = left > 1 ? left : 1;
    (void)pst_text_add(out, "^", 1);
    for (uint32_t i = 1; i < width; i++)
        (void)pst_text_add(out, "~", 1);
}

static void line_add(struct pst_text *out, const struct pst_diagnostic *item, const char *colour, const char *plain)
{
    uint32_t count = characters(item->source_line), first = 0, skipped = item->column != 0 ? item->column - 1 : 0;
    if (skipped > count)
        skipped = count;
    if (count > SHOWN_CHARACTERS && skipped > SHOWN_BEFORE)
        first = skipped - SHOWN_BEFORE;
    const char *from = item->source_line;
    for (uint32_t i = 0; i < first; i++)
        from = character_next(from);
    const char *to = from;
    for (uint32_t i = 0; i < SHOWN_CHARACTERS && *to != '\0'; i++)
        to = character_next(to);
    const char *dots = first != 0 ? "..." : "";
    char number[16] = "";
    if (item->line != 0)
        (void)snprintf(number, sizeof number, "%u", item->line);
    (void)pst_text_printf(out, "%5s | %s%.*s%s\n", number, dots, (int)(to - from), from, *to != '\0' ? "..." : "");
    if (item->column == 0)
        return;
    (void)pst_text_printf(out, "      | %*s%s", (int)strlen(dots), "", colour);
    uint32_t width = item->width < SHOWN_CHARACTERS ? item->width : SHOWN_CHARACTERS;
    uint32_t room = first + SHOWN_CHARACTERS > skipped ? first + SHOWN_CHARACTERS - skipped : 1;
    caret_add(out, from, skipped - first, width < room ? width : room);
    (void)pst_text_printf(out, "%s\n", plain);
}

static void item_add(struct pst_text *out, const struct pst_diagnostic *item, bool colour)
{
    const char *bold = colour ? "\033[1m" : "", *red = colour ? "\033[1;31m" : "", *green = colour ? "\033[1;32m" : "",
               *plain = colour ? "\033[0m" : "";
    (void)pst_text_printf(out, "%s%s:", bold, item->file);
    if (item->line != 0)
        (void)pst_text_printf(out, "%u:%u:", item->line, item->column);
    (void)pst_text_printf(out, "%s %serror:%s %s%s%s\n", plain, red, plain, bold, item->text, plain);
    if (item->source_line != NULL)
        line_add(out, item, green, plain);
    if (item->hint != NULL)
        (void)pst_text_printf(out, "      = %shint:%s %s\n", bold, plain, item->hint);
}

int pst_diagnostics_print(const struct pst_diagnostics *d, bool colour, struct pst_text *ret_text)
{
    for (uint32_t i = 0; i < d->item_count; i++)
        item_add(ret_text, &d->items[i], colour);
    if (d->left_out_count != 0)
        (void)pst_text_printf(ret_text, "and %u more\n", d->left_out_count);
    return ret_text->failed ? PST_ENOMEM : PST_OK;
}
