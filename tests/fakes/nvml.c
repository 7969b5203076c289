/* A libnvidia-ml.so.1 for boxes without a GPU: the real binding library loads it.

   $FAKE_NVML names a text file, read at every call, with one GPU a line:
       uuid total_mib free_mib uncorrected_errors lost
   $FAKE_NVML.xid, where it is there, is one XID event ("index xid") and is taken away.
   Numbers and structures as in nvml.h of the driver. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, TIMEOUT = 10,
       GPU_IS_LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { void *device; unsigned long long type, data; unsigned gi, ci; } event_t;
typedef struct { char uuid[80]; long long total, free; unsigned long long errors; int lost; } gpu_t;

static int load(gpu_t *gpus) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    int n = 0;
    if (!file) return -1;
    while (n < 64 && fscanf(file, "%79s %lld %lld %llu %d", gpus[n].uuid, &gpus[n].total,
                            &gpus[n].free, &gpus[n].errors, &gpus[n].lost) == 5) n++;
    fclose(file);
    return n;
}

static int find(void *handle, gpu_t *out) {
    gpu_t gpus[64];
    int n = load(gpus), index = (int)(long)handle - 1;
    if (index < 0 || index >= n) return INVALID_ARGUMENT;
    *out = gpus[index];
    return out->lost ? GPU_IS_LOST : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    gpu_t gpus[64];
    (void)flags;
    return load(gpus) < 0 ? DRIVER_NOT_LOADED : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded"
         : code == TIMEOUT ? "Timeout" : code == NOT_SUPPORTED ? "Not Supported" : "Fake error";
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    gpu_t gpus[64];
    int n = load(gpus);
    if (n < 0) return DRIVER_NOT_LOADED;
    *count = (unsigned)n;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    gpu_t gpu;
    *handle = (void *)(long)(index + 1);
    return find(*handle, &gpu);
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(text, length, "%s", gpu.uuid);
    return code;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(text, length, "Fake H100");
    return code;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code != SUCCESS) return code;
    memory->total = (unsigned long long)gpu.total << 20;
    memory->free = (unsigned long long)gpu.free << 20;
    memory->used = memory->total - memory->free;
    return SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *count) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (type != 1 || counter != 0) return NOT_SUPPORTED; /* uncorrected, volatile */
    if (code == SUCCESS) *count = gpu.errors;
    return code;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    (void)handle; (void)current; (void)pending;
    return NOT_SUPPORTED;
}
int nvmlEventSetCreate(void **set) { *set = (void *)1; return SUCCESS; }
int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set) {
    (void)set;
    return handle && types == 8 ? SUCCESS : NOT_SUPPORTED; /* 8: critical XID */
}
int nvmlEventSetWait_v2(void *set, event_t *event, unsigned ms) {
    char path[4096];
    const char *base = getenv("FAKE_NVML");
    unsigned waited;
    (void)set;
    snprintf(path, sizeof path, "%s.xid", base ? base : "");
    for (waited = 0; waited <= ms; waited += 20) {
        FILE *file = fopen(path, "r");
        if (file) {
            long index = 0;
            unsigned long long xid = 0;
            int got = fscanf(file, "%ld %llu", &index, &xid);
            fclose(file);
            unlink(path);
            if (got != 2) continue;
            memset(event, 0, sizeof *event);
            event->device = (void *)(index + 1);
            event->type = 8;
            event->data = xid;
            return SUCCESS;
        }
        usleep(20000);
    }
    return TIMEOUT;
}
