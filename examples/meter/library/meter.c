/* As such libraries are, but for one thing: a real one would use the freed memory, and read garbage, or crash, or neither, for years.
 * This one keeps it, as AddressSanitizer does, so that it always notices: it says so, and aborts. */
#include "meter.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct meter {
    pthread_mutex_t mutex;
    pthread_cond_t change;
    int is_open, readers, cancelled, has_value;
    double value;
};

static pthread_mutex_t count = PTHREAD_MUTEX_INITIALIZER;
static int handles;

static void count_handles(int more) {
    pthread_mutex_lock(&count);
    handles += more;
    pthread_mutex_unlock(&count);
}

static void check(meter *handle) {
    if (!handle->is_open) {
        fputs("meter: a handle was used after meter_close()\n", stderr);
        abort();
    }
}

meter *meter_open(void) {
    meter *handle = calloc(1, sizeof(meter));
    if (handle == NULL)
        return NULL;
    pthread_mutex_init(&handle->mutex, NULL);
    pthread_cond_init(&handle->change, NULL);
    handle->is_open = 1;
    count_handles(1);
    return handle;
}

int meter_read(meter *handle, double *value) {
    pthread_mutex_lock(&handle->mutex);
    check(handle);
    handle->readers++;
    while (!handle->has_value && !handle->cancelled) {
        pthread_cond_wait(&handle->change, &handle->mutex);
        check(handle);
    }
    handle->readers--;
    int status = handle->has_value ? METER_OK : METER_CANCELLED;
    if (status == METER_OK)
        *value = handle->value;
    handle->has_value = 0;
    pthread_mutex_unlock(&handle->mutex);
    return status;
}

void meter_cancel(meter *handle) {
    pthread_mutex_lock(&handle->mutex);
    check(handle);
    handle->cancelled = 1;
    pthread_cond_broadcast(&handle->change);
    pthread_mutex_unlock(&handle->mutex);
}

void meter_close(meter *handle) {
    pthread_mutex_lock(&handle->mutex);
    check(handle);
    handle->is_open = 0; /* in the place of free() */
    pthread_cond_broadcast(&handle->change);
    pthread_mutex_unlock(&handle->mutex);
    count_handles(-1);
}

void meter_feed(meter *handle, double value) {
    pthread_mutex_lock(&handle->mutex);
    check(handle);
    handle->value = value;
    handle->has_value = 1;
    pthread_cond_signal(&handle->change);
    pthread_mutex_unlock(&handle->mutex);
}

int meter_readers(meter *handle) {
    pthread_mutex_lock(&handle->mutex);
    check(handle);
    int readers = handle->readers;
    pthread_mutex_unlock(&handle->mutex);
    return readers;
}

int meter_handles(void) {
    pthread_mutex_lock(&count);
    int open = handles;
    pthread_mutex_unlock(&count);
    return open;
}
