/*
 * Deliberate bugs, to see that a sanitizer is really there: broken memory|undefined|leak
 */
#include <pdtp.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *bug = argc == 2 ? argv[1] : "";

    if (strcmp(bug, "memory") == 0) {
        /* Read after it was freed. */
        /* Else the compiler sees it, too. */
        char *volatile small = malloc(4);

        memset(small, 0, 4);
        free(small);
        return small[argc];
    }
    if (strcmp(bug, "undefined") == 0) {
        int most = INT_MAX - 2 + argc;

        return most + argc > 0;
    }
    if (strcmp(bug, "leak") == 0) {
        int i;

        /* The last one may still be found in a register. */
        for (i = 0; i < 10; i++) {
            printf("%d\n", pdtp_config_new() != NULL);
        }
        return 0;
    }
    return 2;
}
