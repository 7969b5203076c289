/* A libnvidia-ml.so.1 for boxes without a GPU: the real binding library loads it.

   $FAKE_NVML names a text file, read at every call, with one GPU a line: its UUID, then key=value:
       total free       MiB of memory
       errors           uncorrected memory errors since the driver was loaded
       pending failed   memory rows: to be replaced at the next reset, could not be replaced
       pages            pages are to be retired at the next reset
       recovery         the action that the driver asks for; not reported where it is missing
       slow             bits of the reasons for reduced clocks
       error            every call about this GPU returns this code: 15 is "lost", 999 "unknown"
       hang             every call about this GPU waits for as long as this is 1
       mig              number of MIG instances
       busy celsius     percent of the time in which it computed, its temperature; not supported without
   A line "driver key=value" is about the driver: init (the code that nvmlInit returns; read when the
   library is loaded), hang (every call waits).
   $FAKE_NVML.xid, where it is there, is one XID event ("index xid") and is taken away.
   $FAKE_NVML.calls, where it is there, gets a line for each load of the library.
   Numbers and structures as in nvml.h of the driver, checked against nvidia-ml-py 13.615. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9,
       TIMEOUT = 10, GPU_IS_LOST = 15, RESET_REQUIRED = 16, VERSION_MISMATCH = 18, UNKNOWN = 999 };
enum { RECOVERY_ACTION = 230, MIG_HANDLE = 1000 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { void *device; unsigned long long type, data; unsigned gi, ci; } event_t;
typedef struct { unsigned field, scope; long long at, latency; unsigned type, code;
                 union { double d; unsigned ui; unsigned long long ull; } value; } field_t;
typedef struct { char uuid[80]; long long total, free, errors, pending, failed, pages, recovery, slow,
                 error, hang, mig, busy, celsius; } gpu_t;
typedef struct { long long init, hang; } driver_t;

static int load(gpu_t *gpus, driver_t *driver) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[1024];
    int n = 0;
    memset(driver, 0, sizeof *driver);
    if (!file) return -1;
    while (n < 64 && fgets(line, sizeof line, file)) {
        char *rest = NULL, *word = strtok_r(line, " \n", &rest);
        gpu_t *gpu = &gpus[n];
        if (!word) continue;
        memset(gpu, 0, sizeof *gpu);
        snprintf(gpu->uuid, sizeof gpu->uuid, "%s", word);
        gpu->recovery = gpu->busy = gpu->celsius = -1;
        while ((word = strtok_r(NULL, " \n", &rest))) {
            char *equals = strchr(word, '=');
            long long value;
            if (!equals) continue;
            *equals = 0;
            value = atoll(equals + 1);
#define KEY(name) if (!strcmp(word, #name)) gpu->name = value
            KEY(total); KEY(free); KEY(errors); KEY(pending); KEY(failed); KEY(pages);
            KEY(recovery); KEY(slow); KEY(error); KEY(hang); KEY(mig);
            KEY(busy); KEY(celsius);
            if (!strcmp(word, "init")) driver->init = value;
        }
        if (!strcmp(gpu->uuid, "driver")) driver->hang = gpu->hang;
        else n++;
    }
    fclose(file);
    return n;
}

/* All GPUs; waits while the driver hangs. */
static int ask(gpu_t *gpus) {
    driver_t driver;
    int n = load(gpus, &driver);
    while (driver.hang) {
        usleep(20000);
        n = load(gpus, &driver);
    }
    return n;
}

/* The GPU of a handle, which is its number plus one, or that plus MIG_HANDLE per instance. */
static int find(void *handle, gpu_t *out) {
    long number = (long)handle % MIG_HANDLE - 1;
    gpu_t gpus[64];
    for (;;) {
        int n = ask(gpus);
        if (number < 0 || number >= n) return INVALID_ARGUMENT;
        *out = gpus[number];
        if (!out->hang) return (int)out->error;
        usleep(20000);
    }
}

static driver_t at_load;
__attribute__((constructor)) static void loaded(void) {
    gpu_t gpus[64];
    char path[4096];
    FILE *calls;
    load(gpus, &at_load);
    snprintf(path, sizeof path, "%s.calls", getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "");
    calls = access(path, F_OK) ? NULL : fopen(path, "a");
    if (calls) { fprintf(calls, "load\n"); fclose(calls); }
}

int nvmlInitWithFlags(unsigned flags) {
    gpu_t gpus[64];
    (void)flags;
    if (at_load.init) return (int)at_load.init;
    return ask(gpus) < 0 ? DRIVER_NOT_LOADED : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded"
         : code == TIMEOUT ? "Timeout" : code == NOT_SUPPORTED ? "Not Supported"
         : code == RESET_REQUIRED ? "GPU requires reset"
         : code == VERSION_MISMATCH ? "Driver/library version mismatch"
         : code == UNKNOWN ? "Unknown Error" : "Fake error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "580.00.00");
    return SUCCESS;
}
int nvmlSystemGetNVMLVersion(char *text, unsigned length) {
    snprintf(text, length, "13.580.00.00");
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) {
    gpu_t gpus[64];
    int n = ask(gpus);
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
    int code = find(handle, &gpu), part = (int)((long)handle / MIG_HANDLE);
    if (code != SUCCESS) return code;
    if (part) snprintf(text, length, "MIG-%s-%d", gpu.uuid, part - 1);
    else snprintf(text, length, "%s", gpu.uuid);
    return SUCCESS;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(text, length, "%s", strstr(gpu.uuid, "T4") ? "Fake T4" : "Fake H100");
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
int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.busy < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) { rates[0] = (unsigned)gpu.busy; rates[1] = 0; }
    return code;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && (sensor || gpu.celsius < 0)) return NOT_SUPPORTED;
    if (code == SUCCESS) *celsius = (unsigned)gpu.celsius;
    return code;
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *count) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (type != 1 || counter != 0) return NOT_SUPPORTED; /* uncorrected, volatile */
    if (code == SUCCESS) *count = (unsigned long long)gpu.errors;
    return code;
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code != SUCCESS) return code;
    *corrected = 0;
    *uncorrected = (unsigned)(gpu.pending + gpu.failed);
    *pending = (unsigned)gpu.pending;
    *failed = (unsigned)gpu.failed;
    return SUCCESS;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *handle, unsigned *pending) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) *pending = (unsigned)gpu.pages;
    return code;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) *reasons = (unsigned long long)gpu.slow;
    return code;
}
int nvmlDeviceGetFieldValues(void *handle, int count, field_t *fields) {
    gpu_t gpu;
    int code = find(handle, &gpu), n;
    if (code != SUCCESS) return code;
    for (n = 0; n < count; n++) {
        int known = fields[n].field == RECOVERY_ACTION && gpu.recovery >= 0;
        fields[n].code = known ? SUCCESS : NOT_SUPPORTED;
        fields[n].type = 1; /* unsigned int */
        fields[n].value.ui = known ? (unsigned)gpu.recovery : 0;
    }
    return SUCCESS;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code != SUCCESS) return code;
    *current = *pending = gpu.mig > 0;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    (void)handle;
    *count = 7;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
    gpu_t gpu;
    int code = find(handle, &gpu);
    if (code != SUCCESS) return code;
    if (index >= gpu.mig) return NOT_FOUND;
    *out = (void *)((long)handle + (long)(index + 1) * MIG_HANDLE);
    return SUCCESS;
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
            event->gi = event->ci = 0xffffffff;
            return SUCCESS;
        }
        usleep(20000);
    }
    return TIMEOUT;
}
