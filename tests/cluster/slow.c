/* slow.c - stands in the place of a worker's program: it says nothing for twice as long as a node may be silent, and ends. */
#include <unistd.h>

enum { SECONDS = 4 };

int main(void)
{
    unsigned left = SECONDS;
    while (left != 0)
        left = sleep(left);
    return 0;
}
