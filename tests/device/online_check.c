/* Learns what it is given and writes what came of it: for a board under QEMU. */
#include "check.h"
#include "listen_online.h"

static embed_online learner;
static float row[LISTEN_ONLINE_DIM], answer[LISTEN_ONLINE_CLASSES];

int main(void)
{
    int32_t code;
    uint32_t stack, size = sizeof learner;
    check_open();
    embed_online_init(&learner);
    while (check_read(&code, sizeof code) == sizeof code && check_read(row, sizeof row)) {
        if (code < 0) {
            embed_online_classify(&learner, row, answer);
            check_write(answer, sizeof answer);
        } else {
            embed_online_learn(&learner, row, code);
        }
    }
    check_write(learner.weights, sizeof learner.weights);
    check_write(learner.prototypes, sizeof learner.prototypes);
    stack = check_stack_bytes();
    check_write(&stack, sizeof stack);
    check_write(&size, sizeof size);
    check_close();
    return 0;
}
