/* fields.c - see fields.h. */
#include "debs14/fields.h"

#include <string.h>

bool plan_field(struct pst_plan *p, int *ret_column, uint32_t input, const char *name, pst_type type, uint8_t scale)
{
    const struct pst_schema *schema = pst_plan_input(p, input);
    *ret_column = pst_plan_use(p, input, name, NULL, 0);
    if (*ret_column < 0)
        return false;
    for (uint32_t f = 0; f < schema->field_count; f++) {
        const struct pst_field *field = &schema->fields[f];
        if (strcmp(field->name, name) != 0 || (field->type == type && field->scale == scale))
            continue;
        pst_plan_error(p, NULL, 0,
                       "a field of its input has not the type that this query defines: ids are u32, value is decimal3");
        return false;
    }
    return true;
}
