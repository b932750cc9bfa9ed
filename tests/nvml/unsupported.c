/* Calls that other tools make and that no test looks at; whatever follows the handle is not read. */
#include "library.h"

#define REFUSE(name)                                                                                \
    API nvmlReturn_t name(nvmlDevice_t handle)                                                      \
    {                                                                                               \
        struct device device;                                                                       \
        nvmlReturn_t code = enter_device(F_##name, handle, &device);                                \
        return code ? code : NVML_ERROR_NOT_SUPPORTED;                                              \
    }

FOR_EACH_UNSUPPORTED(REFUSE)
