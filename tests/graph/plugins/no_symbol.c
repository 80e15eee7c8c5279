/* no_symbol.c - a shared object without a list of operators. */
extern const int nothing_here;
__attribute__((visibility("default"))) const int nothing_here = 1;
