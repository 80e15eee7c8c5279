/* windows.c - what the three operators of Query 2 plan alike. */
#include "debs14/outliers.h"

const struct pst_param windows_params[1] = {
    {.name = "windows",
     .kind = PST_PARAM_INTS,
     .standard = "[3600, 86400]",
     .value_min = 1,
     .value_max = UINT32_MAX,
     .help = "lengths of the sliding windows in seconds"},
};

struct windows_plan *windows_plan(struct pst_plan *p)
{
    uint32_t count;
    struct windows_plan *plan = pst_plan_alloc(p, sizeof *plan);
    if (plan == NULL)
        return NULL;
    const int64_t *windows = pst_plan_ints(p, "windows", &count);
    if (count == 0 || count > WINDOWS_MAX)
        pst_plan_error(p, "windows", 0, "give 1 to 8 window lengths in seconds");
    for (uint32_t i = 0; i < count && count <= WINDOWS_MAX; i++) {
        for (uint32_t j = 0; j < i; j++)
            if (windows[j] == windows[i])
                pst_plan_error(p, "windows", i, "this window is there already");
        plan->window_s[i] = windows[i];
        plan->window_count = count;
    }
    pst_plan_set_user(p, plan);
    return plan;
}

int windows_wanted(struct pst_ctx *ctx, const struct windows_plan *plan, struct pst_log *log)
{
    int64_t after[WINDOWS_MAX];
    for (uint32_t i = 0, k; i < plan->window_count; i++) {
        for (k = i; k > 0 && after[k - 1] > plan->window_s[i] + 1; k--)
            after[k] = after[k - 1];
        after[k] = plan->window_s[i] + 1; /* second s leaves a window of w when on_time(s + w + 1) comes */
    }
    return pst_log_wanted(ctx, log, after, plan->window_count, 0);
}
